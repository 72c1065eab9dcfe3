"""From a verdict to the report: worst moments, suspicious stretches, series of bounded length."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from aura.fusion import MODALITIES, SubjectVerdict, Verdict
from aura.report import (
    AnomalousFrame,
    AudioAnomaly,
    ConfidenceInterval,
    DetectorReport,
    DetectorScores,
    FrameChecksums,
    FramePoint,
    Limits,
    Metadata,
    ModalityName,
    ModelUsed,
    Prediction,
    Provenance,
    Report,
    Segment,
    SubjectReport,
    WindowScore,
    json_ready,
)
from aura.segments import find_stretches
from aura.versions import tool_versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from aura.detectors.base import Evidence, Modality
    from aura.document import Signed
    from aura.interval import Interval
    from aura.profiles import Profile
    from aura.runtime import ModelCard

Scored = TypeVar("Scored", FramePoint, WindowScore)

MAX_ANOMALOUS_FRAMES = 10
MOMENT_SPACING = 0.5  # seconds between two worst moments; closer ones show the same thing
MAX_FRAME_POINTS = 2000  # 6 min 40 s at 5 FPS in full; longer clips are thinned
MAX_WINDOWS = 1000  # a detector and a person
MAX_SEGMENTS = 200
MAX_LISTED_CHECKSUMS = 2000
HALF_TRUST = 0.5  # in a face; below, its wear is told, whatever the verdict

STATEMENT = (
    "A score is not a finding of fact: it says how much this clip resembles manipulations that the "
    "detectors know. A low score does not prove that a clip is genuine."
)
ABOUT_INTERVAL = "The interval covers the choice of moments, not unknown kinds of manipulation."
ABOUT_SEVERAL = "With several people the highest score decides: false alarms are likelier."


@dataclass(frozen=True)
class Run:
    """What the pipeline knows about one run beyond evidence; times are aware datetimes in UTC.

    `last_time` is that of the last decoded picture, or the end of sound alone, in seconds.
    """

    started_at: datetime
    finished_at: datetime
    processing_time: float
    frames_analyzed: int
    last_time: float
    device: str
    models: tuple[ModelCard, ...]
    job_id: str | None = None
    without: tuple[str, ...] = ()
    false_alarms: float | None = None


def build(verdict: Verdict, profile: Profile, provenance: Provenance, run: Run) -> Report:
    """Write the report.

    Args:
        verdict: from `fusion.decide`. profile: the one it was decided with.
        provenance: file, streams, decoding and checksums. run: times, device, models.
    """
    people = [one for one in verdict.subjects if one.score is not None] or [verdict.decisive]
    points = [
        FramePoint(
            frame_id=frame.frame_id,
            timestamp=frame.time,
            subject=one.subject.id if one.subject else None,
            score=frame.score,
        )
        for one in people
        for frame in one.frames
    ]
    segments = find_segments(verdict, profile)
    decisive = verdict.decisive
    prediction = Prediction(
        overall_class=decisive.overall_class,
        reason=decisive.reason,
        overall_confidence=decisive.confidence,
        manipulation_confidence=decisive.score,
        decisive_subject=decisive.subject.id if decisive.subject else None,
        modality_agreement=decisive.agreement,
        modality_contribution=_contribution(decisive),
        confidence_interval=_interval(decisive.interval),
        anomalous_frames=worst_moments(points, profile.fusion.fake_from),
        audio_anomalies=tuple(
            AudioAnomaly(
                start=segment.start,
                end=segment.end,
                score=segment.score,
                reason="The voice resembles synthetic speech.",
            )
            for segment in segments
            if segment.modality == "audio"
        ),
        segments=segments,
        frame_scores=thin(points, MAX_FRAME_POINTS),
        frame_scores_total=len(points),
    )
    report = Report(
        job_id=run.job_id,
        profile=profile.name,
        prediction=prediction,
        detector_scores=_detector_scores(decisive),
        subjects=tuple(_subject(one, decisive) for one in verdict.subjects),
        detectors=tuple(_detector(item, verdict, profile) for item in verdict.evidence),
        limits=_limits(verdict, profile, provenance, run.false_alarms),
        provenance=provenance,
        metadata=_metadata(profile, provenance, run),
    )
    return report.sealed()


def frame_checksums(checksums: Sequence[tuple[int, int]]) -> FrameChecksums:
    """Checksums of the sampled pictures: (frame id, CRC-32) in order of time."""
    lines = [f"{frame_id}:{crc:08x}" for frame_id, crc in checksums]
    return FrameChecksums(
        count=len(lines),
        sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        listed=tuple(lines[:MAX_LISTED_CHECKSUMS]),
    )


def worst_moments(points: Sequence[FramePoint], threshold: float) -> tuple[AnomalousFrame, ...]:
    """The highest pictures at or above the threshold, each person's `MOMENT_SPACING` apart."""
    chosen: list[FramePoint] = []
    for point in sorted(points, key=lambda one: (-one.score, one.timestamp, one.subject or 0)):
        if point.score < threshold or len(chosen) == MAX_ANOMALOUS_FRAMES:
            break
        if all(
            point.subject != other.subject
            or abs(point.timestamp - other.timestamp) >= MOMENT_SPACING
            for other in chosen
        ):
            chosen.append(point)
    return tuple(
        AnomalousFrame(
            frame_id=point.frame_id,
            timestamp=point.timestamp,
            subject=point.subject,
            confidence=point.score,
        )
        for point in chosen
    )


