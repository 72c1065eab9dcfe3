"""The windows of a prepared set, and what is made of them for training.

What is drawn from is a unit: a clip, as it is or made into a fake, of which a few windows are
taken. The work on a whole clip (reading, manipulating, augmenting) is so shared by its windows,
nothing is kept between units, and a unit depends on (seed, epoch, clip, draw) alone: on no order
and on no number of processes. That is what makes an exact resumption possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from aura.detectors.contract_input import cut_sound, frames_of_window, place_faces
from aura.errors import UsageError
from aura.training.contract.people import val_parts
from aura.training.contract.samples import Batch, Sample, collate, cut_sample
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from aura.training.contract.config import ContractConfig
    from aura.training.data.clip import Clip
    from aura.training.data.manifest import Row

ORDER = 1 << 20  # stands where a clip's number does, for draws that belong to a whole epoch
REFILL = 1 << 16  # draws from here on fill up the last batch of an epoch
FIXED_EPOCH = 0  # in which all draws for validation are made
DONOR_KINDS = ("swap",)  # take somebody else's voice
DONOR_TRIES = 8  # clips looked at for another voice before a kind is given up
STRETCH_SECONDS = 6.0  # of a clip that is loaded for training: room for a shift and a partial fake
PART_WINDOWS = 16  # of a clip that is loaded at once when all are wanted; bounds memory
ROUNDING = 1e-6  # of a step: seconds are seldom exact
MARGIN_SECONDS = 0.1  # loaded around a part, so that its first and last pictures are there for sure


class Clips(Protocol):
    """What is needed of a prepared set (`aura.training.data.prepared.PreparedSet`)."""

    rows: list[Row]

    @property
    def data_hash(self) -> str:
        """Hash over what decides training."""
        ...

    def load(self, index: int, span: tuple[float, float] | None = None) -> Clip:
        """One clip, or a stretch of it."""
        ...

    def fps_of(self, index: int) -> float:
        """Its pictures a second."""
        ...

    def span_of(self, index: int) -> tuple[float, float]:
        """Its (start, end) in seconds."""
        ...


class Making(NamedTuple):
    """How fakes, their real partners and augmentations are made; see `aura.training.pairs`."""

    applicable: Callable[..., bool]
    make_pair: Callable[..., Clip]
    make_control: Callable[..., Clip]
    augment: Callable[..., Clip]


class Recipe(NamedTuple):
    """What is made of the clips.

    `kinds` of self-made fakes, none when empty; `augment` on or off; `balance` fills up the class
    that has fewer units; `windows` drawn of each unit, 0 = all of them, in their order and the same
    each time (with self-made fakes: all of one stretch of each clip).
    """

    kinds: tuple[str, ...] = ()
    augment: bool = False
    balance: bool = False
    windows: int = 0


AS_IT_IS = Recipe()


class Unit(NamedTuple):
    """The key of an item, from which all that is drawn for it follows.

    `clip` in the prepared set; `draw` counts how often it came in this `epoch`; `made` into a fake;
    `frames` in a window, one number for a batch; `part` of the clip's windows when all are wanted.
    """

    epoch: int
    clip: int
    draw: int
    made: bool
    frames: int
    part: int = 0


class WindowSet:
    """Windows of some clips of a prepared set; a `Source` of the training loop.

    Args:
        clips: a prepared set. indices: which of its clips. config: of the network.
        recipe: what is made of them. seed: of all draws. making: how fakes are made; needed when
            the recipe asks for any.

    Raises:
        UsageError: clips whose frame rate gives windows that the network does not take.
    """

    def __init__(
        self,
        clips: Clips,
        indices: Sequence[int],
        config: ContractConfig,
        recipe: Recipe = AS_IT_IS,
        *,
        seed: int = 0,
        making: Making | None = None,
    ) -> None:
        if (recipe.kinds or recipe.augment) and making is None:
            raise UsageError("self-made fakes and augmentation need to be told how")
        self.clips, self.indices, self.config = clips, tuple(indices), config
        self.recipe, self.seed, self.making = recipe, seed, making
        self.sliding = SlidingWindows(config.window_seconds)
        self._frames = {index: self._frames_of(index) for index in self.indices}
        real = sum(not clips.rows[index].target for index in self.indices)
        # Share of the fakes that are self-made, and so of the real clips that go through all that
        # these go through but the lie: else the treatment itself would tell the classes apart.
        self._partners = real / max(1, len(self.indices)) if recipe.kinds else 0.0
        self.data_hash = clips.data_hash

    def units(self, epoch: int) -> list[Unit]:
        """All units of an epoch: the clips, fakes made of the real ones, repeats for balance."""
        real = [self._unit(epoch, i) for i in self.indices if not self.clips.rows[i].target]
        fake = [self._unit(epoch, i) for i in self.indices if self.clips.rows[i].target]
        if self.recipe.kinds:
            fake += [unit._replace(made=True) for unit in real]
        if self.recipe.balance and real and fake:
            random = np.random.default_rng([self.seed, epoch, ORDER])
            size = max(len(real), len(fake))
            real, fake = _filled(real, size, random), _filled(fake, size, random)
        return real + fake

    def batches(self, epoch: int, size: int) -> list[list[Hashable]]:
        """The units of each step; shuffled when windows are drawn, else in the order of the clips.

        Args:
            epoch: decides all draws. size: windows in a batch, about: short clips have fewer.
        """
        if not self.recipe.windows:
            return [[part] for unit in self.units(FIXED_EPOCH) for part in self._parts(unit)]
        units = self.units(epoch)
        random = np.random.default_rng([self.seed, epoch, ORDER + 1])
        count = max(1, size // self.recipe.windows)
        found: list[list[Hashable]] = []
        for frames in sorted({unit.frames for unit in units}):
            alike = [unit for unit in units if unit.frames == frames]
            alike = [alike[int(i)] for i in random.permutation(len(alike))]
            missing = -len(alike) % count
            alike += [alike[i % len(alike)]._replace(draw=REFILL + i) for i in range(missing)]
            found += [list(alike[i : i + count]) for i in range(0, len(alike), count)]
        return [found[int(i)] for i in random.permutation(len(found))]

    def __getitem__(self, unit: Unit) -> list[Sample]:
        """The windows of a unit.

        Raises:
            InputError: the prepared clip can't be read.
        """
        random = np.random.default_rng(
            [self.seed, unit.epoch, unit.clip, unit.draw, int(unit.made)]
        )
        partner = bool(random.random() < self._partners) and not self.clips.rows[unit.clip].target
        if not (self.recipe.windows or self.recipe.kinds):
            starts = self._spans(unit.clip)[unit.part * PART_WINDOWS :][:PART_WINDOWS]
            last = starts[-1] + self.sliding.seconds
            clip = self.clips.load(unit.clip, (starts[0] - MARGIN_SECONDS, last + MARGIN_SECONDS))
            return self._cut(clip, unit, "", starts)
        # Where all windows are wanted, a real clip and the fake made of it show the same stretch.
        place = random
        if not self.recipe.windows:
            place = np.random.default_rng([self.seed, unit.epoch, unit.clip, ORDER])
        clip, kind = self.clips.load(unit.clip, self._stretch(unit.clip, place)), ""
        if unit.made or partner:
            clip, kind = self._make(clip, unit, random)
        if self.recipe.augment and self.making is not None:
            clip = self.making.augment(clip, random, motion=self.config.enable_motion)
        if self.recipe.windows:
            return self._cut(clip, unit, kind, self._drawn(clip, random))
        return self._cut(clip, unit, kind, [s for s, _ in self.sliding.spans(*clip.span)])

    def collate(self, items: Iterable[list[Sample]]) -> Batch:
        """The windows of several units as one batch."""
        return collate([sample for item in items for sample in item])

    def _unit(self, epoch: int, index: int) -> Unit:
        return Unit(epoch, index, 0, made=False, frames=self._frames[index])

    def _frames_of(self, index: int) -> int:
        fps = self.clips.fps_of(index)
        count = frames_of_window(fps, self.config.window_seconds)
        fewest, most = self.config.window_frames
        if not fewest <= count <= most:
            raise UsageError(
                f"{self.clips.rows[index].path} was prepared at {fps:g} pictures a second, which "
                f"is {count} in a window of {self.config.window_seconds:g} s; the network takes "
                f"{fewest} to {most}: prepare it at another rate or change window_frames"
            )
        return count

    def _make(self, clip: Clip, unit: Unit, random: np.random.Generator) -> tuple[Clip, str]:
        """A fake of a drawn kind that the clip allows, or its real partner, and the fake's kind.

        The clip itself when it allows none.
        """
        if self.making is None:
            return clip, ""
        make = self.making.make_pair if unit.made else self.making.make_control
        # `augment` measures the motion of what it changed itself.
        motion = self.config.enable_motion and not self.recipe.augment
        for number in random.permutation(len(self.recipe.kinds)):
            kind = self.recipe.kinds[int(number)]
            if not self.making.applicable(kind, clip):
                continue
            donor = self._donor(unit.clip, random) if kind in DONOR_KINDS else None
            if kind in DONOR_KINDS and (
                donor is None or not self.making.applicable(kind, clip, donor)
            ):
                continue
            return make(kind, clip, random, donor, motion=motion), kind if unit.made else ""
        return clip, ""

    def _donor(self, index: int, random: np.random.Generator) -> Clip | None:
        """A real clip of this set with sound, of other people and other content."""
        own = self.clips.rows[index]
        for _ in range(DONOR_TRIES):
            other = self.indices[int(random.integers(len(self.indices)))]
            row = self.clips.rows[other]
            known = set(own.identities) & set(row.identities)
            if other == index or row.target or known or (own.group and own.group == row.group):
                continue
            clip = self.clips.load(other, self._stretch(other, random))
            if clip.has_sound:
                return clip
        return None

    def _cut(self, clip: Clip, unit: Unit, kind: str, starts: list[float]) -> list[Sample]:
        if not self.recipe.windows:
            starts = [start for start in starts if self._anything(clip, start)] or starts
        return [cut_sample(clip, unit.clip, kind, start, self.config) for start in starts]

    def _spans(self, index: int) -> list[float]:
        return [start for start, _ in self.sliding.spans(*self.clips.span_of(index))]

    def _parts(self, unit: Unit) -> list[Unit]:
        windows = PART_WINDOWS if self.recipe.kinds else len(self._spans(unit.clip))
        return [unit._replace(part=i) for i in range(-(-windows // PART_WINDOWS))]

    def _stretch(self, index: int, random: np.random.Generator) -> tuple[float, float]:
        """A stretch of a clip, beginning on a half step of its pictures."""
        start, end = self.clips.span_of(index)
        half = 0.5 / self.clips.fps_of(index)
        room = int(max(0.0, end - start - STRETCH_SECONDS) / half + ROUNDING)
        first = start + half * int(random.integers(room + 1))
        return first, min(end, first + STRETCH_SECONDS)

    def _drawn(self, clip: Clip, random: np.random.Generator) -> list[float]:
        """Where drawn windows begin, those in which anything is to be seen or heard.

        On half steps of the pictures, as the windows of an analysis do: another phase between
        pictures and window would blur when a picture was taken.
        """
        length = clip.span[1] - clip.span[0]
        half = 0.5 / clip.fps
        room = int(max(0.0, length - self.sliding.seconds) / half + ROUNDING)
        wanted = min(self.recipe.windows, len(self.sliding.spans(*clip.span)))
        chosen: list[float] = []
        for place in random.permutation(room + 1):
            start = clip.span[0] + half * int(place)
            if self._anything(clip, start):
                chosen.append(start)
            if len(chosen) == wanted:
                break
        return chosen or [clip.span[0]]

    def _anything(self, clip: Clip, start: float) -> bool:
        """Whether there is a face or speech, by the rule that cuts windows."""
        seconds = self.sliding.seconds
        seen = place_faces(clip.faces.times, start, seconds, clip.fps) >= 0
        return bool(seen.any() or cut_sound(clip.voice, start, seconds)[1].any())


def _filled(units: list[Unit], size: int, random: np.random.Generator) -> list[Unit]:
    """As many units, by drawing some of them again; each equally often, give or take one."""
    order = [units[int(i)] for i in random.permutation(len(units))]
    again = (order[i % len(order)]._replace(draw=1 + i) for i in range(size - len(units)))
    return [*units, *again]


def training_sets(
    clips: Clips, config: ContractConfig, recipe: Recipe, *, seed: int, making: Making | None
) -> tuple[WindowSet, WindowSet]:
    """What is trained on, and what picks the checkpoint: the first part of the validation people.

    Without any fake in `val`, fakes are made of its clips, the same ones each time.

    Args:
        clips: a prepared set with its splits. recipe: for training.

    Raises:
        UsageError: a split is empty or has one class only.
    """
    train = [i for i, row in enumerate(clips.rows) if row.split == "train"]
    select, _ = val_parts(clips.rows)
    _check_split(clips.rows, train, "train", making=bool(recipe.kinds))
    _check_split(clips.rows, select, "val", making=bool(recipe.kinds))
    made_up = recipe.kinds if not any(clips.rows[i].target for i in select) else ()
    return (
        WindowSet(clips, train, config, recipe, seed=seed, making=making),
        WindowSet(clips, select, config, Recipe(made_up), seed=seed, making=making),
    )


def _check_split(rows: Sequence[Row], chosen: Sequence[int], split: str, *, making: bool) -> None:
    if not chosen:
        raise UsageError(
            f"no clip of the prepared set is in the split {split!r}: fill the column split of the "
            "manifest (train, val, test) and prepare it again"
        )
    fakes = sum(rows[i].target for i in chosen)
    if fakes == len(chosen):
        raise UsageError(
            f"the split {split!r} has {fakes} fake clips and no real one; add real clips to the "
            "manifest and prepare it again"
        )
    if fakes == 0 and not making:
        raise UsageError(
            f"the split {split!r} has {len(chosen)} real clips and no fake one; add fakes, or "
            "let them be made of the real clips: --pairs all"
        )
