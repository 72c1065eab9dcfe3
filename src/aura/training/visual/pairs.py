"""The endless, seeded row of training pairs, and the fixed pairs that measure held-out people."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aura.faces import CROP_SIDE
from aura.training.visual.augment import Treatment, first_life, untouched
from aura.training.visual.bank import FACE, MOVED, WHOLE, Bank
from aura.training.visual.blends import blend_pair
from aura.training.visual.crops import CANVAS_SIDE, CANVAS_SPAN, Crops, load
from aura.training.visual.redrawn import Generators, drawn_pair, plain_face, redrawn_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from aura.training.visual.bank import Drawing

Image = NDArray[np.uint8]
Random = np.random.Generator
Pair = tuple[Image, Image]
PARTNERS = 16  # faces of which the one that is turned most alike is pasted: swaps keep the pose
HELDOUT_FFHQ = 0.08  # share of sharp photos among held-out people: that of the corpora
PLAIN_SHARE = 0.1  # of redrawn faces: smoothed by a filter instead

# How much a pair of each kind counts for the two heads (`network.HEADS`). A wholly drawn picture
# has no border to find, and a blend of photos holds no generated pixel: each counts little or
# nothing for the head that it is not about.
WEIGHTS = {
    "blend": (1.0, 0.3),
    "redrawn": (1.0, 1.0),
    "drawn": (0.0, 1.0),
    "driven": (0.0, 1.0),
    "portrait": (0.0, 1.0),
}


class PairMaker:
    """Makes pairs of photos of one split.

    Args:
        crops: the photos. split: "train" or "dev". ffhq_share: of sharp photos.
        other_share: of blends and redrawn faces that show another person.
    """

    def __init__(self, crops: Crops, split: str, *, ffhq_share: float, other_share: float) -> None:
        self._crops, self._ffhq_share, self._other_share = crops, ffhq_share, other_share
        self._pools = {name: crops.where(name, split) for name in ("lfw", "ffhq", "stylegan")}

    def photo(self, index: int) -> Image:
        """(256, 256, 3) uint8."""
        return np.array(self._crops.images[index])

    def pick(self, random: Random) -> int:
        """The index of a random photo."""
        source = "ffhq" if random.random() < self._ffhq_share else "lfw"
        return int(random.choice(self._pools[source]))

    def nose(self, index: int) -> tuple[float, float]:
        """See `blends.face_mask`."""
        x, y = self._crops.nose[index]
        return float(x), float(y)

    def alike(self, random: Random, index: int) -> int:
        """Another photo, of a face that is turned about as this one is."""
        partners = np.array([self.pick(random) for _ in range(PARTNERS)])
        turned = np.abs(self._crops.nose[partners] - self._crops.nose[index]).sum(axis=1)
        return int(partners[turned.argmin()])

    def blend(self, random: Random, base: Callable[[Image], Image]) -> Pair:
        """(real, blend of photos); `base` is what the picture went through before."""
        index = self.pick(random)
        other = None
        if random.random() < self._other_share:
            other = self.photo(self.alike(random, index))
        return blend_pair(base(self.photo(index)), random, CANVAS_SPAN, self.nose(index), other)

    def redrawn(
        self,
        random: Random,
        base: Callable[[Image], Image],
        draw: Callable[[int], Drawing | None],
    ) -> Pair | None:
        """(real, the same with a face that `draw` drew of some photo); None: nothing is drawn."""
        index = self.pick(random)
        drawing = draw(index)
        if drawing is None:
            return None
        source = index if drawing.photo < 0 else drawing.photo
        another = random.random() < self._other_share
        target = self.alike(random, source) if another else source
        return redrawn_pair(
            base(self.photo(target)),
            random,
            CANVAS_SPAN,
            drawing,
            nose_shift=self.nose(target),
            another=another,
        )

    def drawn(self, random: Random, draw: Callable[[int], Drawing | None]) -> Pair | None:
        """(real, all of it drawn); None: nothing is drawn yet."""
        index = self.pick(random)
        drawing = draw(index)
        if drawing is None:
            return None
        return drawn_pair(
            self.photo(index if drawing.photo < 0 else drawing.photo), random, drawing
        )

    def portrait(self, random: Random) -> Pair:
        """(photo, StyleGAN2 portrait) of different people."""
        real, fake = (int(random.choice(self._pools[s])) for s in ("ffhq", "stylegan"))
        return self.photo(real), self.photo(fake)


def training_batches(
    folder: Path, config: Mapping[str, Any], seed: int
) -> Iterator[tuple[Image, NDArray[np.float32], NDArray[np.float32]]]:
    """Endless batches of pairs.

    Images (B, 224, 224, 3) uint8 RGB; labels (B,) float32, 1 = fake; and what each counts for the
    two heads, (B, 2) float32. `config` names the odds of each kind of pair, see `config.json`.
    """
    cv2.setNumThreads(1)
    random = np.random.default_rng(seed)
    crops = load(folder)
    bank = Bank(folder)
    maker = PairMaker(
        crops,
        "train",
        ffhq_share=config["ffhq_share"],
        other_share=config["other_person_share"],
    )
    kinds, odds = list(config["kinds"]), list(config["kinds"].values())
    while True:
        bank.refresh()
        images: list[Image] = []
        weights: list[tuple[float, float]] = []
        for _ in range(config["batch"] // 2):
            kind = str(random.choice(kinds, p=odds))
            base = first_life(random)
            pair: Pair | None = None
            if kind == "portrait":
                pair = maker.portrait(random)
            elif kind == "redrawn" and random.random() < PLAIN_SHARE:
                pair = maker.redrawn(random, base, lambda i: plain_face(maker.photo(i), random))
            elif kind == "redrawn":
                pair = maker.redrawn(random, base, lambda _: bank.draw(random, FACE))
            elif kind != "blend":
                entries = WHOLE if kind == "drawn" else MOVED
                pair = maker.drawn(random, lambda _, e=entries: bank.draw(random, e))  # type: ignore[misc]
            if pair is None:  # also while the bank is empty
                kind, pair = "blend", maker.blend(random, base)
            treat = Treatment(random, CANVAS_SIDE, CROP_SIDE, config["worn"])
            images += [treat(pair[0]), treat(pair[1])]
            weights += [WEIGHTS[kind]] * 2
        labels = np.tile(np.array([0.0, 1.0], np.float32), len(images) // 2)
        yield np.stack(images), labels, np.array(weights, np.float32)


def calibration_pictures(crops: Crops, pairs: int, seed: int = 0) -> Image:
    """(2 * pairs, 224, 224, 3): blends and portraits of training people, treated as in training."""
    cv2.setNumThreads(1)
    random = np.random.default_rng(seed)
    maker = PairMaker(crops, "train", ffhq_share=0.15, other_share=0.35)
    images: list[Image] = []
    for index in range(pairs):
        pair = maker.portrait(random) if index % 2 else maker.blend(random, first_life(random))
        treat = Treatment(random, CANVAS_SIDE, CROP_SIDE, 0.4)
        images += [treat(pair[0]), treat(pair[1])]
    return np.stack(images)


def heldout_blends(
    crops: Crops,
    pairs: int,
    seed: int,
    *,
    other_share: float = 0.0,
    treated: bool = True,
    worn: float = 0.0,
) -> Image:
    """(2 * pairs, 224, 224, 3): real, fake, real, fake, ... of people in the dev split.

    `treated` ones went through the same codecs and scalings as in training, a share of `worn`
    through the harshest of them; the others are as sharp as the photos.
    """
    maker = PairMaker(crops, "dev", ffhq_share=HELDOUT_FFHQ, other_share=other_share)
    return _heldout(pairs, seed, treated, lambda random: maker.blend(random, np.asarray), worn)


def heldout_redrawn(
    crops: Crops,
    generators: Generators,
    pairs: int,
    seed: int,
    *,
    kind: int = FACE,
    treated: bool = True,
) -> Image:
    """Like `heldout_blends`, drawn by generators kept out of training.

    `kind`: of `bank`; half of the faces (`FACE`) are another person's.
    """
    maker = PairMaker(crops, "dev", ffhq_share=HELDOUT_FFHQ, other_share=0.5)

    def make(random: Random) -> Pair | None:
        name = str(random.choice(generators.names))
        if kind == FACE:
            return maker.redrawn(
                random,
                np.asarray,
                lambda i: generators.face(name, maker.photo(i), random),
            )
        return maker.drawn(
            random,
            lambda i: generators.whole(name, maker.photo(i), random, moved=kind == MOVED),
        )

    return _heldout(pairs, seed, treated, make)


def _heldout(
    pairs: int,
    seed: int,
    treated: bool,
    make: Callable[[Random], Pair | None],
    worn: float = 0.0,
) -> Image:
    cv2.setNumThreads(1)
    random = np.random.default_rng(seed)
    images: list[Image] = []
    for _ in range(pairs):
        pair = make(random)
        if pair is not None:
            treat = _treatment(random, treated, worn)
            images += [treat(pair[0]), treat(pair[1])]
    return np.stack(images)


def heldout_generated(
    crops: Crops, views: int, seed: int, *, treated: bool = True
) -> tuple[Image, NDArray[np.int64]]:
    """All dev photos and portraits in `views` treatments; (N, 224, 224, 3) and labels (N,)."""
    cv2.setNumThreads(1)
    random = np.random.default_rng(seed)
    images, labels = [], []
    for label, source in ((0, "ffhq"), (1, "stylegan")):
        for index in crops.where(source, "dev"):
            for _ in range(views):
                treat = _treatment(random, treated)
                images.append(treat(np.array(crops.images[index])))
                labels.append(label)
    return np.stack(images), np.array(labels)


def _treatment(random: Random, treated: bool, worn: float = 0.0) -> Callable[[Image], Image]:
    if treated:
        return Treatment(random, CANVAS_SIDE, CROP_SIDE, worn)
    return partial(untouched, side=CROP_SIDE)
