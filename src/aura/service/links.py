"""Links that let whoever has them fetch one thing for a while, signed with the service's secret."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from aura.service.settings import Settings

SECRET_FILE = "secret"  # noqa: S105 - the file's name
SECRET_BYTES = 32


class Signer:
    """Signs paths and checks signatures."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, path: str, seconds: float) -> str:
        """The path with an expiry and a signature in its query."""
        expires = int(time.time() + seconds)
        return f"{path}?expires={expires}&signature={self._signature(path, expires)}"

    def check(self, path: str, expires: str, signature: str) -> bool:
        """Whether a signature is ours, for this path, and still good."""
        if not (expires.isascii() and expires.isdigit() and len(expires) < 20):
            return False
        expected = self._signature(path, int(expires))
        same = hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))
        return same and int(expires) >= time.time()

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


def open_signer(settings: Settings) -> Signer:
    """With the secret of the settings, or one that is made and kept in the data folder."""
    if settings.secret:
        return Signer(settings.secret.encode())
    return Signer(_kept_secret(settings.data_dir / SECRET_FILE))


def _kept_secret(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(SECRET_BYTES))
    try:
        os.link(part, path)  # whole, and only if there is none yet
    except FileExistsError:
        pass
    finally:
        part.unlink()
    return path.read_text(encoding="ascii").strip().encode()
