"""Evidence with known numbers, for tests of everything behind the detectors."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path  # noqa: TC003
from typing import Any

import numpy as np

from aura.calibration import sigmoid
from aura.detectors.base import Evidence, FrameScore, Modality, not_applicable
from aura.findings import Run, build, frame_checksums
from aura.fusion import Subject, decide
from aura.profiles import CalibrationConfig, Profile, load_profile
from aura.report import AudioStream, Decoding, InputFile, Provenance, Report, VideoStream
from aura.runtime import ModelCard, list_cards
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


def provenance(path: Path, *, audio: bool = True, **decoding: Any) -> Provenance:
    """A file of 10 s at 25 pictures a second; its SHA-256 is that of the bytes at `path`."""
    return Provenance(
        input=InputFile(
            name=path.name,
            path=str(path),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            size_bytes=path.stat().st_size,
            container="mp4",
            duration_sec=10.0,
        ),
        video=VideoStream(
            codec="h264",
            width=1280,
            height=720,
            rotation=0,
            fps=25.0,
            frames=250,
            pixel_format="yuv420p",
            bit_rate=1_200_000,
        ),
        audio=AudioStream(
            codec="aac", sample_rate=48_000, channels=2, bit_rate=96_000, start_sec=0.0
        )
        if audio
        else None,
        decoding=Decoding(
            **{
                "sampling_fps": 5.0,
                "max_side": 1280,
                "faces": "all",
                "undecodable_packets": 0,
                "corrupt_pictures": 0,
                "repaired_timestamps": 0,
                "sound_gaps": 0,
                "truncated": False,
                "libraries": {"libavcodec": "61.3.100"},
                **decoding,
            }
        ),
        frame_checksums=frame_checksums([(i * 5, zlib.crc32(bytes([i]))) for i in range(50)]),
    )


def report(
    path: Path,
    evidence: Sequence[Evidence],
    *,
    subjects: Sequence[Subject] | None = None,
    using: Profile | None = None,
    audio: bool = True,
    models: Sequence[ModelCard] | None = None,
    started: datetime = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC),
    **decoding: Any,
) -> Report:
    """The report that made-up evidence leads to, through the real fusion."""
    chosen = using or profile()
    source = provenance(path, audio=audio, **decoding)
    people = [person()] if subjects is None else subjects
    verdict = decide(evidence, people, chosen, seed=source.input.sha256)
    seconds = 1.5
    run = Run(
        started_at=started,
        finished_at=started + timedelta(seconds=seconds),
        processing_time=seconds,
        last_time=9.96,
        frames_analyzed=50,
        device="cpu",
        models=tuple(list_cards()[:2] if models is None else models),
    )
    return build(verdict, chosen, source, run)


def plain_lite() -> Profile:
    """The lite profile's detectors and labels, without what was fitted: numbers can be foreseen."""
    fitted = load_profile("lite")
    neutral = CalibrationConfig()
    return fitted.model_copy(
        update={
            "detectors": tuple(
                one.model_copy(update={"calibration": neutral}) for one in fitted.detectors
            ),
            "fusion": fitted.fusion.model_copy(update={"calibration": neutral}),
            "evidence": fitted.evidence.model_copy(update={"wear": None}),
            "error_rates": None,
        }
    )
