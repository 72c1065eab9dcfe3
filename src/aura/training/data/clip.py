"""One prepared clip: what training sees of a video, and what is known about it moment by moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from aura.detectors.contract_input import Faces, Voice
    from aura.training.data.manifest import Row

UNKNOWN = -1  # an answer that nobody gave

Modality = Literal["visual", "audio", "disagreement"]


@dataclass(frozen=True)
class Span:
    """A stretch [start, end) in seconds of the clip's clock in which a modality is manipulated.

    `disagreement`: face and voice were not recorded together (shifted, swapped or re-voiced sound,
    a pasted or re-enacted face).
    """

    modality: Modality
    start: float
    end: float


@dataclass(frozen=True)
class Truth:
    """What is known of a clip; 1 = fake, 0 = real, `UNKNOWN`.

    `visual`, `audio`, `disagreement` are answers for the whole clip. With `spans` None a fake
    modality is fake throughout; else it is fake inside its spans only.
    """

    label: int
    visual: int = UNKNOWN
    audio: int = UNKNOWN
    disagreement: int = UNKNOWN
    spans: tuple[Span, ...] | None = None

    def within(self, modality: Modality, start: float, end: float) -> int:
        """The answer for one modality in [start, end): fake where any of a fake span lies."""
        whole = int(getattr(self, modality))
        if whole != 1 or self.spans is None:
            return whole
        return int(
            any(s.modality == modality and s.start < end and s.end > start for s in self.spans)
        )


@dataclass(frozen=True)
class Clip:
    """A prepared clip in memory.

    `row` is its line in the manifest, `fps` the rate at which pictures were sampled. Faces (one
    person's, pictures without exactly one face are left out): `frame_ids` (N,) int64 index of the
    picture in the file, `faces` times, aligned crops and motion, `landmarks` (N, 5, 2) float32 in
    pixels of the crop. `voice` has no samples when there is no sound. `span` is the (start, end) in
    seconds that was prepared.
    """

    row: Row
    fps: float
    span: tuple[float, float]
    frame_ids: NDArray[np.int64]
    faces: Faces
    landmarks: NDArray[np.float32]
    voice: Voice
    truth: Truth

    @property
    def has_sound(self) -> bool:
        """Whether there is any sound at all."""
        return len(self.voice.samples) > 0


def truth_of(row: Row, span: tuple[float, float], *, speech: bool) -> Truth:
    """What a row of a manifest says about the stretch of its clip that was prepared.

    A real clip is real in every respect. A fake one's picture and sound are what the row says of
    them; where it is silent about one and calls the other real, it must be the one; without
    speech it must be the picture. What is heard and seen was recorded together in a real clip, and
    was not in one of which either part is fake. Without speech nothing is known about sound.

    Args:
        span: (start, end) in seconds. speech: whether any is heard in it.
    """
    visual, audio = (
        1 if any(s.modality == modality for s in row.segments) else _ANSWERS[answer]
        for modality, answer in (("visual", row.visual_label), ("audio", row.audio_label))
    )
    if row.label == "real":
        visual = audio = 0
    else:
        if visual == UNKNOWN and (audio == 0 or not speech):
            visual = 1
        if audio == UNKNOWN and visual == 0:
            audio = 1
    disagreement = UNKNOWN
    if row.label == "real":
        disagreement = 0
    elif 1 in (visual, audio):
        disagreement = 1
    spans = _spans(row, span, visual=visual, audio=audio)
    if spans is not None:  # what is manipulated only before or after the stretch is real in it
        visual = _within(spans, "visual", visual)
        audio = _within(spans, "audio", audio)
        disagreement = _within(spans, "disagreement", disagreement)
    if not speech:
        audio = disagreement = UNKNOWN
    return Truth(row.target, visual, audio, disagreement, spans)


_ANSWERS = {"": UNKNOWN, "real": 0, "fake": 1}


def _spans(
    row: Row, span: tuple[float, float], *, visual: int, audio: int
) -> tuple[Span, ...] | None:
    """Manipulated stretches within `span`, None where the row names none.

    A modality that is fake and has no stretch of its own is fake throughout.
    """
    if not row.segments:
        return None
    named: list[Span] = []
    answers: tuple[tuple[Modality, int], ...] = (("visual", visual), ("audio", audio))
    for modality, answer in answers:
        cut = [(s.start, s.end) for s in row.segments if s.modality == modality]
        if answer == 1 and not cut:
            cut = [span]
        for start, end in cut:
            low, high = max(start, span[0]), min(end, span[1])
            if low < high:
                named += [Span(modality, low, high), Span("disagreement", low, high)]
    return tuple(named)


def _within(spans: tuple[Span, ...], modality: Modality, answer: int) -> int:
    return int(any(one.modality == modality for one in spans)) if answer == 1 else answer
