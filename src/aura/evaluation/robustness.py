"""Which perturbations are asked for, and how a clip is given one."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.errors import UsageError
from aura.evaluation.perturbations import CONTROL, LEVELS, PERTURBATIONS
from aura.evaluation.recode import CLEAR_CRF, with_pictures, with_sound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GROUPS = ("video", "sound", "all")


def chosen(names: str, levels: str) -> list[tuple[str, int]]:
    """Perturbations and levels from the words of the command line.

    Where pictures are changed, `control` comes first: clips that are only written anew.

    >>> chosen("blur,sound-room", "1,5")
    [('control', 0), ('blur', 1), ('blur', 5), ('sound-room', 1), ('sound-room', 5)]

    Raises:
        UsageError: a name or level that there is not.
    """
    wanted: list[str] = []
    for name in (word.strip() for word in names.split(",")):
        if name in GROUPS:
            wanted += [key for key, one in PERTURBATIONS.items() if name in {one.modality, "all"}]
        elif name in PERTURBATIONS:
            wanted.append(name)
        elif name != CONTROL:
            known = ", ".join((*GROUPS, *PERTURBATIONS))
            raise UsageError(f"--robustness: {name!r} is none of {known}")
    try:
        steps = sorted({int(word) for word in levels.split(",")})
    except ValueError:
        steps = [0]
    if not steps or not set(steps) <= set(LEVELS):
        raise UsageError(f"--levels {levels!r}: give some of 1,2,3,4,5")
    pairs = [(name, level) for name in dict.fromkeys(wanted) for level in steps]
    pictures = any(PERTURBATIONS[name].modality == "video" for name in wanted)
    return [(CONTROL, 0), *pairs] if pictures or not wanted else pairs


def options_of(name: str, level: int) -> dict[str, Any]:
    """What a header says of a perturbation."""
    if name == CONTROL:
        return {"robustness": CONTROL, "setting": f"written anew at CRF {CLEAR_CRF}"}
    setting = PERTURBATIONS[name].setting(level)
    return {"robustness": name, "level": level, "setting": setting}


def seed_of(name: str, level: int, clip: str) -> int:
    """One clip gets the same damage each time, and two clips don't get the same noise."""
    return zlib.crc32(f"{name}:{level}:{clip}".encode("utf-8", "surrogateescape"))


def treatment(name: str, level: int) -> Callable[[Path, Path], Path]:
    """A function of (clip, scratch folder) that writes the perturbed copy there."""

    def treat(clip: Path, scratch: Path) -> Path:
        target = scratch / f"{clip.stem}.mkv"
        if name == CONTROL:
            return with_pictures(clip, target, None)
        one = PERTURBATIONS[name]
        parameter = one.parameters[level - 1]
        random = np.random.default_rng(seed_of(name, level, clip.name))
        if one.sound is not None:
            change = one.sound
            return with_sound(clip, target, lambda samples: change(samples, parameter, random))
        if one.picture is not None:
            paint = one.picture
            return with_pictures(clip, target, lambda image: paint(image, parameter, random))
        return with_pictures(clip, target, None, parameter)

    return treat
