"""Models that people promoted on this machine: versions that never change, and one history.

    AURA_HOME/models/NAME/VERSION/      card.json, model.onnx, calibration.json, evaluation/
    AURA_HOME/models/NAME/history.jsonl who promoted or rolled back what, and when

The history alone says which version is in use: that of its last line. It is only ever replaced by
itself and one line more, in one step, so a stop at any moment leaves the old state or the new one.
Without AURA_HOME the folder is the platform's own for a user's data.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aura.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

HISTORY_FORMAT = 1  # the newest layout of a history's line that this version reads
HOME_VARIABLE = "AURA_HOME"
CARD = "card.json"
HISTORY = "history.jsonl"
# Both become names of folders.
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}")
# `pull`: a public checkpoint was converted on this machine (`aura weights pull`).
ACTIONS = ("promote", "rollback", "pull")
FORWARD = {"promote", "pull"}


@dataclass(frozen=True)
class Event:
    """One line of a history: `version` is in use from `time` (UTC, ISO 8601) on.

    `previous` was in use before it, `who` the user's name on this machine, `sha256` that of the
    version's ONNX file, `evaluation` that of the metrics the promotion rested on.
    """

    time: str
    who: str
    action: str
    version: str
    previous: str | None
    sha256: str
    evaluation: str | None = None
    note: str = ""


def home() -> Path:
    """Folder of what belongs to the user of this machine: AURA_HOME, or the platform's own."""
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "aura"


def models_dir() -> Path:
    """Folder of the registered models."""
    return home() / "models"


def registered() -> list[str]:
    """Names of all models with a history."""
    return sorted(path.parent.name for path in models_dir().glob(f"*/{HISTORY}"))


def versions(name: str) -> list[str]:
    """All versions of a model that are here, by name."""
    return sorted(path.parent.name for path in model_dir(name).glob(f"*/{CARD}"))


def model_dir(name: str) -> Path:
    """Folder of one model.

    Raises:
        UsageError: no such name can be.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"model name {name!r}: use a-z, 0-9 and hyphens, such as contract-v1")
    return models_dir() / name


def version_dir(name: str, version: str) -> Path:
    """Folder of one version.

    Raises:
        UsageError: no such name or version can be.
    """
    if not VERSION.fullmatch(version):
        raise UsageError(f"version {version!r}: use letters, digits, dots and hyphens, as in 1.0.0")
    return model_dir(name) / version


def history(name: str) -> tuple[Event, ...]:
    """All that was ever promoted or rolled back, oldest first.

    Raises:
        WeightsError: a line is damaged, or was written by a newer version.
    """
    path = model_dir(name) / HISTORY
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path} can't be read ({error}); put back a copy of it") from None
    return tuple(_event(line, f"{path}, line {number}") for number, line in enumerate(lines, 1))


def _event(line: str, place: str) -> Event:
    try:
        raw = json.loads(line)
        layout = raw.pop("format")
        if isinstance(layout, int) and layout > HISTORY_FORMAT:
            raise WeightsError(
                f"{place} has format {layout}, this version reads up to {HISTORY_FORMAT}: upgrade "
                "aura-veracity"
            )
        event = Event(**raw)  # an unknown field is a TypeError
        fits = event.action in ACTIONS and VERSION.fullmatch(event.version)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"{place} is damaged ({error}); put back a copy of the file or promote anew after "
            "moving it away, the versions themselves are not touched"
        ) from None
    if not fits:
        raise WeightsError(f"{place} is damaged (no known action or version); put back a copy")
    return event


def in_use(name: str) -> str | None:
    """The version that is promoted, None where nothing ever was."""
    events = history(name)
    return events[-1].version if events else None


def promoted(name: str) -> Path | None:
    """Folder of the version in use, None where nothing was promoted.

    Raises:
        WeightsError: the history can't be read, or the version it names is gone.
    """
    if not NAME.fullmatch(name):
        return None
    version = in_use(name)
    if version is None:
        return None
    folder = version_dir(name, version)
    if not (folder / CARD).is_file():
        raise WeightsError(
            f"{name} {version} is in use, but {folder} is gone; put it back, promote another "
            f"version, or go back with `aura models rollback {name}`"
        )
    return folder


def before(name: str) -> str:
    """The version to which a rollback leads: that in use before the last promotion not undone.

    Raises:
        UsageError: there is none.
    """
    stack: list[str] = []
    for event in history(name):
        if event.action in FORWARD:
            stack.append(event.version)
        elif stack:
            stack.pop()
    if len(stack) < 2:
        raise UsageError(
            f"{name} has no earlier version to go back to; `aura models history {name}` shows what "
            "there was"
        )
    return stack[-2]


def add_version(
    name: str, version: str, files: Mapping[str, Path], texts: Mapping[str, str]
) -> Path:
    """A new version of copied files and written texts, by their places in its folder.

    Raises:
        UsageError: the version is there already, or the folder can't be written.
    """
    target = version_dir(name, version)
    if target.exists():
        raise UsageError(f"{name} {version} is there already; versions never change: name another")
    partial = target.with_name(f".{version}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        for place, source in files.items():
            copy = partial / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        for place, text in texts.items():
            (partial / place).write_text(text, encoding="utf-8")
        for path in partial.rglob("*"):
            if path.is_file():
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
        partial.replace(target)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UsageError(
            f"{target} can't be written ({error.strerror}); nothing was promoted: make room or set "
            f"{HOME_VARIABLE} to another folder"
        ) from None
    return target


def record(
    name: str,
    action: str,
    version: str,
    sha256: str,
    *,
    evaluation: str | None = None,
    note: str = "",
) -> Event:
    """Put a version in use: one line more in the history.

    Raises:
        WeightsError: the history can't be read. UsageError: it can't be written.
    """
    events = history(name)
    event = Event(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        who=_who(),
        action=action,
        version=version,
        previous=events[-1].version if events else None,
        sha256=sha256,
        evaluation=evaluation,
        note=note,
    )
    path = model_dir(name) / HISTORY
    partial = path.with_name(f".{HISTORY}.{os.getpid()}.partial")
    lines = [json.dumps(_as_json(one), ensure_ascii=False) for one in (*events, event)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(
            f"{path} can't be written ({error.strerror}); the version in use did not change"
        ) from None
    return event


def _as_json(event: Event) -> dict[str, Any]:
    return {"format": HISTORY_FORMAT, **asdict(event)}


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"
