"""Reads reports as they are stored: of any age, so any part of them may be missing."""

from __future__ import annotations

from typing import Any

# Characters that turn the direction of writing or break lines: a file's name could pose as another.
UNSHOWABLE = dict.fromkeys([*range(32), 127, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], "�")


def plain(text: str) -> str:
    """Text of strangers as it may be shown; markup in it is the template's to escape."""
    return text.translate(UNSHOWABLE)


def dig(tree: Any, *path: str) -> Any:
    """What lies at the end of a path of names; None where it breaks off.

    >>> dig({"a": {"b": 1}}, "a", "b"), dig({"a": None}, "a", "b")
    (1, None)
    """
    for name in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(name)
    return tree


def rows(tree: Any, *path: str) -> list[dict[str, Any]]:
    """The list at the end of a path, of what in it is an object; empty where there is none."""
    found = dig(tree, *path)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def number(tree: Any, *path: str) -> float | None:
    """The number at the end of a path; None where there is none."""
    found = dig(tree, *path)
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None


class Loose(dict[str, Any]):
    """A part of a report for templates: what an old record lacks is None."""

    def __missing__(self, key: str) -> None:
        return None


def loose(tree: Any) -> Any:
    """The same tree, tolerant at every place."""
    if isinstance(tree, dict):
        return Loose({str(name): loose(value) for name, value in tree.items()})
    return [loose(one) for one in tree] if isinstance(tree, (list, tuple)) else tree


def length_of(report: Any) -> float:
    """Seconds that the time axis of a report covers."""
    known = [
        number(report, "metadata", "video_duration_sec"),
        number(report, "provenance", "input", "duration_sec"),
    ]
    ends = [
        number(window, "end")
        for one in rows(report, "detectors")
        for window in rows(one, "windows")
    ]
    stated = [value for value in known if value is not None and value > 0]
    found = [value for value in ends if value is not None]
    return max([*stated[:1], *found, 0.1])
