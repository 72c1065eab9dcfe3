"""Self-blends over a whole track or a stretch of it.

A face swap is one generator at work on a whole shot: mask, colour and sharpness are drawn once a
clip and drift slowly; in some clips the pasted face also trembles from picture to picture, as
frame-wise generators do.

What could give a blend away beside its border and the step across it, and what is done about it:

- Softness from moving and resampling the pasted face, the changed colour, the tremble. The control
  is the same face moved, changed and trembling with the mask open everywhere (about half of them)
  or the same surround with the mask shut: inside and outside each look like those of the fake, only
  never both in one picture. And some blends move the surround and keep the face as it was.
- In a stretch: that something changes at its edges. The control changes there too, as a whole.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura.detectors.contract_input import Faces
from aura.faces import CROP_SPAN, TEMPLATE, TEMPLATE_SIDE
from aura.training.data.clip import UNKNOWN, Clip, Span, Truth
from aura.training.visual.blends import Move, draw_look, draw_move, face_mask, paste

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_FACES = 3
NOSE = 2  # index of the nose tip among the landmarks
KNOT_SECONDS = 1.5  # between the points through which slow drifts run
DRIFT = 0.25  # of what a move may be, standard deviation of the slow drift
TREMBLE_ODDS = 0.35
TREMBLE = (0.1, 0.5)  # of what a move may be, standard deviation from picture to picture
SHIMMER = 2.5  # grey levels, slow drift of the pasted face's brightness
REVERSED = 0.4  # of the blends move the surround and keep the face: soft faces alone tell nothing
EVERYWHERE = 0.55  # of the controls have the mask open, the others shut
SHORTEST_PART, LONGEST_PART = 0.5, 3.0  # seconds
LARGEST_SHARE = 0.7  # of the clip that a part may take: else it is no part


def can_blend(clip: Clip, *, part: bool = False) -> bool:
    """Whether there are faces to blend, and room for a stretch among others."""
    if len(clip.faces.times) < LEAST_FACES:
        return False
    return not part or _seconds(clip) * LARGEST_SHARE > SHORTEST_PART


def part_to_blend(clip: Clip, random: np.random.Generator) -> tuple[float, float]:
    """A random stretch (start, end) that begins and ends with a sampled face."""
    times, step = clip.faces.times, 1.0 / clip.fps
    longest = min(LONGEST_PART, LARGEST_SHARE * _seconds(clip))
    wanted = random.uniform(SHORTEST_PART, longest)
    begins = times[times <= times[-1] + step - wanted]
    start = float(random.choice(begins)) if len(begins) else float(times[0])
    inside = times[(times >= start) & (times < start + wanted)]
    return start, float(inside[-1]) + step


def blend(
    clip: Clip,
    random: np.random.Generator,
    *,
    lie: bool,
    stretch: tuple[float, float] | None = None,
) -> Clip:
    """The clip with the face pasted onto itself; motion values are those of before."""
    times, crops = clip.faces.times, clip.faces.crops
    weights = np.ones(len(times)) if stretch is None else _ramp(times, stretch)
    noses = (clip.landmarks[:, NOSE] / crops.shape[1] * CROP_SPAN) - (
        TEMPLATE[NOSE] + (CROP_SPAN - TEMPLATE_SIDE) / 2
    )
    nose = np.median(noses, axis=0)
    side = crops.shape[1]
    mask = face_mask(side, CROP_SPAN, random, (float(nose[0]), float(nose[1])))
    look = draw_look(random)
    on_source = random.random() < 0.5
    moves = _moves(times, random)
    shimmer = _drift(times, random, 1)[:, 0] * SHIMMER
    turned = random.random() < REVERSED
    everywhere = random.random() < EVERYWHERE
    if not lie:
        mask = np.full_like(mask, 1.0 if everywhere else 0.0)
    face_moves = not turned if lie else everywhere
    # The outline follows the turning head half way, as `face_mask` has it.
    follow = 0.5 * (noses - nose) / CROP_SPAN
    out, landmarks = crops.copy(), clip.landmarks.copy()
    for index in np.flatnonzero(weights > 0):
        face = crops[index]
        changed = look(face, random)
        source, target = (changed, face) if on_source else (face, changed)
        source = moves[index](source)
        source = np.clip(source + shimmer[index], 0, 255).astype(np.uint8)
        if turned and lie:
            source, target = target, source
        whole = paste(source, target, Move(0.0, 1.0, follow[index])(mask))
        out[index] = cv2.addWeighted(whole, weights[index], face, 1 - weights[index], 0)
        if face_moves:
            landmarks[index] = moves[index].points(clip.landmarks[index], side)
    faces = Faces(times, out, clip.faces.motion)
    truth = _blended(clip, stretch) if lie else clip.truth
    return replace(clip, faces=faces, landmarks=landmarks, truth=truth)


def _moves(times: NDArray[np.float64], random: np.random.Generator) -> list[Move]:
    """One draw of a move, drifting slowly, trembling in some clips."""
    base = draw_move(random)
    wander = _drift(times, random, 4) * DRIFT
    if random.random() < TREMBLE_ODDS:
        wander += random.normal(0, random.uniform(*TREMBLE), wander.shape)
    return [
        Move(base.angle + 2 * a, base.scale + 0.03 * s, base.shift + 0.015 * np.array([x, y]))
        for a, s, x, y in wander
    ]


def _drift(
    times: NDArray[np.float64], random: np.random.Generator, width: int
) -> NDArray[np.float64]:
    """(N, width) slow random walks of unit spread: lines between knots."""
    seconds = float(times[-1] - times[0])
    knots = np.linspace(times[0], times[-1] + 1e-9, 2 + int(seconds / KNOT_SECONDS))
    values = random.normal(0, 1, (len(knots), width))
    return np.stack([np.interp(times, knots, column) for column in values.T], axis=-1)


def _ramp(times: NDArray[np.float64], stretch: tuple[float, float]) -> NDArray[np.float64]:
    """Weight by time: 1 within the stretch, half at its first and last picture, 0 outside."""
    inside = (times >= stretch[0] - 1e-6) & (times < stretch[1] - 1e-6)
    weights = inside.astype(float)
    if inside.sum() >= LEAST_FACES:
        found = np.flatnonzero(inside)
        weights[[found[0], found[-1]]] = 0.5
    return weights


def _seconds(clip: Clip) -> float:
    return float(clip.faces.times[-1] - clip.faces.times[0]) + 1.0 / clip.fps


def _blended(clip: Clip, stretch: tuple[float, float] | None) -> Truth:
    spans = None if stretch is None else (Span("visual", *stretch),)
    return replace(clip.truth, label=1, visual=1, disagreement=UNKNOWN, spans=spans)
