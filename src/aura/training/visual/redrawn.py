"""Fakes whose face was drawn anew by one of our small generators, and pairs made with them.

What the pair shares (background, light, codec) can't tell it apart; what differs is what a
generator leaves. Windows and masks vary, and the real member is softened as well half of the
time a generator would have softened it: a soft face alone must not count as fake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aura.errors import WeightsError
from aura.runtime import OpenVinoSession, Session
from aura.training.visual.blends import (
    CENTRE,
    DRAWN,
    change_look,
    face_mask,
    match_colour,
    move,
    soften,
)
from aura.training.visual.generators import RECIPES, to_signal

if TYPE_CHECKING:
    from pathlib import Path

Image = NDArray[np.uint8]
Random = np.random.Generator

WINDOW = (88.0, 132.0)  # template units that a generator sees: cheeks to cheeks, or hair and neck
PLAIN_SHARE = 0.15  # redrawn by a filter instead of a network: down and up, bilateral, median
POISSON_SHARE = 0.1
TARGET_TOUCHED = 0.2  # share of pairs whose common background was changed
PADDING = 16
SOFT_REAL = 0.5  # share of wholly drawn pairs whose real member goes through a smaller size


class Generators:
    """The trained generators of a folder, by name.

    Args:
        folder: what `generators.train_generator` wrote to. heldout: those kept for measuring
            instead of those for training.

    Raises:
        WeightsError: one of them is missing.
    """

    def __init__(self, folder: Path, *, heldout: bool = False) -> None:
        self.names = [name for name, r in RECIPES.items() if r.heldout == heldout]
        self._sessions: dict[str, Session] = {}
        for name in self.names:
            path = folder / "generators" / f"{name}.onnx"
            if not path.is_file():
                raise WeightsError(f"{path} is missing; run the step `generators` first")
            self._sessions[name] = OpenVinoSession(path, threads=1)

    def draw(self, name: str, image: Image) -> Image:
        """A face picture of any size, (H, W, 3) uint8, drawn again by one generator."""
        side = RECIPES[name].inputs
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        drawn = self._sessions[name].run({"face": to_signal(np.asarray(small)[None])})["drawn"][0]
        pixels = np.round(np.clip((drawn.transpose(1, 2, 0) + 1) * 127.5, 0, 255))
        return np.ascontiguousarray(pixels, dtype=np.uint8)


def _plain(image: Image, random: Random) -> Image:
    """Smooth a face without a network, as beauty filters and simple restorers do."""
    which = random.random()
    if which < 0.4:
        return soften(image, random)
    if which < 0.7:
        sigma = random.uniform(15, 45)
        return np.asarray(cv2.bilateralFilter(image, 7, sigma, 4), dtype=np.uint8)
    return np.asarray(cv2.medianBlur(image, int(random.choice([3, 5]))), dtype=np.uint8)


def _resize(image: Image, width: int, random: Random) -> Image:
    shrinks = image.shape[0] > width
    ways = [cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]
    way = cv2.INTER_AREA if shrinks else int(random.choice(ways))
    return np.asarray(cv2.resize(image, (width, width), interpolation=way), dtype=np.uint8)


def _window(
    side: int, span: float, random: Random, nose_shift: tuple[float, float]
) -> tuple[int, int, int]:
    """Left, top and width in pixels of the square that a generator draws."""
    scale = side / span
    width = min(side, round(random.uniform(*WINDOW) * scale))
    middle = np.asarray(CENTRE) + (span - 112.0) / 2 + 0.5 * np.asarray(nose_shift)
    middle = (middle + random.normal(0, 2.0, 2)) * scale
    left, top = np.clip(np.round(middle - width / 2), 0, side - width).astype(int)
    return int(left), int(top), width


def draw_face(
    image: Image,
    random: Random,
    span: float,
    generators: Generators,
    *,
    nose_shift: tuple[float, float] = (0.0, 0.0),
    name: str | None = None,
) -> tuple[Image, NDArray[np.float32]]:
    """The picture with its face drawn anew, and where.

    Args:
        image: (S, S, 3) uint8 RGB, an aligned face. random: source of chance.
        span, nose_shift: see `blends.face_mask`. name: of the generator; None: any, or a filter.

    Returns:
        (S, S, 3) uint8 and (S, S) float32 in [0, 1], soft towards the window's edge.
    """
    side = image.shape[0]
    left, top, width = _window(side, span, random, nose_shift)
    part = image[top : top + width, left : left + width]
    plain = random.random() < PLAIN_SHARE
    chosen = str(random.choice(generators.names))
    if name is None and plain:
        drawn = _plain(np.ascontiguousarray(part), random)
    else:
        drawn = _resize(generators.draw(name or chosen, part), width, random)
    out = image.copy()
    out[top : top + width, left : left + width] = drawn
    inside = np.zeros((side, side), np.float32)
    edge = max(2, width // 20)
    inside[top + edge : top + width - edge, left + edge : left + width - edge] = 1.0
    soft = cv2.GaussianBlur(inside, (0, 0), edge / 2)
    return out, np.asarray(soft, dtype=np.float32)


def redrawn_pair(
    image: Image,
    random: Random,
    span: float,
    generators: Generators,
    *,
    nose_shift: tuple[float, float] = (0.0, 0.0),
    other: Image | None = None,
    name: str | None = None,
    touched: float = TARGET_TOUCHED,
) -> tuple[Image, Image]:
    """A real picture and the same with its face, or a part of it, drawn by a generator.

    Args:
        image, random, span, nose_shift, other: see `blends.blend_pair`.
        generators: to draw with. name: of the only one to use.
        touched: share of pairs whose common background is changed too.

    Returns:
        (real, fake), same shape.
    """
    mask = face_mask(image.shape[0], span, random, nose_shift, DRAWN)
    target = change_look(image, random) if random.random() < touched else image
    source = target if other is None else match_colour(other, target, mask)
    drawn, inside = draw_face(source, random, span, generators, nose_shift=nose_shift, name=name)
    if random.random() < 0.5:
        drawn = change_look(drawn, random)
    if random.random() < 0.5:
        drawn = move(drawn, random)
    mask = mask * inside
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


def drawn_pair(
    image: Image, random: Random, generators: Generators, name: str | None = None
) -> tuple[Image, Image]:
    """A real picture and the whole of it drawn by a generator, as driven portraits are.

    The real member is softened in half of the pairs: what is left to see is how, not that, detail
    was lost.
    """
    chosen = name or str(random.choice(generators.names))
    side = image.shape[0]
    # A generator's picture has an edge of its own, which is cut off: crops of videos have none.
    padded = cv2.copyMakeBorder(image, *(PADDING,) * 4, cv2.BORDER_REFLECT_101)
    drawn = _resize(generators.draw(chosen, np.asarray(padded, np.uint8)), len(padded), random)
    drawn = np.ascontiguousarray(drawn[PADDING:-PADDING, PADDING:-PADDING])
    drawn = match_colour(drawn, image, np.ones((side, side), np.float32))  # colour is no trace
    if random.random() < 0.4:
        blurred = cv2.GaussianBlur(drawn, (0, 0), random.uniform(0.8, 2.0))
        amount = random.uniform(0.2, 1.0)
        sharp = cv2.addWeighted(drawn, 1 + amount, blurred, -amount, 0)
        drawn = np.asarray(sharp, dtype=np.uint8)
    real = soften(image, random) if random.random() < SOFT_REAL else image
    return real, drawn
