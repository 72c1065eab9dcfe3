"""Self-made pairs: a fake out of a real clip, and a control that went through all but the lie.

| kind | what is done | label | visual | audio | disagreement |
| --- | --- | --- | --- | --- | --- |
| self_blend | the face, slightly changed, is pasted onto itself | 1 | 1 | as it was | unknown |
| revoice | the speech is taken apart and synthesised anew | 1 | as it was | 1 | unknown |
| shift | the sound is moved by 0.25 to 1 s | 1 | as it was | as it was | 1 |
| swap | somebody else's speech | 1 | as it was | as it was | 1 |
| both | self_blend and revoice | 1 | 1 | 1 | unknown |
| partial_visual | self_blend in a stretch of 0.5 to 3 s | 1 | 1, span | as it was | unknown |
| partial_audio | revoice in a stretch of 0.5 to 3 s | 1 | as it was | 1, span | unknown |

A blend of a face with itself keeps its lips, and a voice re-synthesised from the recording keeps
its timing: they stay in sync by construction, though the lie is of the sort that usually breaks
it. So their disagreement is unknown rather than 1 (which would teach the head to look for blends)
or 0 (which would teach that fakes agree).

A network finds the cheapest difference between real and fake. `make_control` gives the real partner
of a kind: whatever the kind does beside its lie happens to it as well. Real examples for training
are controls, kinds drawn as often as for the fakes; what each control closes is told with the code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aura.errors import UsageError
from aura.training.augment.cutting import refresh_motion
from aura.training.pairs.facing import blend, can_blend, part_to_blend
from aura.training.pairs.timing import can_shift, can_swap, shift, swap
from aura.training.pairs.voicing import can_revoice, part_to_revoice, revoice

if TYPE_CHECKING:
    import numpy as np

    from aura.training.data.clip import Clip

KINDS = ("self_blend", "revoice", "shift", "swap", "both", "partial_visual", "partial_audio")
BLENDED = ("self_blend", "both", "partial_visual")
REVOICED = ("revoice", "both", "partial_audio")


def applicable(kind: str, clip: Clip, donor: Clip | None = None) -> bool:
    """Whether a kind can be made of a clip: a real one with the faces and the speech it takes.

    `swap` needs a donor to be made; without one given here only the clip's own part is judged.

    Raises:
        UsageError: no such kind.
    """
    _known(kind)
    if clip.truth.label != 0:
        return False
    if kind == "shift":
        return can_shift(clip)
    if kind == "swap":
        return can_swap(clip, donor)
    part = kind.startswith("partial")
    return (kind not in BLENDED or can_blend(clip, part=part)) and (
        kind not in REVOICED or can_revoice(clip, part=part)
    )


def make_pair(
    kind: str,
    clip: Clip,
    random: np.random.Generator,
    donor: Clip | None = None,
    *,
    motion: bool = True,
) -> Clip:
    """A fake made of a real clip; its `truth` says what was done.

    Args:
        kind: one of `KINDS`. clip: a real one. random: all chance comes from it.
        donor: whose speech it becomes; `swap` only, another person's clip.
        motion: compute the motion values of changed pictures; False where `refresh_motion` or
            `augment` follows anyway.

    Raises:
        UsageError: an unknown kind, or one that can't be made of this clip (see `applicable`).
        MissingExtra: WORLD, which re-voicing draws at times, is not installed.
    """
    return _make(kind, clip, random, donor, lie=True, motion=motion)


def make_control(
    kind: str,
    clip: Clip,
    random: np.random.Generator,
    donor: Clip | None = None,
    *,
    motion: bool = True,
) -> Clip:
    """The real partner of `make_pair`: the same cuts and treatments without the lie.

    Arguments and errors as there; the truth stays what it was.
    """
    return _make(kind, clip, random, donor, lie=False, motion=motion)


def _make(
    kind: str,
    clip: Clip,
    random: np.random.Generator,
    donor: Clip | None,
    *,
    lie: bool,
    motion: bool,
) -> Clip:
    if kind == "swap" and donor is None:
        raise UsageError("a swapped voice needs a donor; give another person's clip")
    if not applicable(kind, clip, donor):
        raise UsageError(f"{kind} can't be made of {clip.row.path}; ask `applicable` first")
    if kind == "shift":
        return shift(clip, random, lie=lie)
    if kind == "swap":
        assert donor is not None  # noqa: S101
        return swap(clip, donor, random, lie=lie)
    part = kind.startswith("partial")
    if kind in BLENDED:
        stretch = part_to_blend(clip, random) if part else None
        clip = blend(clip, random, lie=lie, stretch=stretch)
        clip = refresh_motion(clip) if motion else clip
    if kind in REVOICED:
        blocks = part_to_revoice(clip, random) if part else None
        clip = revoice(clip, random, lie=lie, part=blocks)
    return clip


def _known(kind: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"there is no kind of pair {kind!r}; choose one of {', '.join(KINDS)}")
