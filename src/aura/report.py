"""The report: one typed, versioned document about one clip.

Every face of Aura (terminal, JSON, web page, database) shows this document and adds no finding to
it. The JSON Schema in `docs/report.schema.json` is made from it by `aura schema`.

Scores are P(manipulated) in [0, 1], higher = more likely manipulated; `face_quality` is the one
number that points the other way and is no score. Times are seconds of the clip. Numbers are kept
to six digits after the point. Fields of parts that this version does not have are null or empty,
with a `not_applicable` detector or a status beside them that says so.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Literal

from pydantic import AwareDatetime, JsonValue  # noqa: TC002 - read when the classes are made

from aura.document import FileText, Number, Part, Score, Seconds, Sha256, Signed, tidy
from aura.explanation import ContentCredentials, Explanation, Signature
from aura.profiles import ErrorRates, FalseAlarmLevel  # noqa: TC001 - pydantic needs them

SCHEMA_VERSION: Literal["1.0"] = "1.0"
JSON_LINE = 96  # a JSON value that fits on a line of this length stays on one line

# What two runs on the same bytes may differ in: everything else goes into the digest.
VOLATILE: Any = {
    "job_id": True,
    "deterministic_digest": True,
    "provenance": {"input": {"name", "path"}, "c2pa": True},
    "prediction": {"anomalous_frames": {"__all__": {"saliency_url"}}},
    "explanation": True,
    "signature": True,
    "metadata": {"processing_time_sec", "started_at", "finished_at"},
}


OverallClass = Literal["real", "fake", "uncertain"]
ModalityName = Literal["visual", "temporal", "audio", "sync", "joint"]


class ConfidenceInterval(Part):
    """Bounds of a score. `widened_for` says what could not be judged and made it wider."""

    low: Score
    high: Score
    level: Score
    widened_for: tuple[str, ...] = ()


class AnomalousFrame(Part):
    """One of the most suspicious sampled pictures; `confidence` is its fused score."""

    frame_id: int
    timestamp: Seconds
    subject: int | None
    confidence: Score
    saliency_url: str | None = None
    """File with the map of what raised the score, beside the report; null: none was asked for."""


class AudioAnomaly(Part):
    """A stretch of speech that looks synthetic."""

    start: Seconds
    end: Seconds
    score: Score
    reason: str


class Segment(Part):
    """A stretch that would be called manipulated by one modality (`detectors` counted in it).

    Its windows are fused and calibrated as the verdict is; `score` is that of the worst of
    them. Where it begins and ends is told in `aura.segments`.
    """

    modality: ModalityName
    subject: int | None
    start: Seconds
    end: Seconds
    score: Score
    detectors: tuple[str, ...]


class FramePoint(Part):
    """Fused score of one sampled picture."""

    frame_id: int
    timestamp: Seconds
    subject: int | None
    score: Score


class Prediction(Part):
    """The verdict on the clip: that of the most suspicious person who could be judged."""

    overall_class: OverallClass
    reason: str | None
    """Why the verdict is uncertain; null otherwise."""
    overall_confidence: Score | None
    """max(score, 1 - score); null when nothing could be judged."""
    manipulation_confidence: Score | None
    """The fused, calibrated score; null when nothing could be judged."""
    decisive_subject: int | None
    modality_agreement: Score | None
    """Share of the evidence that does not cancel out between modalities: 1 when all that counted
    point the same way, 0 when they outweigh each other; null below two that counted.
    No measure of whether lips and voice belong together, except in profiles whose network has a
    head for just that (`contract-v1`): there it is 1 - its disagreement score."""
    modality_contribution: dict[ModalityName, Signed | None]
    """Signed share in the fused logit, positive towards manipulated; null: did not count. `joint`
    (one network that looks at face and voice together) is broken down into the others."""
    confidence_interval: ConfidenceInterval | None
    mc_dropout_interval: ConfidenceInterval | None = None
    anomalous_frames: tuple[AnomalousFrame, ...]
    audio_anomalies: tuple[AudioAnomaly, ...]
    segments: tuple[Segment, ...]
    frame_scores: tuple[FramePoint, ...]
    frame_scores_total: int
    """How many pictures were scored; when more than listed, the highest of each stretch is."""


class DetectorScores(Part):
    """Calibrated scores of the decisive person by kind of evidence; null: not judged."""

    face_quality: Score | None
    """Quality of the face pictures, 1 = best. Not a manipulation score."""
    visual_artifacts: Score | None
    temporal_consistency: Score | None
    """Higher = more likely manipulated, as everywhere, whatever the older name suggests."""
    audio_synthesis: Score | None
    lip_sync_error: Score | None
    final_weighted_score: Score | None


class SubjectReport(Part):
    """One tracked person and the verdict on them."""

    id: int
    first_seen: Seconds
    last_seen: Seconds
    faces_sampled: int
    face_quality: Score
    face_size: Number
    """Mean side of the face in pixels of the decoded picture."""
    face_detail: Number | None = None
    """Mean log of 1 + variance of the Laplacian: about 2 in worn faces, 5 in sharp ones."""
    face_blocks: Number | None = None
    """Mean log of steps across the codec's grid against those within: 0 without blocks, to 0.4."""
    face_trust: Score | None = None
    """What suspicion in the face was multiplied by (in logits) because of its wear; 1: nothing."""
    decisive: bool
    overall_class: OverallClass
    reason: str | None
    score: Score | None
    confidence: Score | None
    confidence_interval: ConfidenceInterval | None
    modality_agreement: Score | None
    modality_contribution: dict[ModalityName, Signed | None]


