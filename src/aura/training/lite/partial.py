"""Fakes of files: a face or a voice replaced for a stretch, all else as it was.

The face is another person's, aligned by landmarks, coloured like the one it covers and pasted with
a soft mask (what FaceSwap did before networks); or the person's own, slightly changed (a
self-blend). The voice is taken apart and synthesised anew, or another person's.
"""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura.detectors.contract_input import Faces, Voice
from aura.evaluation.recode import with_pictures
from aura.faces import CROP_SPAN, FaceDetector, align, crop_matrix
from aura.media import decode, extract_audio, probe
from aura.pictures import Frame
from aura.speech import BLOCK, SAMPLE_RATE, SpeechDetector
from aura.training.data.clip import Clip, Truth
from aura.training.data.manifest import Row
from aura.training.pairs.timing import speech_level
from aura.training.pairs.voicing import revoice
from aura.training.visual.blends import BLENDED, draw_look, draw_move, face_mask, match_colour

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.uint8]
    Random = np.random.Generator
    Stretch = tuple[float, float]

SIDE = 256  # pixels of the aligned face that is pasted
CRF, PRESET = 23, "veryfast"  # the dev clips were encoded at this CRF
STEADY = 0.6  # share of the landmarks before that is kept: pasted faces tremble a little
# Shapes of masks for a whole face; patches of mouth or eyes alone are other fakes.
WHOLE = {name: odds for name, odds in BLENDED.items() if name != "mouth"}
MOUTHS = {"mouth": 0.5, "lower": 0.5}
FADE = 0.02  # seconds over which one sound gives way to another


def donor_faces(path: Path, faces: FaceDetector, most: int = 60) -> list[Image]:
    """Aligned faces of a clip, (SIDE, SIDE, 3) uint8 each, five a second."""
    found: list[Image] = []
    for item in decode(probe(path)):
        if isinstance(item, Frame) and item.rgb is not None:
            seen = faces.detect(item.rgb)
            if seen:
                found.append(align(item.rgb, seen[0].landmarks, SIDE))
            if len(found) == most:
                break
    return found


class FacePaster:
    """Changes the pictures of a clip one after the other; called once for each, in order.

    Args:
        faces: finds them. fps: pictures a second. stretch: seconds in which the face is replaced,
            None for the whole clip. donor: faces to paste; None blends the person's own.
        shapes: odds of the mask's shapes.
    """

    def __init__(
        self,
        faces: FaceDetector,
        fps: float,
        random: Random,
        stretch: Stretch | None = None,
        donor: list[Image] | None = None,
        *,
        shapes: Mapping[str, float] = WHOLE,
    ) -> None:
        self._faces, self._fps, self._random = faces, fps, random
        self._stretch, self._donor = stretch, donor
        odds = {name: value / sum(shapes.values()) for name, value in shapes.items()}
        mask = face_mask(SIDE, CROP_SPAN, random, odds=odds)
        self._mask = mask / max(float(mask.max()), 1e-3)
        self._look, self._move = draw_look(random), draw_move(random)
        self._index = -1
        self._box: NDArray[np.float32] | None = None
        self._landmarks: NDArray[np.float32] | None = None

    def __call__(self, picture: Image) -> Image:
        """(H, W, 3) uint8 RGB in and out."""
        self._index += 1
        time = self._index / self._fps
        if self._stretch and not self._stretch[0] <= time < self._stretch[1]:
            return picture
        landmarks = self._find(picture)
        if landmarks is None:
            return picture
        own = align(picture, landmarks, SIDE)
        source = own
        if self._donor:
            source = self._donor[int(time * 5) % len(self._donor)]
            source = match_colour(source, own, self._mask)
        source = self._move(self._look(source, self._random))
        back = crop_matrix(landmarks, SIDE)
        size = (picture.shape[1], picture.shape[0])
        # The matrix leads from the picture to the crop: the way back is its inverse map.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        pasted = cv2.warpAffine(source, back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        mask = cv2.warpAffine(self._mask, back, size, flags=flags)[..., None]
        return np.asarray(np.round(pasted * mask + picture * (1 - mask)), np.uint8)

    def _find(self, picture: Image) -> NDArray[np.float32] | None:
        face = None if self._box is None else self._faces.detect_near(picture, self._box)
        if face is None:
            found = self._faces.detect(picture)
            face, self._landmarks = (found[0] if found else None), None
        if face is None:
            self._box = None
            return None
        self._box = face.box
        before = face.landmarks if self._landmarks is None else self._landmarks
        self._landmarks = STEADY * before + (1 - STEADY) * face.landmarks
        return self._landmarks


