"""What the world does to pictures before a detector sees them: the same for real and fake.

One `Treatment` is drawn per pair and applied to both members, so that nothing in it can tell them
apart. Video compression is the one that matters most (the detector's AUC on real clips fell to
chance without it).
"""

from __future__ import annotations

import cv2
import numpy as np

from aura.training.augment.picture import (
    Image,
    Random,
    Step,
    add_noise,
    draw_blur,
    draw_colour,
    draw_rescale,
    jpeg,
)
from aura.training.augment.reencode import reencode


def h264(image: Image, crf: int, preset: str, lead: int, shift: int) -> Image:
    """Through H.264 and back.

    Args:
        image: (H, W, 3) uint8 RGB, even sides.
        crf: x264's constant rate factor. preset: x264's speed preset.
        lead: pictures encoded before it; from 1 on the result is a predicted frame.
        shift: by how many pixels the lead pictures are moved, so that prediction has work to do.
    """
    pictures = [np.roll(image, (lead - i) * shift, axis=1) for i in range(lead)] + [image]
    options = {"crf": str(crf), "preset": preset, "tune": "zerolatency"}
    return reencode(pictures, "h264", options)[-1]


def _geometry(random: Random, canvas: int, side: int) -> Step:
    flip = random.random() < 0.5
    matrix = cv2.getRotationMatrix2D(
        (canvas / 2, canvas / 2), random.uniform(-7, 7), random.uniform(0.9, 1.08)
    )
    matrix[:, 2] += random.uniform(-0.03, 0.03, 2) * canvas - (canvas - side) / 2

    def step(image: Image) -> Image:
        image = np.ascontiguousarray(image[:, ::-1]) if flip else image
        out = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
        return np.asarray(out, dtype=np.uint8)

    return step


def _noise(random: Random) -> Step:
    sigma, seed = random.uniform(1, 8), int(random.integers(2**31))

    return lambda image: add_noise(image, sigma, np.random.default_rng(seed))


def _video(random: Random, *, harsh: bool = False) -> Step:
    crf = int(random.integers(34, 45) if harsh else random.integers(17, 34))
    # Unlike the others `ultrafast` does not smooth the borders of blocks; cameras and sites do.
    preset = str(random.choice(["veryfast", "faster"] if harsh else ["ultrafast", "veryfast"]))
    lead = int(random.integers(1, 3)) if random.random() < 0.5 else 0
    lead += 2 * harsh  # mostly predicted frames are seen, and they suffer more at such rates
    shift = int(random.integers(0, 3))

    def step(image: Image) -> Image:
        return h264(image, crf, preset, lead, shift)

    return step


def _sharpen(random: Random) -> Step:
    """The halo that cameras of phones and laptops draw around edges."""
    sigma, amount = random.uniform(0.7, 2.0), random.uniform(0.3, 1.5)

    def step(image: Image) -> Image:
        blurred = cv2.GaussianBlur(image, (0, 0), sigma)
        return np.asarray(cv2.addWeighted(image, 1 + amount, blurred, -amount, 0), dtype=np.uint8)

    return step


def _denoise(random: Random) -> Step:
    """Noise smoothed away, as in low light or by a beauty filter: skin loses its grain."""
    if random.random() < 0.3:
        size = int(random.choice([3, 3, 5]))
        return lambda image: np.asarray(cv2.medianBlur(image, size), dtype=np.uint8)
    sigma, reach = random.uniform(10, 50), random.uniform(1.5, 4)
    return lambda image: np.asarray(cv2.bilateralFilter(image, 5, sigma, reach), dtype=np.uint8)


def _low_light(random: Random) -> Step:
    """Darker, from one side, and lifted again with the noise that this brings out."""
    side_light, angle = random.uniform(0.0, 0.6), random.uniform(0, 2 * np.pi)
    dark, lift = random.uniform(0.35, 1.0), random.uniform(0.9, 1.5)
    noise, seed = random.uniform(0, 4), int(random.integers(2**31))

    def step(image: Image) -> Image:
        height, width = image.shape[:2]
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        slope = (x / width - 0.5) * np.cos(angle) + (y / height - 0.5) * np.sin(angle)
        light = np.asarray(dark * (1 + side_light * slope), np.float32)[..., None]
        grain = np.random.default_rng(seed).standard_normal((height, width, 1), np.float32) * noise
        lit = np.clip((image * light + grain) * lift, 0, 255)
        return np.asarray(lit, dtype=np.uint8)

    return step


def first_life(random: Random) -> Step:
    """What a picture went through before anybody touched it: a target video was coded once.

    A face that is put in afterwards did not go through it.
    """
    which = random.random()
    if which < 0.2:
        return _video(random)
    if which < 0.35:
        quality = int(random.integers(30, 90))
        return lambda image: jpeg(image, quality)
    return lambda image: image


def _wear(random: Random, worn: float) -> tuple[bool, bool]:
    """Whether a picture is coded harshly, and whether it was sent on."""
    if not worn or random.random() >= worn:
        return False, False
    which = random.random()
    return which < 0.6, which > 0.4


class Treatment:
    """One draw of everything that may happen to a picture; call it on each member of a pair.

    Args:
        random: source of chance. canvas: side of the incoming pictures. side: side of the result.
        worn: share of pictures that lost detail for good, by coding at CRF 34 to 44, by being sent
            on (coded, made smaller, coded again), or by both.
    """

    def __init__(self, random: Random, canvas: int, side: int, worn: float = 0.0) -> None:
        self._side = side
        harsh, sent_on = _wear(random, worn)
        self._steps: list[Step] = [_geometry(random, canvas, side)]
        self._up = cv2.INTER_LINEAR
        if random.random() < 0.4:
            self._steps.append(draw_colour(random))
        if random.random() < 0.12:
            self._steps.append(_low_light(random))
        if random.random() < 0.15:
            self._steps.append(draw_blur(random))
        if random.random() < 0.45:
            quality = int(random.integers(30, 96))
            self._steps.append(lambda image: jpeg(image, quality))
        if sent_on or random.random() < 0.7:
            rescale, self._up = draw_rescale(random, 0.3)
            self._steps.append(rescale)
            if sent_on:  # coded before it was made smaller, or after
                self._steps.insert(len(self._steps) - int(random.integers(2)), _video(random))
        if random.random() < 0.25:
            self._steps.append(_noise(random))
        if random.random() < 0.15:
            self._steps.append(_denoise(random))
        if random.random() < 0.2:
            self._steps.append(_sharpen(random))
        if harsh or sent_on or random.random() < 0.7:
            self._steps.append(_video(random, harsh=harsh))
        if random.random() < 0.25:
            second = int(random.integers(40, 96))
            self._steps.append(lambda image: jpeg(image, second))

    def __call__(self, image: Image) -> Image:
        """(canvas, canvas, 3) uint8 RGB to (side, side, 3)."""
        for step in self._steps:
            image = step(image)
        if image.shape[0] != self._side:
            image = cv2.resize(image, (self._side, self._side), interpolation=self._up)
        return np.asarray(image, dtype=np.uint8)


def untouched(image: Image, side: int) -> Image:
    """The middle of a picture as it is: (canvas, canvas, 3) to (side, side, 3)."""
    border = (image.shape[0] - side) // 2
    return np.ascontiguousarray(image[border : border + side, border : border + side])
