"""Fakes made of a piece of a real clip, and controls that went through all but the lie.

| kind | what is done |
| --- | --- |
| still, own motion | one picture moves as the person did; in half, eyes and mouth live |
| still, another's motion | one picture of the piece moves as somebody else did |
| photo, driven | a photo of somebody moves as the person did |
| photo, moved | a photo before a moving camera |
| blend, drifting | the face, changed, pasted onto itself; place and colour drift slowly |
| blend, trembling | the same, placed anew in every picture |
| mouth | the mouth of another moment, drawn at low resolution, as lip-sync generators do |
| face coded | the face alone was coded at a low rate |
| interpolated | every second picture is made from its neighbours |

Controls: `as it was`, and `soft`: the whole picture lost detail, as a fake of it may have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura.faces import CROP_SIDE, CROP_SPAN, align, crop_matrix
from aura.training.augment.reencode import reencode
from aura.training.temporal.animate import Driver, animate
from aura.training.visual.blends import Move, draw_look, draw_move, draw_softness, face_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.training.augment.picture import Image
    from aura.training.temporal.pieces import Piece

STILL_OWN, STILL_OTHER = "still, own motion", "still, another's motion"
PHOTO_DRIVEN, PHOTO_MOVED = "photo, driven", "photo, moved"
BLEND_SLOW, BLEND_TREMBLING = "blend, drifting", "blend, trembling"
MOUTH, CODED, INTERPOLATED = "mouth", "face coded", "interpolated"
KINDS = (
    STILL_OWN,
    STILL_OTHER,
    PHOTO_DRIVEN,
    PHOTO_MOVED,
    BLEND_SLOW,
    BLEND_TREMBLING,
    MOUTH,
    CODED,
    INTERPOLATED,
)
PLAIN, SOFT = "as it was", "soft"
CONTROLS = (PLAIN, SOFT)
STILLS = (STILL_OWN, STILL_OTHER, PHOTO_DRIVEN, PHOTO_MOVED)
BLENDS = (BLEND_SLOW, BLEND_TREMBLING)
LOSS = (0.35, 1.0)  # of its size that a still is drawn at, where it is not left as it is
LOSS_ODDS = 0.6
SHARE = (0.6, 1.1)  # of the driver's motion
LIVING_ODDS = 0.5  # of eyes and mouth being drawn anew, as later generators do
PHOTO_SIDE = 320  # pixels of a photo that moves
TREMBLE = (0.1, 0.45)  # of a random move, standard deviation from picture to picture
DRIFT, KNOT = 0.25, 30  # of a random move; pictures between the points of a slow drift
MOUTH_SHIFT = (0.5, 1.5)  # seconds between a mouth and the moment it is taken from
MOUTH_SIDES = (64, 128)  # pixels of the face at which a mouth is drawn
CODED_CRF = (36, 44)


def make(
    kind: str,
    piece: Piece,
    other: Piece,
    photo: tuple[Image, NDArray[np.float32]],
    random: np.random.Generator,
) -> list[Image]:
    """Pictures of a fake or a control; as many as the piece (another's motion: the other) has.

    Args:
        kind: one of `KINDS` or `CONTROLS`. other: somebody else's piece. photo: a picture and the
            landmarks (5, 2) of its face. random: all chance.
    """
    if kind == PLAIN:
        return list(piece.pictures)
    if kind == SOFT:
        scale = random.uniform(*LOSS)
        return [_lose(one, scale) for one in piece.pictures]
    if kind in STILLS:
        return _still(kind, piece, other, photo, random)
    if kind in BLENDS:
        return _blend(piece, random, trembles=kind == BLEND_TREMBLING)
    return {MOUTH: _mouth, CODED: _coded, INTERPOLATED: _interpolated}[kind](piece, random)


def _still(
    kind: str,
    piece: Piece,
    other: Piece,
    photo: tuple[Image, NDArray[np.float32]],
    random: np.random.Generator,
) -> list[Image]:
    if kind in (PHOTO_DRIVEN, PHOTO_MOVED):
        motion = Driver(piece.landmarks, piece.heads)
        start = int(random.integers(len(piece.pictures)))
        share = random.uniform(*SHARE)
        return animate(*photo, motion, start, random, share=share, rigid=kind == PHOTO_MOVED)
    chosen = int(random.integers(len(piece.pictures)))
    still = piece.pictures[chosen]
    if random.random() < LOSS_ODDS:
        still = _lose(still, random.uniform(*LOSS))
    if kind == STILL_OTHER:
        motion, start = Driver(other.landmarks, other.heads), int(random.integers(len(other.heads)))
    else:
        motion, start = Driver(piece.landmarks, piece.heads), chosen
    living = kind == STILL_OWN and random.random() < LIVING_ODDS
    share = 1.0 if living else random.uniform(*SHARE)
    moved = animate(still, piece.landmarks[chosen], motion, start, random, share=share)
    return _enlivened(moved, piece, random) if living else moved


def _coded(piece: Piece, random: np.random.Generator) -> list[Image]:
    """The face from a copy coded at a low rate."""
    crf = str(int(random.integers(*CODED_CRF)))
    coded = reencode(piece.pictures, "h264", {"crf": crf, "preset": "veryfast"})
    mask = face_mask(CROP_SIDE, CROP_SPAN, random)
    return [
        _onto(picture, points, align(source, points), mask)
        for picture, points, source in zip(piece.pictures, piece.landmarks, coded, strict=True)
    ]


def _lose(picture: Image, scale: float) -> Image:
    height, width = picture.shape[:2]
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.uint8)


def _onto(
    picture: Image, landmarks: NDArray[np.float32], face: Image, mask: NDArray[np.float32]
) -> Image:
    """The picture with an aligned face laid back where it was."""
    matrix = cv2.invertAffineTransform(crop_matrix(landmarks))
    size = (picture.shape[1], picture.shape[0])
    laid = cv2.warpAffine(face, matrix, size, flags=cv2.INTER_LINEAR)
    weight = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR)[..., None]
    return np.asarray((laid * weight + picture * (1 - weight)).round(), np.uint8)


def _enlivened(moved: list[Image], piece: Piece, random: np.random.Generator) -> list[Image]:
    """A still in motion whose eyes and mouth are those of each moment."""
    masks = [
        face_mask(CROP_SIDE, CROP_SPAN, random, odds={name: 1.0}) for name in ("eyes", "mouth")
    ]
    mask = np.maximum(*[one / max(float(one.max()), 1e-3) for one in masks])
    soften = draw_softness(random)
    return [
        _onto(picture, points, soften(align(own, points), random), mask)
        for picture, own, points in zip(moved, piece.pictures, piece.landmarks, strict=True)
    ]


def _blend(piece: Piece, random: np.random.Generator, *, trembles: bool) -> list[Image]:
    mask = face_mask(CROP_SIDE, CROP_SPAN, random)
    look, base = draw_look(random), draw_move(random)
    count = len(piece.pictures)
    knots = random.normal(0, DRIFT, (2 + count // KNOT, 4))
    at = np.linspace(0, len(knots) - 1, count)
    wander = np.stack([np.interp(at, np.arange(len(knots)), line) for line in knots.T], -1)
    if trembles:
        wander = wander + random.normal(0, random.uniform(*TREMBLE), wander.shape)
    result = []
    for picture, points, (a, s, x, y) in zip(piece.pictures, piece.landmarks, wander, strict=True):
        move = Move(
            base.angle + 2 * a, base.scale + 0.03 * s, base.shift + 0.015 * np.array([x, y])
        )
        face = move(look(align(picture, points), random))
        result.append(_onto(picture, points, np.ascontiguousarray(face), mask))
    return result


def _mouth(piece: Piece, random: np.random.Generator) -> list[Image]:
    """The lower face of another moment, softened as one drawn at `MOUTH_SIDES` pixels."""
    mask = face_mask(CROP_SIDE, CROP_SPAN, random, odds={"lower": 0.6, "mouth": 0.4})
    step = float(np.median(np.diff(piece.times)))
    shift = round(random.uniform(*MOUTH_SHIFT) / step) * int(random.choice([-1, 1]))
    side = int(random.integers(*MOUTH_SIDES))
    soften = draw_softness(random)
    count = len(piece.pictures)
    result = []
    for index, (picture, points) in enumerate(zip(piece.pictures, piece.landmarks, strict=True)):
        source = index + shift
        source = source if 0 <= source < count else index - shift
        source = int(np.clip(source, 0, count - 1))
        face = align(piece.pictures[source], piece.landmarks[source])
        scale = min(1.0, side / CROP_SIDE * CROP_SPAN / 80)
        face = soften(_lose(face, scale), random) if scale == 1.0 else _lose(face, scale)
        result.append(_onto(picture, points, face, mask))
    return result


def _interpolated(piece: Piece, random: np.random.Generator) -> list[Image]:
    del random
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    pictures = list(piece.pictures)
    grey = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in pictures]
    rows, columns = np.mgrid[0 : grey[0].shape[0], 0 : grey[0].shape[1]].astype(np.float32)
    for index in range(1, len(pictures) - 1, 2):
        before, after = index - 1, index + 1
        halves = []
        for first, second in ((before, after), (after, before)):
            half = np.asarray(flow.calc(grey[first], grey[second], None), np.float32) / 2
            halves.append(
                cv2.remap(
                    pictures[first],
                    columns - half[..., 0],
                    rows - half[..., 1],
                    cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_REPLICATE,
                )
            )
        pictures[index] = np.asarray(cv2.addWeighted(halves[0], 0.5, halves[1], 0.5, 0), np.uint8)
    return pictures
