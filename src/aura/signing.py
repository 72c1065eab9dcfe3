"""Signed reports: Ed25519 (RFC 8032) over canonical JSON (RFC 8785).

The key is made on first use and kept in `AURA_HOME/keys`, readable by its owner alone. A signature
says: whoever holds that key vouched for exactly this text. Whose key it is, nobody can read off a
report; so a verifier asks whether the key is their own or one that they chose to trust.
"""

from __future__ import annotations

import base64
import binascii
import getpass
import hashlib
import json
import os
import re
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from aura import registry
from aura.errors import ReportError
from aura.explanation import Signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aura.report import Report

EXAMINER_VARIABLE = "AURA_EXAMINER"  # the name in the signature; else that of the login
PRIVATE_KEY = "signing.pem"
TRUSTED = "trusted"
KEY_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
OTHERS = 0o077  # permission bits of everybody but the owner
MAX_BYTES = 256 * 2**20  # of a report's text; real ones have some hundred kB

NOBODY: Mapping[str, str] = MappingProxyType({})

Status = Literal["own", "trusted", "unknown", "altered", "unsigned"]


@dataclass(frozen=True)
class Checked:
    """What a report's signature is worth.

    `own` and `trusted`: it fits, by this user's key or one that they trust (`known_as`).
    `unknown`: it fits, and anybody may have made the key. `altered`: it does not fit. `unsigned`.
    """

    status: Status
    signature: Signature | None = None
    known_as: str | None = None


def keys_dir() -> Path:
    """Folder of this user's signing key and of those they trust."""
    return registry.home() / "keys"


def canonical(value: Any) -> bytes:
    """A JSON value as RFC 8785 writes it, so that the same content always gives the same bytes.

    Raises:
        ReportError: something in it no JSON can hold.

    >>> canonical({"b": [1.0, 1e-6, -0.0], "a": None})
    b'{"a":null,"b":[1,0.000001,0]}'
    """
    try:
        return _written(value).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):
        raise ReportError("the report holds text that is no Unicode; it can't be signed") from None


