"""Routes about jobs that are there: state, events, files, cancelling, erasing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from aura.service import webhooks
from aura.service.access import (
    Eraser,
    Reader,
    Submitter,
    TheService,
    audit,
)
from aura.service.context import Service
from aura.service.jobs import JobState
from aura.service.problems import Problem, documented, not_found
from aura.service.schemas import (
    EXAMPLE_ID,
    BatchStatus,
    Deliveries,
    JobDetail,
    JobPage,
    JobSummary,
    TaskStatus,
    WebhookSecret,
)
from aura.service.store import Filter
from aura.service.views import RETRY_SECONDS, delivery, detail, error_of, event_data, summary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aura.service.jobs import Event, Job

router = APIRouter(tags=["jobs"])

ID = r"^[0-9a-f]{32}$"
JobId = Annotated[str, Path(pattern=ID, examples=[EXAMPLE_ID], description="The job's id.")]
EVENT_SECONDS = 0.5  # between looks for new events
KEEP_ALIVE_SECONDS = 15.0  # so that proxies see that an event stream lives
BATCH_MOST = 1000
# One server-sent event. `id` is its number, without gaps; `data` is JSON with `job_id` and `at`,
# and with `stage` and `percent` (progress), `verdict` (completed), `kind` and `message` (failed).
EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"type": "string", "examples": ["progress"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}
DENIED = documented(401, 403, 404, 422)


@router.get("/jobs", responses=documented(401, 403, 422), summary="Your jobs, newest first")
def list_jobs(
    service: TheService,
    user: Reader,
    status: Annotated[list[JobState] | None, Query(description="Only these states.")] = None,
    verdict: Annotated[Literal["real", "fake", "uncertain"] | None, Query()] = None,
    batch_id: Annotated[str | None, Query(pattern=ID)] = None,
    since: Annotated[datetime | None, Query(description="Submitted then or later.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[str | None, Query(pattern=ID, description="`next` of a page.")] = None,
) -> JobPage:
    """List jobs, page by page."""
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    wanted = Filter(tuple(status or ()), verdict, batch_id, since)
    jobs = service.store.list(user.name, wanted=wanted, limit=limit, before=before)
    full = len(jobs) == limit
    return JobPage(jobs=[summary(job) for job in jobs], next=jobs[-1].id if full else None)


@router.get(
    "/jobs/{job_id}",
    response_model=JobDetail,
    responses=DENIED,
    summary="One job, with its report once there is one",
)
def get_job(service: TheService, user: Reader, job_id: JobId) -> JSONResponse:
    """Where a job stands."""
    job = _find(service, user.name, job_id)
    report = service.store.report(job_id) if job.state is JobState.COMPLETED else None
    headers = {} if job.finished else {"Retry-After": str(RETRY_SECONDS)}
    return JSONResponse(detail(job, report), headers=headers)


@router.get(
    "/status/{task_id}",
    response_model=TaskStatus,
    responses=DENIED,
    summary="The same, by the integration plan's name",
)
def get_status(
    service: TheService, user: Reader, task_id: Annotated[str, Path(pattern=ID)]
) -> JSONResponse:
    """Where a task stands."""
    job = _find(service, user.name, task_id)
    report = service.store.report(task_id) if job.state is JobState.COMPLETED else None
    error = error_of(job)
    body = {
        "task_id": job.id,
        "status": job.state.value,
        "progress": job.percent,
        "result": report,
        "error": error.model_dump() if error else None,
    }
    return JSONResponse(body)


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        **DENIED,
        200: {
            "description": "Server-sent events, until the job is finished.",
            "content": {"text/event-stream": {"schema": EVENT}},
        },
        204: {"description": "Finished, and everything was seen: do not connect again."},
    },
    summary="What happens to a job, as it happens",
)
async def get_events(
    request: Request,
    service: TheService,
    user: Reader,
    job_id: JobId,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="The last number that was seen.")
    ] = None,
) -> Response:
    """Stream events; who connects again with Last-Event-ID misses and repeats nothing."""
    job = await run_in_threadpool(_find, service, user.name, job_id)
    text = last_event_id or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Problem(422, "invalid", "Last-Event-ID: give the number of the last event seen")
    if job.finished and int(text) >= job.last_event:
        return Response(status_code=204)
    return StreamingResponse(
        _stream(request, service, job_id, int(text)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(
    request: Request, service: Service, job_id: str, after: int
) -> AsyncIterator[str]:
    quiet = 0.0
    while not request.app.state.stopping and not await request.is_disconnected():
        job, events = await run_in_threadpool(_look, service, job_id, after)
        for event in events:
            after = event.number
            data = json.dumps(event_data(event))
            yield f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"
        if job is None or (job.finished and after >= job.last_event):
            return
        if events:
            quiet = 0.0
            continue
        await asyncio.sleep(EVENT_SECONDS)
        quiet += EVENT_SECONDS
        if quiet >= KEEP_ALIVE_SECONDS:
            quiet = 0.0
            yield ": still here\n\n"


def _look(service: Service, job_id: str, after: int) -> tuple[Job | None, list[Event]]:
    # The job before its events: what is finished here has all its events in the next answer.
    return service.store.get(job_id), service.store.events(job_id, after)


@router.post(
    "/jobs/{job_id}/cancel", responses=documented(401, 403, 404, 409, 422), summary="Stop a job"
)
def cancel_job(service: TheService, user: Submitter, job_id: JobId) -> JobSummary:
    """Cancel at once; a worker that is at it stops at its next step."""
    job = service.store.cancel(job_id, user.name)
    if job is None:
        found = _find(service, user.name, job_id)
        raise Problem(409, "finished", f"the job is {found.state.value} and can't be cancelled")
    audit.info("cancelled", job_id=job_id, user=user.name, key=user.key_id)
    if not job.keep_media:
        service.drop_media(job)
    return summary(job)


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    response_class=Response,
    responses=DENIED,
    summary="Erase a job: media, report, files, events",
)
def erase_job(service: TheService, user: Eraser, job_id: JobId) -> Response:
    """Erase everything about a job; a running one is cancelled first."""
    if service.erase(job_id, user.name) is None:
        raise not_found()
    audit.info("erased", job_id=job_id, user=user.name, key=user.key_id)
    return Response(status_code=204)


@router.get("/batches/{batch_id}", responses=DENIED, summary="Where a batch stands")
def get_batch(
    service: TheService, user: Reader, batch_id: Annotated[str, Path(pattern=ID)]
) -> BatchStatus:
    """Count a batch's jobs; `GET /jobs?batch_id=` lists them."""
    wanted = Filter(batch_id=batch_id)
    jobs = service.store.list(user.name, wanted=wanted, limit=BATCH_MOST)
    if not jobs:
        raise not_found()
    return BatchStatus(
        batch_id=batch_id,
        total=len(jobs),
        finished=sum(job.finished for job in jobs),
        by_status=Counter(job.state.value for job in jobs),
        by_verdict=Counter(job.verdict for job in jobs if job.verdict),
    )


