"""How a head moves and how its picture changes: numbers for every step of about 1/12 second.

Head crops are steady (cut along smoothed landmarks), so what is left in them is what the landmarks
don't say: the face's own motion, what is beside the head, and change of light and texture. Motion
comes from dense optical flow (DIS: Kroeger et al., ECCV 2016). Nothing here looks at colour, and
what compares grey values compares parts of one picture, or two pictures after one gain and offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aura.mouth import HEAD_SIDE, HEAD_SPAN, OUTSIDE, head_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST_STEP = 0.06  # seconds between the pictures of a step: every second one at 25 and 30 a second
MAX_STEP = 0.15  # seconds; pictures further apart are no step
LONG_STEP = 0.8  # seconds between the pictures whose light is compared
LONG_EVERY = 3  # steps
UNIT = HEAD_SIDE / HEAD_SPAN  # pixels of the crop in an eye distance
GRID = 2  # flow is looked at on every second pixel of every second row
SOFT = 3.0  # pixels, sigma that parts light from texture

# Signals of a step, in order. Motion in eye distances a second.
STEP_SIGNALS = (
    "far_x",  # motion of what is beside the head within the crop
    "far_y",
    "near_x",  # the same close to the head's outline
    "near_y",
    "still_x",  # what that would be if the surround stood still in the picture
    "still_y",
    "face_x",  # motion of the face's skin within the crop: what the landmarks missed
    "face_y",
    "mouth",  # motion within the face that is not the whole face's
    "skin",
    "light",  # change that motion does not explain: slow over the face, over its contrast
    "texture",  # and fine over the skin, over its fine contrast
    "texture_mouth",
    "bend",  # motion of the surround that no rigid thing makes
)
LONG_SIGNALS = ("long_light", "long_texture", "long_motion")
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_y, _x = (np.mgrid[0:HEAD_SIDE, 0:HEAD_SIDE] - (HEAD_SIDE - 1) / 2) / UNIT  # eye distances


def _ellipse(x: float, y: float, wide: float, high: float) -> Mask:
    return np.asarray(((_x - x) / wide) ** 2 + ((_y - y) / high) ** 2 < 1)


# Eyes lie 0.58 eye distances above the crop's middle, the mouth as far below.
FACE = _ellipse(0, 0.05, 1.0, 1.35)
MOUTH = _ellipse(0, 0.62, 0.6, 0.42)
SKIN = FACE & ~_ellipse(0, -0.58, 0.95, 0.32) & ~_ellipse(0, 0.65, 0.72, 0.52)
_ABOVE_CHIN = _y < 1.2
NEAR = _ellipse(0, -0.2, 2.1, 2.3) & ~_ellipse(0, -0.1, 1.5, 1.9) & _ABOVE_CHIN
FAR = ~_ellipse(0, -0.2, 2.1, 2.3) & _ABOVE_CHIN


def _on_grid(mask: Mask) -> Mask:
    return np.ascontiguousarray(mask[::GRID, ::GRID])


_FACE, _MOUTH, _SKIN, _NEAR, _FAR = (_on_grid(mask) for mask in (FACE, MOUTH, SKIN, NEAR, FAR))
_PLACES = np.stack([_on_grid(_x), _on_grid(_y), np.ones_like(_on_grid(_x))], axis=-1)
_AFFINE = np.linalg.pinv(_PLACES[_SKIN])
_COLUMNS, _ROWS = np.meshgrid(np.arange(HEAD_SIDE), np.arange(HEAD_SIDE))
_PIXELS = np.stack([_COLUMNS, _ROWS], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class HeadMotion:
    """What was read of one person's head crops.

    `times` (N,) float64 seconds of the pictures; `step_times` (K,) middles of the steps, `steps`
    (K, 14) float32 by `STEP_SIGNALS`; `long_times` (L,), `longs` (L, 3) by `LONG_SIGNALS`. NaN
    where a crop shows too little (a plain surround).
    """

    times: NDArray[np.float64]
    step_times: NDArray[np.float64]
    steps: Floats
    long_times: NDArray[np.float64]
    longs: Floats


def joined(parts: Sequence[HeadMotion]) -> HeadMotion:
    """What was read in pieces, as one."""
    return HeadMotion(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in HeadMotion.__dataclass_fields__
        )
    )


@dataclass(frozen=True)
class _Look:
    time: float
    grey: NDArray[np.uint8]
    matrix: NDArray[np.float64]


class HeadReader:
    """Reads the crops of one person in order, in pieces; keeps about a second of them."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(1)
        self._kept: list[_Look] = []  # the last pictures of steps
        self._since_long = 0

    def read(
        self, times: NDArray[Any], heads: NDArray[np.uint8], landmarks: NDArray[Any]
    ) -> HeadMotion:
        """Signals of the next crops.

        Args:
            times: (N,) seconds, ascending. heads: (N, 112, 112) uint8. landmarks: (N, 5, 2).
        """
        steps, step_times, longs, long_times = [], [], [], []
        for time, grey, points in zip(times.tolist(), heads, landmarks, strict=True):
            last = self._kept[-1] if self._kept else None
            if last is not None and time - last.time < LEAST_STEP:
                continue
            now = _Look(time, grey, head_matrix(points))
            if last is not None and time - last.time > MAX_STEP:
                self._kept = []  # a cut, or a hole
            elif last is not None:
                steps.append(self._step(last, now))
                step_times.append((time + last.time) / 2)
                self._since_long += 1
                old = [look for look in self._kept if time - look.time >= LONG_STEP]
                if old and self._since_long >= LONG_EVERY:
                    longs.append(self._long(old[-1], now))
                    long_times.append((time + old[-1].time) / 2)
                    self._since_long = 0
            self._kept = [*self._kept, now]
            self._kept = [one for one in self._kept if time - one.time <= LONG_STEP + MAX_STEP]
        return HeadMotion(
            np.asarray(times, np.float64),
            np.array(step_times, np.float64),
            _table(steps, len(STEP_SIGNALS)),
            np.array(long_times, np.float64),
            _table(longs, len(LONG_SIGNALS)),
        )

    def _between(self, before: _Look, after: _Look) -> NDArray[np.float32]:
        """(112, 112, 2) motion from one crop to the other, in its pixels."""
        return np.asarray(self._flow.calc(before.grey, after.grey, None), np.float32)

    def _step(self, before: _Look, after: _Look) -> Floats:
        flow = self._between(before, after)
        rate = 1.0 / (UNIT * (after.time - before.time))
        moved = flow[::GRID, ::GRID] * rate
        seen = _on_grid(_seen(before.grey) & _seen(after.grey))
        weight = _corners(before.grey) * seen
        far, near = _weighted(moved, weight * _FAR), _weighted(moved, weight * _NEAR)
        still = _still_surround(before.matrix, after.matrix, weight * (_FAR | _NEAR)) * rate
        whole = _AFFINE @ moved[_SKIN]
        rest = moved - _PLACES @ whole
        own = np.hypot(rest[..., 0], rest[..., 1])
        light, texture, mouth = _unexplained(before, after, flow)
        return np.array(
            [
                *far,
                *near,
                *still,
                *moved[_SKIN].mean(axis=0),
                own[_MOUTH].mean(),
                own[_SKIN].mean(),
                light,
                texture,
                mouth,
                _bend(moved, weight * (_FAR | _NEAR)),
            ],
            np.float32,
        )

    def _long(self, before: _Look, after: _Look) -> Floats:
        flow = self._between(before, after)
        moved = flow[::GRID, ::GRID][_FACE] / UNIT
        light, texture, _ = _unexplained(before, after, flow)
        motion = float(np.hypot(*(moved - moved.mean(axis=0)).T).mean())
        return np.array([light, texture, motion], np.float32)