class WindowScore(Part):
    """Calibrated score of one window."""

    start: Seconds
    end: Seconds
    score: Score


class DetectorReport(Part):
    """What one detector found for one person, or for the whole clip (`subject` null)."""

    name: str
    label: str
    modality: ModalityName
    subject: int | None
    status: Literal["ok", "not_applicable"]
    reason: str | None
    score: Score | None
    """Calibrated P(manipulated)."""
    logit: Number | None
    """The number that the score was made from, before calibration."""
    weight: Score | None
    """How far this evidence lets itself be counted; 0: shown, never counted (lips in step)."""
    share: Score | None
    """Renormalised weight in the person's fused logit; 0: shown, not counted."""
    windows: tuple[WindowScore, ...]
    windows_total: int
    details: dict[str, JsonValue]


class Limits(Part):
    """What this report can't say."""

    statement: str
    not_judged: tuple[str, ...]
    known: tuple[str, ...]
    error_rates: ErrorRates | None
    """Measured on clips with known answers; null until measured for this profile."""
    false_alarms: FalseAlarmLevel | None = None
    """What `--false-alarms` asked for, and what it costs; null: the profile's own threshold."""


class InputFile(Part):
    """The file as it was read."""

    name: FileText
    path: FileText
    sha256: Sha256
    size_bytes: int
    container: str
    duration_sec: Seconds | None
    kind: Literal["video", "image", "audio"] = "video"
    """A video, a single picture, or sound alone."""


class VideoStream(Part):
    """The picture track, or picture, as the file declares it; `rotation` in degrees clockwise."""

    codec: str
    width: int
    height: int
    rotation: int
    fps: Number | None
    frames: int | None
    pixel_format: str | None
    bit_rate: int | None


class AudioStream(Part):
    """The sound track as the file declares it; `start_sec` relative to the pictures."""

    codec: str
    sample_rate: int
    channels: int
    bit_rate: int | None
    start_sec: Seconds | None


class Decoding(Part):
    """How the file was decoded and what went wrong on the way."""

    sampling_fps: Number
    max_side: int
    faces: Literal["all", "single"]
    undecodable_packets: int
    corrupt_pictures: int
    repaired_timestamps: int
    sound_gaps: int
    truncated: bool
    notes: tuple[str, ...] = ()
    """What else a reader should know, such as a sound track that can't be decoded."""
    libraries: dict[str, str]


