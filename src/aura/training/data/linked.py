"""Which clips belong together: those that share people or content, directly or over others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.training.data.manifest import Row


def names_of(row: Row, *, people: bool = True) -> list[str]:
    """Whom and what a clip shows: its people (unless left out) and its group."""
    names = [f"person {one}" for one in row.identities] if people else []
    return names + ([f"group {row.group}"] if row.group else [])


def linked(names: Mapping[int, Sequence[str]]) -> list[tuple[str, list[int]]]:
    """Sets of clips that share a name, directly or over others.

    Args:
        names: of each clip; a clip without any stands alone.

    Returns:
        All names of a set as one text (empty for a nameless clip), and the clips, in the order of
        the first clip of each set.

    >>> linked({0: ["a"], 1: ["b"], 2: ["a", "c"], 3: []})
    [('a c', [0, 2]), ('b', [1]), ('', [3])]
    """
    leads: dict[str, str] = {}  # from a name to another one of its set; the first to itself

    def first(name: str) -> str:
        while leads.setdefault(name, name) != name:
            leads[name] = leads[leads[name]]
            name = leads[name]
        return name

    for own in names.values():
        for name in own[1:]:
            leads[first(name)] = first(own[0])
    members: dict[str | int, list[int]] = {}
    for index, own in names.items():
        members.setdefault(first(own[0]) if own else index, []).append(index)
    return [
        (" ".join(sorted({name for i in clips for name in names[i]})), clips)
        for clips in members.values()
    ]
