"""Fakes whose face was drawn anew by one of our generators, and pairs made with them.

What the pair shares (background, light, codec) can't tell it apart; what differs is what a
generator leaves. Windows and masks vary, and the real member is softened as well half of the
time a generator would have softened it: a soft face alone must not count as fake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from aura.training.visual.bank import Drawing
from aura.training.visual.blends import (
    DRAWN,
    change_look,
    face_mask,
    match_colour,
    move,
    soften,
)
from aura.training.visual.generator_training import random_window, redraw_whole
from aura.training.visual.generators import (
    load_generator,
    names,
    redraw,
    to_pixels,
    to_signal,
)

if TYPE_CHECKING:
    from pathlib import Path

Image = NDArray[np.uint8]
Random = np.random.Generator

PLAIN_SHARE = 0.12  # redrawn by a filter instead of a network: down and up, bilateral, median
POISSON_SHARE = 0.1
TARGET_TOUCHED = 0.2  # share of pairs whose common background was changed
SOFT_REAL = 0.5  # share of wholly drawn pairs whose real member lost detail as well


class Generators:
    """The trained generators of a folder that are kept for measuring, on the CPU.

    Raises:
        WeightsError: one of them is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.names = names(heldout=True)
        self._networks = {name: load_generator(folder, name) for name in self.names}

    @torch.inference_mode()
    def face(self, name: str, image: Image, random: Random) -> Drawing:
        """A window around the face of an aligned picture (S, S, 3), drawn again."""
        left, top, width = random_window(random, image.shape[0])
        out = image.copy()
        part = np.ascontiguousarray(image[top : top + width, left : left + width])
        drawn = redraw(self._networks[name], to_signal(torch.from_numpy(part)[None]))
        out[top : top + width, left : left + width] = to_pixels(drawn)[0]
        return Drawing(out, -1, (left, top, width))

    @torch.inference_mode()
    def whole(self, name: str, image: Image, random: Random, *, moved: bool = False) -> Drawing:
        """All of an aligned picture drawn again; with another pose and expression if `moved`."""
        chance = torch.Generator().manual_seed(int(random.integers(2**31))) if moved else None
        signal = to_signal(torch.from_numpy(np.ascontiguousarray(image))[None])
        drawn = redraw_whole(self._networks[name], signal, chance)
        return Drawing(to_pixels(drawn)[0], -1, (0, 0, 0))


def _plain(image: Image, random: Random) -> Image:
    """Smooth a face without a network, as beauty filters and simple restorers do."""
    which = random.random()
    if which < 0.4:
        return soften(image, random)
    if which < 0.7:
        sigma = random.uniform(15, 45)
        return np.asarray(cv2.bilateralFilter(image, 7, sigma, 4), dtype=np.uint8)
    return np.asarray(cv2.medianBlur(image, int(random.choice([3, 5]))), dtype=np.uint8)


def plain_face(image: Image, random: Random) -> Drawing:
    """A window around the face, smoothed by a filter instead of drawn by a network."""
    left, top, width = random_window(random, image.shape[0])
    out = image.copy()
    part = np.ascontiguousarray(image[top : top + width, left : left + width])
    out[top : top + width, left : left + width] = _plain(part, random)
    return Drawing(out, -1, (left, top, width))


def _inside(side: int, window: tuple[int, int, int]) -> NDArray[np.float32]:
    """(S, S) float32 in [0, 1]: where a window was drawn, soft towards its edge."""
    left, top, width = window
    inside = np.zeros((side, side), np.float32)
    edge = max(2, width // 20)
    inside[top + edge : top + width - edge, left + edge : left + width - edge] = 1.0
    return np.asarray(cv2.GaussianBlur(inside, (0, 0), edge / 2), dtype=np.float32)


def redrawn_pair(
    image: Image,
    random: Random,
    span: float,
    drawing: Drawing,
    *,
    nose_shift: tuple[float, float] = (0.0, 0.0),
    another: bool = False,
    touched: float = TARGET_TOUCHED,
) -> tuple[Image, Image]:
    """A real picture and the same with its face, or a part of it, drawn by a generator.

    Args:
        image, random, span, nose_shift: see `blends.blend_pair`.
        drawing: the face to put in. another: it is another person's, whose colour has to fit.
        touched: share of pairs whose common background is changed too.

    Returns:
        (real, fake), same shape.
    """
    mask = face_mask(image.shape[0], span, random, nose_shift, DRAWN)
    target = change_look(image, random) if random.random() < touched else image
    drawn = match_colour(drawing.picture, target, mask) if another else drawing.picture
    if random.random() < 0.5:
        drawn = change_look(drawn, random)
    if random.random() < 0.5:
        drawn = move(drawn, random)
    mask = mask * _inside(image.shape[0], drawing.window)
    # A generator's face is pasted in whole more often than a self-blend's.
    if random.random() < 0.5:
        mask = mask / max(float(mask.max()), 1e-3)
    if random.random() < POISSON_SHARE:
        return target, _poisson(drawn, target, mask)
    weight = mask[..., None]
    fake = drawn * weight + target * (1 - weight)
    return target, np.asarray(np.round(fake), dtype=np.uint8)


def _poisson(source: Image, target: Image, mask: Any) -> Image:
    """Paste by gradients (Perez et al., SIGGRAPH 2003), as many swap programs do."""
    hard = np.where(mask > 0.5, 255, 0).astype(np.uint8)
    hard[:2], hard[-2:], hard[:, :2], hard[:, -2:] = 0, 0, 0, 0
    if not hard.any():
        return target
    x, y, width, height = cv2.boundingRect(hard)
    middle = (x + width // 2, y + height // 2)
    out = cv2.seamlessClone(source, target, hard, middle, cv2.NORMAL_CLONE)
    return np.asarray(out, dtype=np.uint8)


def drawn_pair(image: Image, random: Random, drawing: Drawing) -> tuple[Image, Image]:
    """A real picture and the whole of it drawn by a generator, as driven portraits are.

    The real member loses detail in half of the pairs: what is left to see is how, not that, detail
    was lost.
    """
    drawn = match_colour(drawing.picture, image, np.ones(image.shape[:2], np.float32))
    if random.random() < 0.4:
        blurred = cv2.GaussianBlur(drawn, (0, 0), random.uniform(0.8, 2.0))
        amount = random.uniform(0.2, 1.0)
        sharp = cv2.addWeighted(drawn, 1 + amount, blurred, -amount, 0)
        drawn = np.asarray(sharp, dtype=np.uint8)
    return _plain(image, random) if random.random() < SOFT_REAL else image, drawn
