"""What an evaluation judges: clips of a prepared set, fakes made of them, and their controls."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aura.training.contract.dataset import MARGIN_SECONDS, PART_WINDOWS, STRETCH_SECONDS
from aura.training.contract.making import self_made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aura.training.data.clip import Clip
    from aura.training.data.prepared import PreparedSet
    from aura.windows import SlidingWindows

MADE = "#"  # between a clip's path and what was made of it
CONTROL = "control of "  # the real partner of a self-made fake: the same treatment without the lie


class Case(NamedTuple):
    """What gets one prediction: a clip (`kind` empty), a fake made of it, or that one's control.

    `place` of the clip in the prepared set; `name` in the predictions.
    """

    place: int
    name: str
    kind: str
    fake: bool


def cases(prepared: PreparedSet, chosen: Sequence[int], kinds: Sequence[str]) -> list[Case]:
    """The clips, and with `kinds` of each real one every fake that can be made, with its control.

    Whether one can be made is found out when the clip is loaded.
    """
    found = []
    for index in chosen:
        row = prepared.rows[index]
        found.append(Case(index, row.path, "", bool(row.target)))
        if not row.target:
            for kind in kinds:
                found.append(Case(index, f"{row.path}{MADE}{kind}", kind, fake=True))
                found.append(Case(index, f"{row.path}{MADE}{CONTROL}{kind}", kind, fake=False))
    return found


class CaseClips:
    """Loads the clips of cases; the last one is kept, for the next condition it is judged under.

    Args:
        prepared: the set. pool: clips of it of which another voice may be taken. motion: whether
            flow is wanted of what is made.
    """

    def __init__(self, prepared: PreparedSet, pool: Sequence[int], *, motion: bool) -> None:
        self.prepared, self.pool, self.motion = prepared, pool, motion
        self._kept: tuple[tuple[str, float, int], Clip | None] | None = None

    def parts(
        self, case: Case, sliding: SlidingWindows, few: int = 0
    ) -> Iterator[tuple[Clip, list[float]]]:
        """The case's clip, a stretch at a time, each with the starts of its windows.

        Nothing at all where this fake can't be made of the clip.

        Args:
            few: take no more windows than that, evenly spread; 0 takes all.

        Raises:
            InputError: the prepared clip can't be read.
        """
        if case.kind:
            made = self._once((case.name, 0.0, 0), lambda: self._made(case, self.pool))
            if made is not None:
                yield made, _spread([start for start, _ in sliding.spans(*made.span)], few)
            return
        spans = sliding.spans(*self.prepared.span_of(case.place))
        starts = _spread([start for start, _ in spans], few)
        # Windows that lie apart are loaded one by one, since all between them would be loaded too.
        size = 1 if few else PART_WINDOWS
        for first in range(0, len(starts), size):
            part = starts[first : first + size]
            span = part[0] - MARGIN_SECONDS, part[-1] + sliding.seconds + MARGIN_SECONDS
            clip = self._once(
                (case.name, part[0], len(part)),
                lambda span=span: self.prepared.load(case.place, span),  # type: ignore[misc]
            )
            if clip is not None:
                yield clip, part

    def _once(self, key: tuple[str, float, int], load: Callable[[], Clip | None]) -> Clip | None:
        if self._kept is None or self._kept[0] != key:
            self._kept = key, load()
        return self._kept[1]

    def _made(self, case: Case, pool: Sequence[int]) -> Clip | None:
        """A fake, or its control, of the middle of a clip; the same one each time."""
        making = self_made()
        clip = self.prepared.load(case.place, self._middle(case.place))
        random = np.random.default_rng(zlib.crc32(f"{clip.row.path}{MADE}{case.kind}".encode()))
        donor = self._donor(case.place, pool, random) if case.kind == "swap" else None
        if case.kind == "swap" and donor is None:
            return None
        if not making.applicable(case.kind, clip, donor):
            return None
        make = making.make_pair if case.fake else making.make_control
        return make(case.kind, clip, random, donor, motion=self.motion)

    def _middle(self, index: int) -> tuple[float, float]:
        start, end = self.prepared.span_of(index)
        step = 1 / self.prepared.fps_of(index)
        first = start + step * round(max(0.0, end - start - STRETCH_SECONDS) / 2 / step)
        return first, min(end, first + STRETCH_SECONDS)

    def _donor(self, index: int, pool: Sequence[int], random: np.random.Generator) -> Clip | None:
        """A real clip with sound, of other people and other content."""
        own = self.prepared.rows[index]
        for place in random.permutation(len(pool)):
            row = self.prepared.rows[pool[int(place)]]
            known = set(own.identities) & set(row.identities)
            if (
                row.target
                or known
                or row.path == own.path
                or (own.group and own.group == row.group)
            ):
                continue
            clip = self.prepared.load(pool[int(place)], self._middle(pool[int(place)]))
            if clip.has_sound:
                return clip
        return None


def _spread(starts: list[float], few: int) -> list[float]:
    """At most `few` of them, evenly spread; 0 keeps all."""
    if not few or len(starts) <= few:
        return starts
    return [starts[int((i + 0.5) * len(starts) / few)] for i in range(few)]