def _unexplained(before: _Look, after: _Look, flow: Floats) -> tuple[float, float, float]:
    """What changed beyond motion, gain and offset: light, and texture of skin and mouth."""
    place = _PIXELS + flow
    back = cv2.remap(
        after.grey, place[..., 0], place[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    first, second = before.grey.astype(np.float32), back.astype(np.float32)
    soft = [cv2.GaussianBlur(one, (0, 0), SOFT) for one in (first, second)]
    fine = [one - blurred for one, blurred in zip((first, second), soft, strict=True)]
    return (
        _rest(soft[0][SKIN], soft[1][SKIN]),
        _rest(fine[0][SKIN], fine[1][SKIN]),
        _rest(fine[0][MOUTH], fine[1][MOUTH]),
    )


def _rest(first: Floats, second: Floats) -> float:
    """Spread of what no gain and offset explains, over the spread of the values."""
    a, b = first - first.mean(), second - second.mean()
    energy = float((a * a).mean() * (b * b).mean()) ** 0.5
    if energy < 1e-6:
        return 1.0
    correlation = float((a * b).mean()) / energy
    return float(np.sqrt(max(1 - correlation**2, 0.0)))


def _seen(grey: NDArray[np.uint8]) -> Mask:
    """Where a crop shows the picture, without the border's half-mixed pixels."""
    if grey[0].all() and grey[-1].all() and grey[:, 0].all() and grey[:, -1].all():
        return np.ones(grey.shape, bool)
    inside = (grey != OUTSIDE).astype(np.uint8)
    return np.asarray(cv2.erode(inside, np.ones((5, 5), np.uint8)) > 0)


def _corners(grey: NDArray[np.uint8]) -> Floats:
    """How well motion can be told at each place of the grid: the structure's smaller eigenvalue."""
    small = cv2.resize(grey, None, fx=1 / GRID, fy=1 / GRID, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cornerMinEigenVal(small, 5), np.float32)


LEAST_TEXTURE = 1e-4  # summed smaller eigenvalues; below, a plain wall moves with whatever is near


def _weighted(moved: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    total = float(weight.sum())
    if total < LEAST_TEXTURE:
        return np.full(2, np.nan)
    return np.asarray((moved * weight[..., None]).sum(axis=(0, 1)) / total)


def _bend(moved: NDArray[Any], weight: NDArray[Any]) -> float:
    """Spread of motion that is left when shift, turn and scale are taken out."""
    total = float(weight.sum())
    if total < LEAST_TEXTURE:
        return float("nan")
    place = _PLACES[..., 0] + 1j * _PLACES[..., 1]
    motion = moved[..., 0] + 1j * moved[..., 1]
    place = place - (place * weight).sum() / total
    motion = motion - (motion * weight).sum() / total
    turn = (np.conj(place) * motion * weight).sum() / (np.abs(place) ** 2 * weight).sum()
    return float(np.sqrt((np.abs(motion - turn * place) ** 2 * weight).sum() / total))


def _still_surround(
    before: NDArray[np.float64], after: NDArray[np.float64], weight: NDArray[Any]
) -> NDArray[Any]:
    """Mean motion within the crop, in its pixels, of a surround that stands still in the picture.

    The motion is affine in place, so its mean is that of the mean place.
    """
    total = float(weight.sum())
    if total < LEAST_TEXTURE:
        return np.full(2, np.nan)
    place = (_PLACES[..., :2] * weight[..., None]).sum(axis=(0, 1)) / total
    place = place * UNIT + (HEAD_SIDE - 1) / 2
    origin = np.linalg.solve(before[:, :2], place - before[:, 2])
    return np.asarray(after[:, :2] @ origin + after[:, 2] - place)


def _table(rows: list[Floats], width: int) -> Floats:
    return np.asarray(rows, np.float32).reshape(len(rows), width)
