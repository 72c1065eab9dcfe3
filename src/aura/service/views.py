"""Jobs as the API shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aura.service.schemas import Accepted, Delivery, JobError, JobLinks, JobSummary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aura.service.jobs import Event, Job

RETRY_SECONDS = 1  # after which it is worth asking for a new job's state


def error_of(job: Job) -> JobError | None:
    """Why it has no report."""
    if job.error_kind is None:
        return None
    return JobError(kind=job.error_kind, message=job.error_message or job.error_kind)


def summary(job: Job) -> JobSummary:
    """A job without its report."""
    return JobSummary.model_validate(
        {
            "job_id": job.id,
            "status": job.state,
            "kind": job.kind,
            "stage": job.stage if not job.finished else None,
            "percent": job.percent,
            "attempt": job.attempt,
            "profile": job.profile,
            "explain": job.explain,
            "filename": job.filename,
            "media_sha256": job.media_sha256,
            "verdict": job.verdict,
            "cached": job.cached_from is not None,
            "batch_id": job.batch_id,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "finished_at": job.finished_at,
            "error": error_of(job),
            "links": links(job),
        }
    )


def detail(job: Job, report: Mapping[str, Any] | None) -> dict[str, Any]:
    """A job with its report, ready to be sent; the report was checked when it was made."""
    return {**summary(job).model_dump(mode="json"), "report": report}


def links(job: Job) -> JobLinks:
    """Where to go from here."""
    base = f"/jobs/{job.id}"
    return JobLinks(
        self=base,
        events=f"{base}/events",
        cancel=f"{base}/cancel",
        artifacts=f"{base}/artifacts",
    )


def accepted(job: Job) -> Accepted:
    """The answer to a submission."""
    found = links(job)
    return Accepted(job_id=job.id, status=job.state, status_url=found.self, events_url=found.events)


def accepted_headers(job: Job) -> dict[str, str]:
    """Where it will be, and when to look."""
    return {"Location": f"/jobs/{job.id}", "Retry-After": str(RETRY_SECONDS)}


def event_data(event: Event) -> dict[str, Any]:
    """What an event says."""
    return {"job_id": event.job_id, "at": event.at.isoformat(), "event": event.kind, **event.data}


def delivery(row: Mapping[str, Any]) -> Delivery:
    """A webhook's delivery."""
    return Delivery.model_validate({name: row[name] for name in Delivery.model_fields})