@router.get("/jobs/{job_id}/webhooks", responses=DENIED, summary="Webhooks of a job")
def list_deliveries(service: TheService, user: Reader, job_id: JobId) -> Deliveries:
    """What was sent to the `callback_url`, and what came of it."""
    _find(service, user.name, job_id)
    rows = webhooks.deliveries_of(service.engine, user.name, job_id)
    return Deliveries(deliveries=[delivery(row) for row in rows])


@router.post(
    "/webhooks/{delivery_id}/replay",
    status_code=202,
    response_class=Response,
    responses=DENIED,
    summary="Send a webhook again",
)
def replay_delivery(
    service: TheService, user: Submitter, delivery_id: Annotated[str, Path(pattern=ID)]
) -> Response:
    """Send it once more under the same id; an address that was given up works again."""
    if not webhooks.replay(service.engine, user.name, delivery_id):
        raise not_found()
    return Response(status_code=202)


@router.post(
    "/webhooks/secret/rotate",
    responses=documented(401, 403),
    summary="A new secret for signing webhooks",
)
def rotate_secret(service: TheService, user: Submitter) -> WebhookSecret:
    """Make one; the one before it signs along for a day, so that receivers can change over."""
    audit.info("secret_rotated", user=user.name, key=user.key_id)
    return WebhookSecret(secret=webhooks.rotate_secret(service.engine, user.name))


def _find(service: Service, owner: str, job_id: str) -> Any:
    job = service.store.get(job_id, owner)
    if job is None:
        raise not_found()
    return job
