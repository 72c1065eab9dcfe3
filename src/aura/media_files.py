"""Which files are analysed: those named, and those that folders hold."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aura.errors import InputNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aura.media import MediaKind

# What folders are searched for. Files named on the command line are tried whatever they are called.
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
SUFFIXES: Mapping[MediaKind, frozenset[str]] = {
    "video": VIDEO_SUFFIXES,
    "image": frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}),
    "audio": frozenset(
        {".aac", ".aif", ".aiff", ".amr", ".caf", ".flac", ".m4a"}
        | {".mp3", ".oga", ".ogg", ".opus", ".wav"}
    ),
}
NAMES: Mapping[MediaKind, tuple[str, str]] = {
    "video": ("video", "videos"),
    "image": ("picture", "pictures"),
    "audio": ("sound", "sounds"),
}


class Found(NamedTuple):
    """The files to analyse, and how many of other kinds lie in the same folders."""

    files: list[Path]
    left: Counter[MediaKind]

    def told(self) -> str:
        """What was left aside and how to have it, in words; empty where nothing was."""
        parts = [
            f"{count} {NAMES[kind][count > 1]}" for kind in SUFFIXES if (count := self.left[kind])
        ]
        if not parts:
            return ""
        verb = "was" if sum(self.left.values()) == 1 else "were"
        what = " and ".join(parts)
        return f"{what} in these folders {verb} left aside; --media all takes all kinds."


def find_media(paths: Sequence[Path], kinds: Sequence[MediaKind] = ("video",)) -> Found:
    """The files to analyse: those named, and those in named folders (recursive, by suffix).

    Args:
        kinds: what folders are searched for. A folder of videos often holds their thumbnails as
            well, so pictures and sounds are only taken where they are asked for.

    Raises:
        InputNotFound: a named folder holds no such file, or may not be read.
    """
    found: dict[str, Path] = {}
    aside: dict[str, MediaKind] = {}
    for path in paths:
        if not is_folder(path):
            found.setdefault(os.path.abspath(path), path)  # noqa: PTH100 - keep links as named
            continue
        inside = sorted(_media_in(path))
        left = {os.path.abspath(file): kind for file, kind in inside if kind not in kinds}  # noqa: PTH100
        aside |= left
        if len(left) == len(inside):
            raise InputNotFound(_nothing_in(path, kinds, Counter(left.values())))
        for file, kind in inside:
            if kind in kinds:
                found.setdefault(os.path.abspath(file), file)  # noqa: PTH100
    return Found(list(found.values()), Counter(k for at, k in aside.items() if at not in found))


def _nothing_in(folder: Path, kinds: Sequence[MediaKind], left: Counter[MediaKind]) -> str:
    wanted = " or ".join(NAMES[kind][0] for kind in kinds)
    if left:
        return f"{folder} holds no {wanted}. {Found([], left).told()}"
    known = " ".join(sorted({suffix for kind in kinds for suffix in SUFFIXES[kind]}))
    return (
        f"{folder} holds no {wanted} file that Aura knows by its name ({known}); name files "
        "directly to analyse others"
    )


def is_folder(path: Path) -> bool:
    """Whether this is a folder, as far as its own folder lets one see."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises where permission is missing


def _media_in(folder: Path) -> Iterator[tuple[Path, MediaKind]]:
    def refuse(error: OSError) -> None:
        raise InputNotFound(f"{error.filename} can't be read ({error.strerror})")

    for where, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            suffix = Path(name).suffix.lower()
            kind = next((kind for kind, known in SUFFIXES.items() if suffix in known), None)
            # A name that begins with a dot is a download in progress or a desktop's own file.
            if kind is not None and not name.startswith("."):
                yield Path(where) / name, kind