def replace_face(
    source: Path,
    target: Path,
    faces: FaceDetector,
    random: Random,
    *,
    stretch: Stretch | None = None,
    donor: list[Image] | None = None,
    shapes: Mapping[str, float] = WHOLE,
) -> Path:
    """A copy (.mkv) with its face replaced; arguments as `FacePaster`."""
    fps = probe(source).video.fps or 25.0
    paster = FacePaster(faces, fps, random, stretch, donor, shapes=shapes)
    return with_pictures(source, target, paster, CRF, PRESET)


def spoken(samples: NDArray[np.float32]) -> Voice:
    """Sound (n,) at 16 kHz with P(speech) of its blocks."""
    detector = SpeechDetector(device="cpu")
    speech = np.concatenate([detector.feed(samples), detector.finish()])
    return Voice(0.0, samples, speech.astype(np.float32))


def revoiced(
    samples: NDArray[np.float32], random: Random, stretch: Stretch | None = None
) -> NDArray[np.float32]:
    """Speech of which a stretch was synthesised anew, (n,) float32 at 16 kHz in and out."""
    part = None
    if stretch is not None:
        blocks = -(-len(samples) // BLOCK)
        first, last = (round(moment * SAMPLE_RATE / BLOCK) for moment in stretch)
        part = (first, min(last, blocks))
    changed = revoice(_heard_clip(spoken(samples)), random, lie=True, part=part)
    return changed.voice.samples[: len(samples)]


def overdubbed(
    samples: NDArray[np.float32], other: NDArray[np.float32], stretch: Stretch
) -> NDArray[np.float32]:
    """Another voice, as loud, in a stretch of the sound."""
    first, last = (round(moment * SAMPLE_RATE) for moment in stretch)
    gain = speech_level(spoken(samples)) / max(speech_level(spoken(other)), 1e-6)
    weight = np.zeros(len(samples))
    weight[first:last] = 1.0
    fade = np.ones(round(FADE * SAMPLE_RATE)) / round(FADE * SAMPLE_RATE)
    weight = np.convolve(weight, fade, "same")
    there = np.resize(other, len(samples)) * gain
    return np.asarray(np.clip(weight * there + (1 - weight) * samples, -1, 1), np.float32)


def heard_in(path: Path) -> NDArray[np.float32]:
    """The sound of a file, (n,) float32 at 16 kHz."""
    with extract_audio(path) as file, wave.open(str(file), "rb") as stream:
        data = stream.readframes(stream.getnframes())
    return np.asarray(np.frombuffer(data, "<i2") / 32767, np.float32)


def _heard_clip(voice: Voice) -> Clip:
    """A clip of nothing but sound, as the makers of pairs want it."""
    none = np.zeros((0, 224, 224, 3), np.uint8)
    return Clip(
        row=Row("sound", "real"),
        fps=5.0,
        span=(0.0, len(voice.samples) / SAMPLE_RATE),
        frame_ids=np.zeros(0, np.int64),
        faces=Faces(np.zeros(0), none, np.zeros((0, 2), np.float32)),
        landmarks=np.zeros((0, 5, 2), np.float32),
        voice=voice,
        truth=Truth(0, 0, 0, 0),
    )
