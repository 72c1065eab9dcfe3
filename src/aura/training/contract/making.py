"""The kinds of self-made fakes by the names that `--pairs` takes, and what makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aura.errors import UsageError
from aura.training import pairs
from aura.training.augment import augment
from aura.training.contract.dataset import Making

if TYPE_CHECKING:
    from collections.abc import Iterable

# By what is manipulated: the face, the voice, or neither but that they belong together.
GROUPS = {
    "none": (),
    "visual": ("self_blend", "partial_visual"),
    "audio": ("revoice", "partial_audio"),
    "sync": ("shift", "swap"),
    "all": pairs.KINDS,
}


def self_made() -> Making:
    """This project's own fakes, their real partners and its augmentation."""
    return Making(pairs.applicable, pairs.make_pair, pairs.make_control, augment)


def pair_kinds(names: Iterable[str]) -> tuple[str, ...]:
    """Kinds of self-made fakes, in their order, from names of kinds and of groups of them.

    Raises:
        UsageError: a name that is neither.

    >>> pair_kinds(["sync"])
    ('shift', 'swap')
    """
    wanted: set[str] = set()
    for name in names:
        if name not in GROUPS and name not in pairs.KINDS:
            known = ", ".join([*GROUPS, *pairs.KINDS])
            raise UsageError(f"--pairs {name}: choose of {known}")
        wanted.update(GROUPS.get(name, (name,)))
    return tuple(kind for kind in pairs.KINDS if kind in wanted)
