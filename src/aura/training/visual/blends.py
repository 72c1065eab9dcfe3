"""Fakes made from real faces: self-blends and blends of two people.

A self-blended image (Shiohara and Yamasaki, CVPR 2022, arXiv:2204.08376) pastes a face, slightly
changed, back onto its own picture. What a detector can learn from it is the trace of blending
alone: a border, and a face whose colour, sharpness, noise or compression differs from its surround.
The blend of two people (Face X-ray, CVPR 2020, arXiv:1912.13458) adds differing texture.

Faces come aligned (`aura.faces.align`), so the masks are drawn in template units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from aura.training.augment.picture import Image, Random, add_noise, jpeg

if TYPE_CHECKING:
    from collections.abc import Mapping

Mask = NDArray[np.float32]
Look = Callable[[Image, Random], Image]

# Outline of a frontal face in ArcFace's 112-unit template: jaw from ear to ear, then brows.
JAW = ((17, 50), (19, 72), (26, 92), (40, 107), (56, 112), (72, 107), (86, 92), (93, 72), (95, 50))
BROWS = ((88, 38), (72, 33), (56, 35), (40, 33), (24, 38))
FOREHEAD = ((90, 28), (75, 10), (56, 4), (37, 10), (22, 28))
INNER = (
    (28, 46),
    (32, 80),
    (42, 100),
    (56, 104),
    (70, 100),
    (80, 80),
    (84, 46),
    (70, 40),
    (42, 40),
)
CENTRE = (56.0, 70.0)

# The lower face, which lip-sync generators draw anew: nose to chin.
LOWER = ((22, 68), (26, 92), (40, 108), (56, 112), (72, 108), (86, 92), (90, 68), (56, 62))

# Shapes of masks, and how often each is drawn.
BLENDED = {"hull": 0.46, "forehead": 0.18, "inner": 0.15, "ellipse": 0.15, "mouth": 0.06}
# What generators draw anew: also the lower face alone (lip sync) and the eyes (gaze, make-up).
DRAWN = {
    "hull": 0.34,
    "forehead": 0.13,
    "inner": 0.12,
    "ellipse": 0.13,
    "mouth": 0.08,
    "lower": 0.15,
    "eyes": 0.05,
}


def face_mask(
    side: int,
    span: float,
    random: Random,
    nose_shift: tuple[float, float] = (0.0, 0.0),
    odds: Mapping[str, float] = BLENDED,
) -> Mask:
    """A random, soft face mask.

    Args:
        side: of the aligned crop, pixels. span: template units that it shows.
        random: source of chance.
        nose_shift: nose tip minus template nose tip in template units; a turned head's outline
            follows its nose half way.
        odds: of each shape; `BLENDED` or `DRAWN`, or a part of them that adds up to 1.

    Returns:
        (side, side) float32 in [0, 1].
    """
    kind = random.choice(list(odds), p=list(odds.values()))
    mask = np.zeros((side, side), np.uint8)
    scale = side / span
    offset = (span - 112.0) / 2 + 0.5 * np.asarray(nose_shift)
    jitter = random.normal(0, 1.5, 2)

    def place(points: Any) -> NDArray[np.int32]:
        stretch = 1 + random.uniform(-0.08, 0.08, 2)
        moved = (np.asarray(points, float) - CENTRE) * stretch + CENTRE + offset + jitter
        return np.round(moved * scale).astype(np.int32)

    if kind == "ellipse":
        (centre,) = place([CENTRE])
        axes = (scale * random.uniform(28, 42), scale * random.uniform(36, 50))
        size = (round(axes[0]), round(axes[1]))
        cv2.ellipse(mask, centre.tolist(), size, random.uniform(-8, 8), 0, 360, 255, -1)
    elif kind in ("mouth", "eyes"):
        (centre,) = place([(56, 88) if kind == "mouth" else (56, 50)])
        wide, high = ((18, 32), (12, 24)) if kind == "mouth" else ((28, 40), (9, 18))
        axes = (scale * random.uniform(*wide), scale * random.uniform(*high))
        cv2.ellipse(mask, centre.tolist(), (round(axes[0]), round(axes[1])), 0, 0, 360, 255, -1)
    else:
        outline = {
            "hull": JAW + BROWS,
            "forehead": JAW + FOREHEAD,
            "inner": INNER,
            "lower": LOWER,
        }[kind]
        cv2.fillPoly(mask, [cv2.convexHull(place(outline))], 255)
    soft = _elastic(mask.astype(np.float32) / 255.0, random)
    return _feather(soft, random)


def _elastic(mask: Mask, random: Random) -> Mask:
    side = mask.shape[0]
    coarse = random.normal(0, side * random.uniform(0.0, 0.03), (5, 5, 2)).astype(np.float32)
    field = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    return np.asarray(cv2.remap(mask, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR))


def _feather(mask: Mask, random: Random) -> Mask:
    side = mask.shape[0]
    sigma = side * random.choice([0.006, 0.015, 0.03, 0.05])
    inner = int(side * random.uniform(0.0, 0.04)) * 2 + 1
    if random.random() < 0.5:
        mask = cv2.erode(mask, np.ones((inner, inner), np.uint8))
    mask = cv2.GaussianBlur(mask, (0, 0), sigma)
    peak = float(mask.max())
    strength = random.choice([0.4, 0.6, 0.8, 1.0], p=[0.1, 0.15, 0.2, 0.55])
    return np.asarray(mask / max(peak, 1e-3) * strength, dtype=np.float32)


def change_look(image: Image, random: Random) -> Image:
    """Change colour or sharpness a little, as a generator or another camera would."""
    return draw_look(random)(image, random)


def draw_look(random: Random) -> Look:
    """One change of colour or sharpness, for as many pictures as one likes.

    What it draws for each picture (noise alone) comes from the generator that it is called with.
    """
    steps: list[Look] = []
    if random.random() < 0.8:
        steps.append(_draw_colour(random))
    which = random.random()
    if which < 0.45:
        steps.append(draw_softness(random))
    elif which < 0.65:
        steps.append(_draw_sharpness(random))
    if random.random() < 0.2:
        quality = int(random.integers(35, 90))
        steps.append(lambda image, _: jpeg(image, quality))
    if random.random() < 0.15:
        sigma = random.uniform(1, 5)
        steps.append(lambda image, fresh: add_noise(image, sigma, fresh))

    def look(image: Image, fresh: Random) -> Image:
        for step in steps:
            image = step(image, fresh)
        return image

    return look


def _draw_colour(random: Random) -> Look:
    if random.random() < 0.5:
        shift = random.uniform(-16, 16, 3)
        return lambda image, _: np.asarray(np.clip(image + shift, 0, 255), dtype=np.uint8)
    hue = random.uniform(-8, 8)
    saturation = random.uniform(0.75, 1.25)
    contrast, lightness = random.uniform(0.88, 1.12), random.uniform(-14, 14)

    def step(image: Image, _: Random) -> Image:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
        hsv[..., 0] = (hsv[..., 0] + hue) % 180
        hsv[..., 1] *= saturation
        hsv[..., 2] = (hsv[..., 2] - 128) * contrast + 128 + lightness
        whole = np.clip(hsv, 0, 255).astype(np.uint8)
        return np.asarray(cv2.cvtColor(whole, cv2.COLOR_HSV2RGB), dtype=np.uint8)

    return step


def _draw_sharpness(random: Random) -> Look:
    sigma, amount = random.uniform(0.8, 2.0), random.uniform(0.2, 0.8)

    def step(image: Image, _: Random) -> Image:
        blurred = cv2.GaussianBlur(image, (0, 0), sigma)
        return np.asarray(cv2.addWeighted(image, 1 + amount, blurred, -amount, 0), dtype=np.uint8)

    return step


def draw_softness(random: Random) -> Look:
    """Lose detail by going through a smaller size: what face generators of 64 to 160 px leave."""
    share = random.uniform(0.25, 0.8)
    down = int(random.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    up = int(random.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4]))

    def step(image: Image, _: Random) -> Image:
        side = image.shape[0]
        small = max(24, int(side * share))
        shrunk = cv2.resize(image, (small, small), interpolation=down)
        return np.asarray(cv2.resize(shrunk, (side, side), interpolation=up), dtype=np.uint8)

    return step


def soften(image: Image, random: Random) -> Image:
    """Lose detail; see `draw_softness`."""
    return draw_softness(random)(image, random)


def match_colour(source: Image, target: Image, mask: Mask) -> Image:
    """Give the source the target's colour under the mask, mean and spread (Reinhard, 2001)."""
    inside = mask > 0.3
    if inside.sum() < 50:
        return source
    a = cv2.cvtColor(source, cv2.COLOR_RGB2LAB).astype(np.float32)
    b = cv2.cvtColor(target, cv2.COLOR_RGB2LAB).astype(np.float32)[inside]
    mean, spread = a[inside].mean(0), a[inside].std(0) + 1e-3
    matched = (a - mean) * np.clip(b.std(0) / spread, 0.5, 2.0) + b.mean(0)
    return np.asarray(
        cv2.cvtColor(np.clip(matched, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB), dtype=np.uint8
    )


class Move(NamedTuple):
    """A small similarity about the picture's centre: `angle` in degrees, `scale`, `shift` (2,) in
    shares of the side.
    """

    angle: float
    scale: float
    shift: NDArray[np.float64]

    def __call__(self, image: NDArray[Any]) -> NDArray[Any]:
        """A picture or mask (S, S, ...) moved; what comes in from outside is mirrored."""
        side = image.shape[0]
        out = cv2.warpAffine(
            image, self.matrix(side), (side, side), borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(out, dtype=image.dtype)

    def matrix(self, side: int) -> NDArray[np.float64]:
        """(2, 3) for pictures of `side` pixels."""
        matrix: NDArray[np.float64] = cv2.getRotationMatrix2D(
            (side / 2, side / 2), self.angle, self.scale
        )
        matrix[:, 2] += self.shift * side
        return matrix

    def points(self, points: NDArray[Any], side: int) -> NDArray[np.float32]:
        """(N, 2) pixels of such a picture, moved with it."""
        matrix = self.matrix(side)
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], dtype=np.float32)


