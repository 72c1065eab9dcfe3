"""The endless, seeded row of training pairs, and the fixed pairs that measure held-out people."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aura.faces import CROP_SIDE
from aura.training.visual.augment import Treatment, untouched
from aura.training.visual.blends import blend_pair
from aura.training.visual.crops import CANVAS_SIDE, CANVAS_SPAN, Crops, load
from aura.training.visual.redrawn import Generators, drawn_pair, redrawn_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Image = NDArray[np.uint8]
Random = np.random.Generator
PARTNERS = 16  # faces of which the one that is turned most alike is pasted: swaps keep the pose
HELDOUT_FFHQ = 0.08  # share of sharp photos among held-out people: that of the corpora


def blend_sample(
    crops: Crops,
    random: Random,
    split: str,
    ffhq_share: float,
    other_share: float,
    *,
    treated: bool = True,
) -> tuple[Image, Image]:
    """One (real, blended) pair of aligned 224-pixel faces, treated alike."""
    source = "ffhq" if random.random() < ffhq_share else "lfw"
    pool = crops.where(source, split)
    index = int(random.choice(pool))
    other = None
    if random.random() < other_share:
        other = np.array(crops.images[int(random.choice(pool))])
    nose = (float(crops.nose[index, 0]), float(crops.nose[index, 1]))
    real, fake = blend_pair(np.array(crops.images[index]), random, CANVAS_SPAN, nose, other)
    treat = _treatment(random, treated)
    return treat(real), treat(fake)


def redrawn_sample(
    crops: Crops,
    random: Random,
    split: str,
    generators: Generators,
    *,
    ffhq_share: float,
    other_share: float,
    whole: bool = False,
    name: str | None = None,
    treated: bool = True,
) -> tuple[Image, Image]:
    """One (real, drawn by a generator) pair of aligned 224-pixel faces, treated alike.

    `whole`: the whole picture is drawn, else a part of the face, blended in.
    """
    pool = crops.where("ffhq" if random.random() < ffhq_share else "lfw", split)
    index = int(random.choice(pool))
    image = np.array(crops.images[index])
    if whole:
        real, fake = drawn_pair(image, random, generators, name)
    else:
        other = None
        if random.random() < other_share:
            partners = random.choice(pool, PARTNERS)
            turned = np.abs(crops.nose[partners] - crops.nose[index]).sum(axis=1)
            other = np.array(crops.images[int(partners[turned.argmin()])])
        nose = (float(crops.nose[index, 0]), float(crops.nose[index, 1]))
        real, fake = redrawn_pair(
            image, random, CANVAS_SPAN, generators, nose_shift=nose, other=other, name=name
        )
    treat = _treatment(random, treated)
    return treat(real), treat(fake)


def generated_sample(crops: Crops, random: Random, split: str) -> tuple[Image, Image]:
    """One (photo, StyleGAN portrait) pair of different people, treated alike."""
    real = np.array(crops.images[int(random.choice(crops.where("ffhq", split)))])
    fake = np.array(crops.images[int(random.choice(crops.where("stylegan", split)))])
    treat = Treatment(random, CANVAS_SIDE, CROP_SIDE)
    return treat(real), treat(fake)


def training_batches(
    folder: Path, config: Mapping[str, Any], seed: int
) -> Iterator[tuple[Image, NDArray[np.float32]]]:
    """Endless batches: images (B, 224, 224, 3) uint8 RGB and labels (B,) float32, 1 = fake.

    `config` gives the pairs per batch of each kind, see `config.json`.
    """
    cv2.setNumThreads(1)
    crops = load(folder)
    random = np.random.default_rng(seed)
    drawn = config["redrawn_pairs"] + config["drawn_pairs"]
    generators = Generators(folder) if drawn else None
    while True:
        images: list[Image] = []
        for _ in range(config["blend_pairs"]):
            images += blend_sample(
                crops, random, "train", config["ffhq_share"], config["other_person_share"]
            )
        labels = [0.0, 1.0] * config["blend_pairs"]
        for _ in range(config["generated_pairs"]):
            images += generated_sample(crops, random, "train")
        labels += [0.0, 1.0] * config["generated_pairs"]
        if generators is not None:
            for pair in range(drawn):
                whole = pair >= config["redrawn_pairs"]
                images += redrawn_sample(
                    crops,
                    random,
                    "train",
                    generators,
                    ffhq_share=config["ffhq_share"],
                    other_share=config["other_person_share"],
                    whole=whole,
                )
        labels += [0.0, 1.0] * drawn
        for _ in range(config["plain_photos"]):
            # Soft, compressed photos as negatives, or every video would look generated.
            images.append(blend_sample(crops, random, "train", config["ffhq_share"], 0.0)[0])
            labels.append(0.0)
        yield np.stack(images), np.array(labels, np.float32)


def heldout_blends(
    crops: Crops, pairs: int, seed: int, *, other_share: float = 0.0, treated: bool = True
) -> Image:
    """(2 * pairs, 224, 224, 3): real, fake, real, fake, ... of people in the dev split.

    `treated` ones went through the same codecs and scalings as in training, the others are as
    sharp as the photos.
    """
    cv2.setNumThreads(1)
    random = np.random.default_rng(seed)
    images: list[Image] = []
    for _ in range(pairs):
        images += blend_sample(crops, random, "dev", HELDOUT_FFHQ, other_share, treated=treated)
    return np.stack(images)


def heldout_redrawn(
    crops: Crops,
    generators: Generators,
    pairs: int,
    seed: int,
    *,
    whole: bool = False,
    name: str | None = None,
    treated: bool = True,
) -> Image:
    """Like `heldout_blends`, with faces drawn by a generator; half of them another person's."""
    cv2.setNumThreads(1)
    random = np.random.default_rng(seed)
    images: list[Image] = []
    for _ in range(pairs):
        images += redrawn_sample(
            crops,
            random,
            "dev",
            generators,
            ffhq_share=HELDOUT_FFHQ,
            other_share=0.5,
            whole=whole,
            name=name,
            treated=treated,
        )
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


def _treatment(random: Random, treated: bool) -> Callable[[Image], Image]:
    if treated:
        return Treatment(random, CANVAS_SIDE, CROP_SIDE)
    return partial(untouched, side=CROP_SIDE)