def thin(points: Sequence[Scored], limit: int) -> tuple[Scored, ...]:
    """At most `limit` of them in order: the highest of each stretch, so that no peak is lost."""
    if len(points) <= limit:
        return tuple(points)
    edges = [len(points) * i // limit for i in range(limit + 1)]
    return tuple(
        max(points[left:right], key=lambda one: one.score) for left, right in pairwise(edges)
    )


def find_segments(verdict: Verdict, profile: Profile) -> tuple[Segment, ...]:
    """Suspicious stretches of fused windows by the profile's rules, per person and modality.

    Where the rules find none though the person is called fake, those stretches are told that would
    be called fake by themselves. More than `MAX_SEGMENTS`: the highest stay.
    """
    found: list[Segment] = []
    people = [one for one in verdict.subjects if one.score is not None] or [verdict.decisive]
    plain = profile.model_copy(update={"segments": {}})
    for one in people:
        mine = _segments_of(one, profile)
        found += mine or (_segments_of(one, plain) if one.overall_class == "fake" else [])
    worst = sorted(found, key=lambda segment: -segment.score)[:MAX_SEGMENTS]
    return tuple(sorted(worst, key=lambda segment: (segment.start, segment.end, segment.modality)))


def _segments_of(one: SubjectVerdict, profile: Profile) -> list[Segment]:
    return [
        Segment(
            modality=modality,
            subject=one.subject.id if one.subject else None,
            start=stretch.start,
            end=stretch.end,
            score=stretch.score,
            detectors=tuple(
                item.detector
                for item in one.evidence
                if item.modality == modality
                and item.windows
                and profile.detector(item.detector).weight > 0
            ),
        )
        for modality, windows in one.windows.items()
        for stretch in find_stretches(windows, profile.segment_rule(modality))
    ]


def _contribution(one: SubjectVerdict) -> dict[ModalityName, Signed | None]:
    return {modality: one.contribution.get(modality) for modality in MODALITIES}


def _interval(interval: Interval | None) -> ConfidenceInterval | None:
    if interval is None:
        return None
    return ConfidenceInterval(
        low=interval.low,
        high=interval.high,
        level=interval.level,
        widened_for=interval.widened_for,
    )


def _detector_scores(one: SubjectVerdict) -> DetectorScores:
    def score(modality: Modality) -> float | None:
        if modality in one.modality_scores:
            return one.modality_scores[modality]
        shown = [e.score for e in one.evidence if e.modality == modality and e.score is not None]
        return sum(shown) / len(shown) if shown else None

    return DetectorScores(
        face_quality=one.subject.quality if one.subject else None,
        visual_artifacts=score("visual"),
        temporal_consistency=score("temporal"),
        audio_synthesis=score("audio"),
        lip_sync_error=score("sync"),
        final_weighted_score=one.score,
    )


def _subject(one: SubjectVerdict, decisive: SubjectVerdict) -> SubjectReport:
    if one.subject is None:
        raise ValueError("a subject's verdict without its subject")
    return SubjectReport(
        id=one.subject.id,
        first_seen=one.subject.first_time,
        last_seen=one.subject.last_time,
        faces_sampled=one.subject.faces,
        face_quality=one.subject.quality,
        face_size=one.subject.size,
        face_detail=one.subject.wear.detail if one.subject.wear else None,
        face_blocks=one.subject.wear.blocks if one.subject.wear else None,
        face_trust=one.trust,
        decisive=one is decisive,
        overall_class=one.overall_class,
        reason=one.reason,
        score=one.score,
        confidence=one.confidence,
        confidence_interval=_interval(one.interval),
        modality_agreement=one.agreement,
        modality_contribution=_contribution(one),
    )


def _detector(item: Evidence, verdict: Verdict, profile: Profile) -> DetectorReport:
    own = [one for one in verdict.subjects if one.subject and one.subject.id == item.subject]
    judge = own[0] if own else verdict.decisive
    share = None
    if item.status == "ok" and judge.score is not None:
        share = judge.shares.get(item.detector, 0.0)
    windows = [WindowScore(start=w.start, end=w.end, score=w.score) for w in item.windows]
    return DetectorReport(
        name=item.detector,
        label=profile.detector(item.detector).label,
        modality=item.modality,
        subject=item.subject,
        status=item.status,
        reason=item.reason,
        score=item.score,
        logit=item.logit,
        weight=item.weight if item.status == "ok" else None,
        share=share,
        windows=thin(windows, MAX_WINDOWS),
        windows_total=len(windows),
        details=json_ready(item.details),
    )


def _limits(
    verdict: Verdict, profile: Profile, provenance: Provenance, level: float | None
) -> Limits:
    decisive = verdict.decisive
    not_judged = [
        f"{profile.detector(item.detector).label}: {item.reason}"
        for item in decisive.evidence
        if item.status == "not_applicable"
    ]
    if decisive.trust < HALF_TRUST:
        not_judged.append(
            f"The face is worn by compression: suspicion in it counts {decisive.trust:.0%}, since "
            "genuine faces so worn look suspicious too."
        )
    decoding = provenance.decoding
    if decoding.truncated:
        not_judged.append("The file breaks off early; what should follow was not seen.")
    damaged = decoding.undecodable_packets + decoding.corrupt_pictures
    if damaged:
        not_judged.append(f"Damaged parts of the file were left out ({damaged} in all).")
    if decoding.repaired_timestamps:
        not_judged.append(
            f"{decoding.repaired_timestamps} of the file's times are missing or out of order; "
            "moments may be off."
        )
    not_judged += decoding.notes
    known = [*profile.limits]
    if decisive.interval is not None:
        known.append(ABOUT_INTERVAL)
    if sum(one.score is not None for one in verdict.subjects) > 1:
        known.append(ABOUT_SEVERAL)
    return Limits(
        statement=STATEMENT,
        not_judged=tuple(not_judged),
        known=tuple(known),
        error_rates=profile.error_rates,
        false_alarms=None if level is None else profile.asked(level),
    )


def _duration(provenance: Provenance, run: Run) -> float:
    """How long the pictures really last: what a file says of itself may be off by hours."""
    fps = provenance.video.fps if provenance.video else None
    return run.last_time + (1.0 / fps if fps else 0.0)


def _metadata(profile: Profile, provenance: Provenance, run: Run) -> Metadata:
    cards = sorted(run.models, key=lambda card: card.name)
    weights = "\n".join(f"{card.name}:{card.sha256}" for card in cards)
    return Metadata(
        model_version=f"{profile.name}-{profile.version}",
        models_used=tuple(
            ModelUsed(
                name=card.name,
                version=card.version,
                sha256=card.sha256,
                architecture=card.architecture,
                licence=card.licence,
            )
            for card in cards
        ),
        ensemble_size=1,
        weights_sha256=hashlib.sha256(weights.encode()).hexdigest(),
        config_sha256=profile.config_sha256,
        device=run.device,
        without=run.without,
        tool_versions=tool_versions(),
        video_duration_sec=_duration(provenance, run),
        frames_analyzed=run.frames_analyzed,
        processing_time_sec=run.processing_time,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )
