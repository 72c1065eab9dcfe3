"""What was taken from a hub: the commit and the SHA-256 of each file, written at the first pull.

Trust on first use: nobody vouches for the first download, but every later one, on this machine or
on another that was given the file, must bring the same bytes. AURA_HOME/weights.lock.json.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from aura import registry
from aura.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
FILE = "weights.lock.json"
SHA256 = re.compile(r"[0-9a-f]{64}")
# Becomes part of an address and of folder names.
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)


@dataclass(frozen=True)
class Pin:
    """One checkpoint as it was taken.

    `revision` is the hub's commit, `files` the SHA-256 by name, `licence` what was accepted, at
    `accepted` (UTC, ISO 8601). `made` is the version in the registry that was made from it.
    """

    repo: str
    revision: str
    files: dict[str, str]
    licence: str
    accepted: str
    made: str | None = None


def lock_path() -> Path:
    """Where the pins are kept."""
    return registry.home() / FILE


def read_pins() -> dict[str, Pin]:
    """All pins by name of the checkpoint.

    Raises:
        WeightsError: the file is damaged or of a newer format.
    """
    path = lock_path()
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read ({error}); put back a copy of it") from None
    try:
        if raw["format"] > FORMAT:
            raise WeightsError(f"{path} has format {raw['format']}: upgrade aura-veracity")
        pins = {name: Pin(**one) for name, one in raw["pins"].items()}
        sums = [sha256 for pin in pins.values() for sha256 in pin.files.values()]
        odd = [one for one in sums if not SHA256.fullmatch(one)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}); put back a copy of it") from None
    if odd:
        raise WeightsError(f"{path} is damaged ({odd[0]!r} is no SHA-256); put back a copy of it")
    return pins


def write_pin(name: str, pin: Pin) -> None:
    """Keep one pin; the file is replaced as a whole.

    Raises:
        WeightsError: what is there can't be read. UsageError: the folder can't be written.
    """
    path, pins = lock_path(), {**read_pins(), name: pin}
    partial = path.with_name(f".{FILE}.{os.getpid()}.partial")
    told = {"format": FORMAT, "pins": {key: asdict(pins[key]) for key in sorted(pins)}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path} can't be written ({error.strerror})") from None