def draw_move(random: Random) -> Move:
    """Shift by up to 3 %, scale by up to 5 %, turn by up to 2 degrees."""
    return Move(random.uniform(-2, 2), random.uniform(0.95, 1.05), random.uniform(-0.03, 0.03, 2))


def move(image: Image, random: Random) -> Image:
    """Shift, scale and turn a little; see `draw_move`."""
    return draw_move(random)(image)


def paste(source: Image, target: Image, mask: Mask) -> Image:
    """`source` over `target` where the mask (H, W) in [0, 1] is 1."""
    weight = mask[..., None]
    return np.asarray(np.round(source * weight + target * (1 - weight)), dtype=np.uint8)


def blend_pair(
    image: Image,
    random: Random,
    span: float,
    nose_shift: tuple[float, float] = (0.0, 0.0),
    other: Image | None = None,
) -> tuple[Image, Image]:
    """A real picture and a blend made from it.

    Args:
        image: (S, S, 3) uint8 RGB, an aligned face.
        random: source of chance.
        span: template units that the crop shows.
        nose_shift: see `face_mask`.
        other: another person's aligned face to paste instead of the picture's own.

    Returns:
        (real, fake), same shape. Both share the background, which may itself have been changed:
        the label must not hang on whether a picture was processed.
    """
    mask = face_mask(image.shape[0], span, random, nose_shift)
    target, source = image, image if other is None else match_colour(other, image, mask)
    if random.random() < 0.5:
        source = change_look(source, random)
    else:
        target = change_look(target, random)
        if other is not None and random.random() < 0.5:
            source = change_look(source, random)
    return target, paste(move(source, random), target, mask)