def _written(value: Any) -> str:
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return "{" + ",".join(f"{_text(key)}:{_written(item)}" for key, item in ordered) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_written(item) for item in value) + "]"
    if isinstance(value, float):
        return _number(value)
    return _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _number(value: float) -> str:
    """As ECMAScript writes it (ECMA-262, Number::toString).

    >>> _number(1e21), _number(1e-7), _number(123456.5), _number(1e20)
    ('1e+21', '1e-7', '123456.5', '100000000000000000000')
    """
    if value == 0:
        return "0"
    digits = Decimal(repr(value))
    exponent = digits.adjusted()
    if -7 < exponent < 21:
        plain = format(digits, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    mantissa = format(digits.scaleb(-exponent).normalize(), "f")
    return f"{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


def read_document(path: Path) -> tuple[dict[str, Any], str]:
    """A report's JSON as a plain object, and the file's text.

    Raises:
        ReportError: missing, too large, no JSON object, or ambiguous (a key given twice).
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ReportError(f"{path} is too large for a report; give the JSON that aura wrote")
        text = path.read_bytes().decode("utf-8")
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except OSError as error:
        raise ReportError(f"{path} can't be read ({error.strerror}); check the name") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise ReportError(
            f"{path} is no report ({reason}); give the JSON that aura wrote"
        ) from None
    if not isinstance(found, dict):
        raise ReportError(f"{path} is no report (no JSON object); give the JSON that aura wrote")
    return found, text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice, so readers may disagree about it")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def sign(report: Report, key: Ed25519PrivateKey | None = None, *, who: str | None = None) -> Report:
    """The report with a signature by this user's key, made if there is none yet.

    Raises:
        ReportError: the key can't be made or read, or others can read it.
    """
    signed = sign_document(report.model_dump(mode="json"), key or own_key(), who=who)
    return report.model_copy(update={"signature": Signature.model_validate(signed["signature"])})


def sign_document(
    document: Mapping[str, Any], key: Ed25519PrivateKey, *, who: str | None = None
) -> dict[str, Any]:
    """A report's JSON with a signature, in place of the one that it had."""
    public = _raw(key.public_key())
    unsigned = Signature(
        key_id=hashlib.sha256(public).hexdigest(),
        public_key=base64.b64encode(public).decode(),
        signed_by=who or os.environ.get(EXAMINER_VARIABLE) or _login(),
        signed_at=datetime.now(UTC),
    )
    bare = {**document, "signature": unsigned.model_dump(mode="json")}
    value = base64.b64encode(key.sign(_signed_bytes(bare))).decode()
    return {**bare, "signature": {**bare["signature"], "value": value}}


def check(document: dict[str, Any], also: Mapping[str, str] = NOBODY) -> Checked:
    """What the signature in a report's JSON is worth.

    Args:
        document: the report. also: names of keys that are trusted beside this user's, by key id.

    Raises:
        ReportError: a trusted key can't be read.
    """
    raw = document.get("signature")
    if raw is None:
        return Checked("unsigned")
    try:
        told = Signature.model_validate(raw)
        public = base64.b64decode(told.public_key, validate=True)
        value = base64.b64decode(told.value, validate=True)
        Ed25519PublicKey.from_public_bytes(public).verify(value, _signed_bytes(document))
    except (ValueError, binascii.Error, InvalidSignature):
        return Checked("altered")
    except ReportError:
        return Checked("altered")
    key_id = hashlib.sha256(public).hexdigest()
    if key_id != told.key_id:
        return Checked("altered", told)
    own = own_key_id()
    if key_id == own:
        return Checked("own", told)
    name = also.get(key_id) or trusted_keys().get(key_id)
    return Checked("trusted", told, name) if name else Checked("unknown", told)


def _signed_bytes(document: dict[str, Any]) -> bytes:
    signature = {**document["signature"], "value": ""}
    return canonical({**document, "signature": signature})


def own_key() -> Ed25519PrivateKey:
    """This user's key; made, once, when there is none.

    Raises:
        ReportError: it can't be made or read, or others can read it.
    """
    return key_at(keys_dir() / PRIVATE_KEY)


def key_at(path: Path) -> Ed25519PrivateKey:
    """The key in this file; made, once, when there is none.

    Raises:
        ReportError: it can't be made or read, or others can read it.
    """
    try:
        if not path.exists():
            _make_key(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        if os.name == "posix" and mode & OTHERS:
            raise ReportError(f"others can read the signing key {path}: run chmod 600 on it")
        pem = path.read_bytes()
    except OSError as error:
        raise ReportError(f"the signing key {path} can't be used ({error.strerror})") from None
    key = key_of(pem)
    if key is None:
        raise ReportError(f"{path} is no Ed25519 key; put it back, or remove it to have a new one")
    return key


def key_of(pem: bytes) -> Ed25519PrivateKey | None:
    """The private key that a PEM text holds; None: it holds none of this kind."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PrivateKey) else None


def key_id_of(key: Ed25519PrivateKey) -> str:
    """What its signatures name it by: the SHA-256 of the public key."""
    return hashlib.sha256(_raw(key.public_key())).hexdigest()


def own_key_id() -> str | None:
    """Id of this user's key; None when none was made yet."""
    if not (keys_dir() / PRIVATE_KEY).exists():
        return None
    return key_id_of(own_key())


def _make_key(path: Path) -> None:
    """Write a new key, whole or not at all; of two processes at once, one wins and both use it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent == keys_dir():
        path.parent.chmod(0o700)
    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle, name = tempfile.mkstemp(dir=path.parent)  # readable by the owner only
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def public_pem(key: Ed25519PrivateKey | None = None) -> str:
    """The public key, this user's by default, to hand to those who shall trust it."""
    return (
        (key or own_key())
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def trust(name: str, source: Path) -> str:
    """Trust a public key under a name; returns its id.

    Raises:
        ReportError: no such name can be, it is taken, or the file holds no Ed25519 public key.
    """
    if not KEY_NAME.fullmatch(name):
        raise ReportError(f"key name {name!r}: use letters, digits, dots and hyphens")
    try:
        key_id, pem = _read_public(source), source.read_bytes()
        target = keys_dir() / TRUSTED / f"{name}.pem"
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(pem)
    except FileExistsError:
        raise ReportError(f"a key is trusted as {name!r} already; choose another name") from None
    except OSError as error:
        raise ReportError(f"{source} can't be trusted ({error.strerror})") from None
    return key_id


def trusted_keys() -> dict[str, str]:
    """Names of trusted keys by key id.

    Raises:
        ReportError: one of them is damaged.
    """
    folder = keys_dir() / TRUSTED
    return {_read_public(path): path.stem for path in sorted(folder.glob("*.pem"))}


def _read_public(path: Path) -> str:
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ReportError(f"{path} holds no Ed25519 public key in PEM; ask its owner for another")
    return hashlib.sha256(_raw(key)).hexdigest()


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user in a container
        return "unknown"
