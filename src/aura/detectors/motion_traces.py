"""What stretches of two seconds of head motion tell, in numbers that a small model can weigh.

Each is a ratio, a correlation or the logarithm of a spread, so that size, contrast and frame rate
drop out as far as they can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from aura.detectors.head_motion import LONG_SIGNALS, STEP_SIGNALS
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from aura.detectors.head_motion import HeadMotion

WINDOW = 2.0  # seconds: a turn of the head, a phrase
LEAST_STEPS = 12  # in a window: about one second's

TRACES = (
    "light",  # how much light on the skin changes in 0.1 s, and how much more in 1 s
    "light_growth",
    "texture_growth",  # the same of fine texture
    "turn",  # motion within the face over 1 s, which changes its light
    "skin",  # motion of the skin, against that of the head
    "mouth",  # and of the mouth, against that of the skin
    "mouth_texture",  # how much more the mouth's texture changes than the skin's
    "glued_far",  # share of the head's motion in the picture that the surround makes as well
    "glued_near",
    "bend",  # elastic motion of the surround, against the motion of the head
)

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def traces(motion: HeadMotion) -> tuple[Floats, Floats]:
    """Spans (W, 2) in seconds of the windows with enough steps, and their traces (W, 10).

    NaN where a trace can't be told: a plain surround, say.
    """
    spans, rows = [], []
    if len(motion.step_times):
        begin, end = float(motion.times[0]), float(motion.times[-1])
        for left, right in SlidingWindows(WINDOW).spans(begin, end):
            inside = (motion.step_times >= left) & (motion.step_times <= right)
            if inside.sum() >= LEAST_STEPS:
                spans.append((left, right))
                near = (motion.long_times >= left) & (motion.long_times <= right)
                rows.append(_window(motion, inside, near))
    return np.array(spans).reshape(-1, 2), np.array(rows).reshape(-1, len(TRACES))


def _window(motion: HeadMotion, inside: Mask, near: Mask) -> Floats:
    step = dict(zip(STEP_SIGNALS, motion.steps[inside].T.astype(np.float64), strict=True))
    long = dict(zip(LONG_SIGNALS, motion.longs[near].T.astype(np.float64), strict=True))
    still = _pair(step, "still")
    head = _pair(step, "face") - still
    moving = _log(_rms(head))
    names = ("light", "texture", "texture_mouth", "skin", "mouth", "bend")
    usual = {name: _log(np.median(step[name])) for name in names}
    later = {
        name: _log(np.median(values)) if near.any() else np.nan for name, values in long.items()
    }
    found = {
        "light": usual["light"],
        "light_growth": later["long_light"] - usual["light"],
        "texture_growth": later["long_texture"] - usual["texture"],
        "turn": later["long_motion"],
        "skin": usual["skin"] - moving,
        "mouth": usual["mouth"] - usual["skin"],
        "mouth_texture": usual["texture_mouth"] - usual["texture"],
        "glued_far": _share(_pair(step, "far") - still, head),
        "glued_near": _share(_pair(step, "near") - still, head),
        "bend": usual["bend"] - moving,
    }
    return np.array([found[name] for name in TRACES])


def _pair(step: dict[str, Floats], name: str) -> Floats:
    return np.stack([step[f"{name}_x"], step[f"{name}_y"]], axis=1)


def _rms(values: Floats) -> float:
    return float(np.sqrt((values**2).sum(axis=-1).mean())) if len(values) else float("nan")


def _log(value: Any) -> float:
    return float(np.log(float(value) + 0.01))


def _share(part: Floats, whole: Floats) -> float:
    """Slope of one motion over another, pulled towards 0 where there is hardly any."""
    known = ~np.isnan(part).any(axis=1)
    if known.sum() < LEAST_STEPS:
        return float("nan")
    product = float((part[known] * whole[known]).sum(axis=1).mean())
    return float(
        np.clip(product / (float((whole[known] ** 2).sum(axis=1).mean()) + 1e-3), -0.5, 1.5)
    )
