"""C2PA content credentials of a file: read and validated, shown, and never part of a score.

A manifest says what its signer claims about a file's making; it can be stripped by anybody and says
nothing about files without one. Nothing is fetched from a network: remote manifests, revocation
and trust lists stay away.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aura.explanation import ContentCredentials

if TYPE_CHECKING:
    from pathlib import Path

# The box of a C2PA manifest in ISO base media files (C2PA 2.1, A.5).
C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
FORMATS = {"mov": "video/mp4", "avi": "video/avi"}  # first word of the container's name
MAX_BOXES = 10_000
MAX_TEXT = 300  # characters of anything that a manifest claims
MAX_ITEMS = 20
OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True}}
ABSENT = (
    "The file carries no C2PA content credentials. That is usual and says nothing about it: most "
    "files never had any, and they can be removed."
)
VALID = (
    "The file carries C2PA content credentials that fit it. Who signed them is not known here: "
    "anybody can make a certificate of any name."
)
TRUSTED = "The file carries C2PA content credentials that fit it, by a signer on the trust list."
INVALID = (
    "The file carries C2PA content credentials that do not fit it or are broken: the file was "
    "changed after they were signed, or they belong to another file."
)
UNREAD = (
    "The file carries C2PA content credentials. They were not read: that needs "
    "pip install 'aura-veracity[report]'."
)
NOT_EXAMINED = "Content credentials can't be looked for in this kind of file."


def examine(path: Path, container: str) -> ContentCredentials:
    """Look for content credentials.

    Args:
        path: a local file. container: FFmpeg's name of its format, such as `mov,mp4,m4a`.
    """
    kind = FORMATS.get(container.split(",", maxsplit=1)[0])
    if kind is None:
        return ContentCredentials(status="not_examined", words=NOT_EXAMINED)
    try:
        import c2pa  # noqa: PLC0415 - optional extra
    except ImportError:
        return _without_reader(path, kind)
    return _read(path, kind, c2pa)


def _without_reader(path: Path, kind: str) -> ContentCredentials:
    if kind != "video/mp4":
        return ContentCredentials(status="not_examined", words=NOT_EXAMINED)
    if has_manifest_box(path):
        return ContentCredentials(status="unread", words=UNREAD)
    return ContentCredentials(status="absent", words=ABSENT)


def has_manifest_box(path: Path) -> bool:
    """Whether an ISO base media file has a C2PA box at its top level."""
    size = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        for _ in range(MAX_BOXES):
            file.seek(place)
            head = file.read(32)
            if len(head) < 8:
                return False
            length, kind, skip = int.from_bytes(head[:4], "big"), head[4:8], 8
            if length == 1:
                length, skip = int.from_bytes(head[8:16], "big"), 16
            if kind == b"uuid" and head[skip : skip + 16] == C2PA_UUID:
                return True
            place = size if length == 0 else place + length
            if (length and length < skip) or place >= size:
                return False
    return False


def _read(path: Path, kind: str, c2pa: Any) -> ContentCredentials:
    reader_name = f"c2pa-rs {c2pa.sdk_version()}"
    try:
        context = c2pa.Context(c2pa.Settings.from_dict(OFFLINE))
        with path.open("rb") as file:
            reader = c2pa.Reader.try_create(kind, file, context=context)
            if reader is None:
                return ContentCredentials(status="absent", words=ABSENT, reader=reader_name)
            with reader:
                store = json.loads(reader.json())
                state = str(reader.get_validation_state() or "")
    except (c2pa.C2paError, ValueError, OSError) as error:
        problem = _clean(str(error) or type(error).__name__)
        return ContentCredentials(
            status="invalid", words=INVALID, reader=reader_name, problems=(problem,)
        )
    return _told(store, state, reader_name)


def _told(store: dict[str, Any], state: str, reader: str) -> ContentCredentials:
    manifest = _object(_object(store.get("manifests")).get(str(store.get("active_manifest"))))
    signed = _object(manifest.get("signature_info"))
    generators = manifest.get("claim_generator_info")
    generator = _object(generators[0]) if isinstance(generators, list) and generators else {}
    status, words = {"Valid": ("valid", VALID), "Trusted": ("trusted", TRUSTED)}.get(
        state, ("invalid", INVALID)
    )
    problems = [
        f"{one.get('code')}: {one.get('explanation') or one.get('url') or ''}"
        for one in _list(store.get("validation_status"))
        if isinstance(one, dict)
    ]
    return ContentCredentials(
        status=status,
        words=words,
        reader=reader,
        generator=_maybe(
            " ".join(str(generator[key]) for key in ("name", "version") if key in generator)
            or manifest.get("claim_generator")
        ),
        title=_maybe(manifest.get("title")),
        signer=_maybe(
            ", ".join(str(signed[key]) for key in ("common_name", "issuer") if signed.get(key))
        ),
        signed_at=_maybe(signed.get("time")),
        actions=tuple(_actions(manifest)[:MAX_ITEMS]),
        problems=tuple(_clean(one) for one in problems[:MAX_ITEMS]),
    )


def _actions(manifest: dict[str, Any]) -> list[str]:
    """What was done to the file, as its signer claims, with the kind of source where given."""
    found = []
    for assertion in _list(manifest.get("assertions")):
        if not str(_object(assertion).get("label", "")).startswith("c2pa.actions"):
            continue
        for action in _list(_object(_object(assertion).get("data")).get("actions")):
            told = _object(action)
            source = str(told.get("digitalSourceType") or "").rsplit("/", maxsplit=1)[-1]
            words = [str(told.get("action") or ""), source and f"({source})"]
            words.append(str(_object(told.get("softwareAgent")).get("name") or ""))
            found.append(_clean(" ".join(word for word in words if word)))
    return found


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _maybe(value: Any) -> str | None:
    return _clean(str(value)) if value else None


def _clean(text: str) -> str:
    """One line of bounded length; who wrote it may be anybody."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split())[:MAX_TEXT]
