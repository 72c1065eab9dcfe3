"""The key that a service signs its reports with, as the command line signs with its user's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aura import signing
from aura.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from aura.service.settings import Settings

KEY_FILE = "signing.pem"
PEM = "-----BEGIN "
SIGNED_BY = "Aura service"  # where the operator sets no AURA_EXAMINER: no login name for strangers


class ReportSigner:
    """Signs reports with one key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._who = os.environ.get(signing.EXAMINER_VARIABLE) or SIGNED_BY
        self.key_id = signing.key_id_of(key)
        self.public_pem = signing.public_pem(key)

    def sign(self, report: Mapping[str, Any]) -> dict[str, Any]:
        """A report's JSON with our signature."""
        return signing.sign_document(report, self._key, who=self._who)


def open_report_signer(settings: Settings) -> ReportSigner:
    """With the key of the settings, or one that is made and kept in the data folder.

    Raises:
        UsageError: the setting names no key. ReportError: the file can't be used.
    """
    given = settings.signing_key
    if given.startswith(PEM):
        key = signing.key_of(given.encode())
        if key is None:
            raise UsageError("AURA_SIGNING_KEY holds no Ed25519 private key in PEM")
        return ReportSigner(key)
    if given and not Path(given).is_file():
        raise UsageError(f"AURA_SIGNING_KEY: there is no file {given}")
    return ReportSigner(signing.key_at(Path(given) if given else settings.data_dir / KEY_FILE))
