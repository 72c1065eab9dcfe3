"""What the API says and takes, as documented in its OpenAPI description."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from aura.report import Report
from aura.service.artifacts import Kind
from aura.service.jobs import JobState

EXAMPLE_ID = "6f1c0d0f5b6f4b0e9a7c2f5f0c6d1e2a"
MAX_URL = 2048
MAX_LINKS_IN_BATCH = 1000  # the settings allow fewer


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class JobError(_Part):
    """Why a job has no report."""

    kind: str = Field(examples=["no_video"])
    message: str = Field(examples=["voice.mp3 has sound but no pictures; give a video file"])


class JobLinks(_Part):
    """Where to go from here; paths on this server."""

    self: str
    events: str
    cancel: str
    artifacts: str


class JobSummary(_Part):
    """A job without its report."""

    job_id: str = Field(examples=[EXAMPLE_ID])
    status: JobState
    kind: Literal["video", "image", "audio"]
    stage: str | None = Field(examples=["analyse"], description="What a running job is doing.")
    percent: float = Field(ge=0, le=100)
    attempt: int = Field(description="How often a worker began with it.")
    profile: str = Field(examples=["lite"])
    explain: bool = Field(description="Whether the reasons were to be drawn.")
    filename: str
    media_sha256: str | None
    verdict: Literal["real", "fake", "uncertain"] | None
    cached: bool = Field(description="Answered from an earlier analysis of the same bytes.")
    batch_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: JobError | None
    links: JobLinks


class JobDetail(JobSummary):
    """A job, with the report once it is completed."""

    report: Report | None


class Accepted(_Part):
    """A job was taken in, or is already known."""

    job_id: str = Field(examples=[EXAMPLE_ID])
    status: JobState
    status_url: str = Field(examples=[f"/jobs/{EXAMPLE_ID}"])
    events_url: str = Field(examples=[f"/jobs/{EXAMPLE_ID}/events"])


class JobPage(_Part):
    """Some of a user's jobs, newest first."""

    jobs: list[JobSummary]
    next: str | None = Field(description="Give as `before` for the next page; null on the last.")


class AnalyzeUrl(_Part):
    """A video to be fetched by the server, from a public address only."""

    video_url: str = Field(max_length=MAX_URL, examples=["https://example.org/interview.mp4"])
    profile: str = "lite"
    faces: Literal["all", "single"] = "all"
    fps: float | None = Field(None, ge=1, le=30, description="Pictures looked at a second.")
    priority: int = Field(5, ge=0, le=9, description="Among one's own jobs; 9 is first.")
    explain: bool = Field(False, description="Draw why: maps on faces, spectrogram, charts.")
    keep_media: bool = Field(False, description="Keep the video after the analysis for a while.")
    callback_url: str | None = Field(None, max_length=MAX_URL, description="Told of the end.")


class BatchUrls(_Part):
    """Several videos to be fetched."""

    items: list[AnalyzeUrl] = Field(min_length=1, max_length=MAX_LINKS_IN_BATCH)


class BatchItem(_Part):
    """One of a batch: a job, or why there is none."""

    name: str
    job_id: str | None = None
    status_url: str | None = None
    error: JobError | None = None


class BatchAccepted(_Part):
    """What became of each item, in the order they came."""

    batch_id: str
    status_url: str
    items: list[BatchItem]


class BatchStatus(_Part):
    """Where a batch stands."""

    batch_id: str
    total: int
    finished: int
    by_status: dict[str, int]
    by_verdict: dict[str, int]


class Artifact(_Part):
    """A file about a job; `url` works without a key until `expires_at`."""

    name: str = Field(examples=["report.json"])
    kind: Kind
    media_type: str = Field(examples=["application/json"])
    size_bytes: int | None = Field(description="Null until somebody asks: printed on demand.")
    url: str
    expires_at: datetime


class Artifacts(_Part):
    """Files about a job."""

    artifacts: list[Artifact]


class Model(_Part):
    """One network."""

    name: str
    version: str
    sha256: str
    architecture: str
    licence: str


class ProfileInfo(_Part):
    """One profile, and the networks that it runs."""

    name: str
    version: str
    config_sha256: str
    available: bool = Field(description="Whether its networks are installed here.")
    models: list[Model]


class Versions(_Part):
    """What this server runs, so that an answer can be traced to it."""

    version: str
    report_schema: str
    profiles: list[ProfileInfo]


class Alive(_Part):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(_Part):
    """Whether work would be done, part by part: `ok`, or what is wrong."""

    status: Literal["ready"] = "ready"
    parts: dict[str, str] = Field(examples=[{"database": "ok", "storage": "ok", "workers": "ok"}])


class WebhookSecret(_Part):
    """Signs webhooks from now on; after a rotation the one before signs along for a day."""

    secret: str = Field(examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"])


class Delivery(_Part):
    """One webhook."""

    id: str
    event: str = Field(examples=["job.completed"])
    state: Literal["pending", "delivered", "failed", "disabled"]
    attempts: int
    last_status: int | None
    last_error: str | None
    created_at: datetime
    next_at: datetime
    delivered_at: datetime | None


class Deliveries(_Part):
    """The webhooks of a job."""

    deliveries: list[Delivery]


class TaskAccepted(_Part):
    """Answer of `POST /detect_video`."""

    task_id: str = Field(examples=[EXAMPLE_ID])
    status: Literal["queued", "running", "completed", "failed", "cancelled", "dead"]


class TaskStatus(_Part):
    """Answer of `GET /status/{task_id}`."""

    task_id: str
    status: Literal["queued", "running", "completed", "failed", "cancelled", "dead"]
    progress: float
    result: Report | None
    error: JobError | None


JobDetail.model_rebuild()
