"""Evidence with known numbers, for tests of everything behind the detectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aura.calibration import sigmoid
from aura.detectors.base import Evidence, FrameScore, Modality, not_applicable
from aura.fusion import Subject
from aura.profiles import Profile
from aura.windows import SlidingWindows

SEED = "ab" * 32
Course = Callable[[np.ndarray], np.ndarray]  # seconds -> logits


def person(
    number: int = 0, *, faces: int = 50, quality: float = 0.7, last: float = 10.0
) -> Subject:
    return Subject(number, 0.0, last, faces, quality, 180.0)


def heard(
    detector: str,
    course: Course | float,
    *,
    modality: Modality = "visual",
    subject: int | None = 0,
    seconds: float = 10.0,
    weight: float = 1.0,
    fps: float = 5.0,
    frames: bool = True,
) -> Evidence:
    """Evidence whose logit follows `course` over time; clip score from the mean of the logits."""
    times = np.arange(0.0, seconds, 1 / fps)
    logits = np.full(times.shape, course) if isinstance(course, (int, float)) else course(times)
    windows = SlidingWindows().gather(times, sigmoid(logits), 0.0, seconds)
    mean = float(logits.mean())
    return Evidence(
        detector,
        modality,
        subject,
        "ok",
        score=float(sigmoid(mean)),
        logit=mean,
        weight=weight,
        windows=tuple(windows),
        frames=tuple(
            FrameScore(int(i * 5), float(t), float(s))
            for i, (t, s) in enumerate(zip(times, sigmoid(logits), strict=True))
        )
        if frames
        else (),
    )


def silent(detector: str, modality: Modality, reason: str, subject: int | None = 0) -> Evidence:
    return not_applicable(detector, modality, reason, subject)


def profile(**changes: object) -> Profile:
    """Three detectors with weights .5, .3, .2 (visual, visual, sync) and one without a model."""
    raw = {
        "format": 1,
        "name": "test",
        "version": "1",
        "description": "for tests",
        "detectors": [
            {"name": "blend", "label": "Blend", "modality": "visual", "weight": 0.5},
            {"name": "generated", "label": "Generated", "modality": "visual", "weight": 0.3},
            {"name": "sync", "label": "Lips", "modality": "sync", "weight": 0.2},
            {
                "name": "audio",
                "label": "Voice",
                "modality": "audio",
                "unavailable": "No model yet.",
            },
        ],
        "evidence": {"min_faces": 5, "min_face_quality": 0.2},
    }
    raw.update(changes)
    return Profile.model_validate(raw)