class FrameChecksums(Part):
    """CRC-32 of each sampled picture's luma as decoded, so that a re-run can be compared.

    `sha256` covers all of them as lines "frame_id:crc32"; `listed` holds the first ones.
    """

    algorithm: Literal["crc32"] = "crc32"
    count: int
    sha256: Sha256
    listed: tuple[str, ...]


class Provenance(Part):
    """What was analysed, and how it was decoded."""

    input: InputFile
    video: VideoStream | None
    """Null for sound alone."""
    audio: AudioStream | None
    decoding: Decoding
    frame_checksums: FrameChecksums
    c2pa: ContentCredentials = ContentCredentials()


class ModelUsed(Part):
    """One weight file that took part."""

    name: str
    version: str
    sha256: Sha256
    architecture: str
    licence: str


class Metadata(Part):
    """What decides the numbers, and when they were made."""

    model_version: str
    models_used: tuple[ModelUsed, ...]
    ensemble_size: int
    """How many networks of one kind were averaged."""
    weights_sha256: Sha256
    """SHA-256 over the lines "name:sha256" of the models used, sorted."""
    config_sha256: Sha256
    device: str
    without: tuple[str, ...] = ()
    """Detectors that were switched off by `--without`."""
    tool_versions: dict[str, str]
    video_duration_sec: Seconds
    """To the end of the last decoded picture, or of the sound where there are no pictures; what the
    file says is `provenance.input`'s. 0 for a single picture."""
    frames_analyzed: int
    processing_time_sec: Seconds
    started_at: AwareDatetime
    finished_at: AwareDatetime


class Report(Part):
    """Everything Aura has to say about one clip, one picture, or one recording of sound."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    job_id: str | None
    status: Literal["completed"] = "completed"
    profile: str
    prediction: Prediction
    detector_scores: DetectorScores
    subjects: tuple[SubjectReport, ...]
    detectors: tuple[DetectorReport, ...]
    limits: Limits
    provenance: Provenance
    metadata: Metadata
    explanation: Explanation | None = None
    """Why; null unless it was asked for."""
    deterministic_digest: str = ""
    """SHA-256 over all fields but names, paths, times, durations, and what shows or vouches for
    them (explanation, signature, content credentials): equal for equal runs."""
    signature: Signature | None = None
    """Null in a report that was only printed."""

    def digest(self) -> str:
        """Compute `deterministic_digest` from the other fields."""
        stable = self.model_dump(mode="json", exclude=VOLATILE)
        text = json.dumps(stable, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def sealed(self) -> Report:
        """The same report with its digest filled in."""
        return self.model_copy(update={"deterministic_digest": self.digest()})

    def to_json(self) -> str:
        """Indented JSON in a stable order, short values on one line, newline at the end."""
        return pretty_json(self.model_dump(mode="json")) + "\n"

    def to_line(self) -> str:
        """JSON on a single line, without newline."""
        return json.dumps(self.model_dump(mode="json"), ensure_ascii=False)


def pretty_json(value: Any, indent: str = "") -> str:
    """JSON for people: what fits on one line stays there, so a list of points reads as a table.

    >>> pretty_json({"a": [1, 2], "b": None})
    '{"a": [1, 2], "b": null}'
    """
    line = json.dumps(value, ensure_ascii=False)
    if not value or not isinstance(value, (dict, list)) or len(indent) + len(line) <= JSON_LINE:
        return line
    inner = indent + "  "
    if isinstance(value, dict):
        rows = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {pretty_json(item, inner)}"
            for key, item in value.items()
        ]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    rows = [inner + pretty_json(item, inner) for item in value]
    return "[\n" + ",\n".join(rows) + f"\n{indent}]"


def json_ready(value: Any) -> Any:
    """A detector's details made fit for JSON: floats rounded, not-a-number and infinity as null."""
    if isinstance(value, float):
        return tidy(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    return value


def report_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a report."""
    schema = Report.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Aura report {SCHEMA_VERSION}",
        **{key: value for key, value in schema.items() if key != "title"},
    }
