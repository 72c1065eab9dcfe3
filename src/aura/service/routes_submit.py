"""Routes that take videos and pictures in."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
from fastapi import APIRouter, BackgroundTasks, Header, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from aura.errors import InputError
from aura.report import Report
from aura.service.access import Submitter, TheService, User
from aura.service.admission import LimitReached
from aura.service.context import Service
from aura.service.problems import Problem, documented
from aura.service.schemas import (
    Accepted,
    AnalyzeUrl,
    BatchAccepted,
    BatchItem,
    BatchUrls,
    JobError,
    TaskAccepted,
)
from aura.service.storage import StorageAway
from aura.service.store import new_id
from aura.service.submitting import (
    NOT_A_VIDEO_URL,
    Taken,
    checked_key,
    file_of,
    submit_file,
    submit_url,
    wish_of_form,
)
from aura.service.uploads import Form, received
from aura.service.views import accepted, accepted_headers

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from aura.service.jobs import Job

router = APIRouter(tags=["submit"])

MAX_JSON = 256 * 1024
SUBMISSIONS_AT_ONCE = 8  # looked into and stored; the others wait without holding a thread
WAIT_DEFAULT, WAIT_MAX = 60.0, 300.0  # seconds that `/infer` and `/infer-video` wait for a result
WAIT_STEP = 0.1

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Send the same one again after a lost answer: there will be one job.",
    ),
]
Wait = Annotated[
    float, Query(ge=0, le=WAIT_MAX, description="Seconds to wait for the result before a 202.")
]

FIELDS: dict[str, Any] = {
    "profile": {"type": "string", "default": "lite"},
    "faces": {"type": "string", "enum": ["all", "single"], "default": "all"},
    "fps": {"type": "number", "minimum": 1, "maximum": 30},
    "priority": {"type": "integer", "minimum": 0, "maximum": 9, "default": 5},
    "explain": {"type": "boolean", "default": False},
    "keep_media": {"type": "boolean", "default": False},
    "callback_url": {"type": "string", "format": "uri"},
}
FILE = {"type": "string", "format": "binary"}
LINKED = {
    "Location": {"description": "Where the job is.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
}


def form_body(*files: str, many: bool = False, link: bool = False) -> dict[str, Any]:
    """The documentation of a form, which is read by `uploads` as it streams in."""
    file = {"type": "array", "items": FILE} if many else FILE
    form = {
        "type": "object",
        "properties": {**dict.fromkeys(files, file), **FIELDS},
        "required": list(files),
    }
    content: dict[str, Any] = {"multipart/form-data": {"schema": form}}
    if link:
        name = "BatchUrls" if many else "AnalyzeUrl"
        content["application/json"] = {"schema": {"$ref": f"#/components/schemas/{name}"}}
    return {"requestBody": {"required": True, "content": content}}


UPLOAD_PROBLEMS = documented(400, 401, 403, 408, 409, 413, 415, 422, 429, 503, 507)
CREATED: dict[int | str, dict[str, Any]] = {
    202: {"description": "Taken in; ask `Location` for it.", "headers": LINKED}
}


@router.post(
    "/analyze-video",
    status_code=202,
    response_model=Accepted,
    responses={**UPLOAD_PROBLEMS, **CREATED},
    openapi_extra=form_body("file", link=True),
    summary="Submit a video, as a file or as an address",
)
async def analyze_video(
    request: Request,
    response: Response,
    background: BackgroundTasks,
    service: TheService,
    user: Submitter,
    idempotency_key: IdempotencyKey = None,
) -> Accepted:
    """Take one file in: a video, a picture, or sound alone.

    The answer comes as soon as it is queued, never after the analysis.
    """
    taken = await _take(request, service, user, idempotency_key)
    return accepted(_announce(taken, response, background, service))


@router.post(
    "/detect_video",
    status_code=202,
    response_model=TaskAccepted,
    responses={**UPLOAD_PROBLEMS, **CREATED},
    openapi_extra=form_body("file", link=True),
    summary="The same, by the integration plan's name",
)
async def detect_video(
    request: Request,
    response: Response,
    background: BackgroundTasks,
    service: TheService,
    user: Submitter,
    idempotency_key: IdempotencyKey = None,
) -> TaskAccepted:
    """Take one video in; ask `GET /status/{task_id}` for it."""
    taken = await _take(request, service, user, idempotency_key)
    job = _announce(taken, response, background, service)
    response.headers["Location"] = f"/status/{job.id}"
    return TaskAccepted(task_id=job.id, status=job.state.value)


@router.post(
    "/infer-video",
    response_model=Report,
    responses={**UPLOAD_PROBLEMS, **CREATED, 202: {**CREATED[202], "model": Accepted}},
    openapi_extra=form_body("file", link=True),
    summary="Submit a video and wait for its report",
)
async def infer_video(
    request: Request, service: TheService, user: Submitter, wait: Wait = WAIT_DEFAULT
) -> Response:
    """Answer with the report, or with a 202 when it takes longer than `wait`."""
    taken = await _take(request, service, user, None)
    await run_in_threadpool(service.ring_for, taken.job)
    return await _wait_for(request, service, taken.job, wait)


@router.post(
    "/infer",
    response_model=Report,
    responses={**UPLOAD_PROBLEMS, **CREATED, 202: {**CREATED[202], "model": Accepted}},
    openapi_extra=form_body("file"),
    summary="Submit one picture and wait for its report",
)
async def infer(
    request: Request, service: TheService, user: Submitter, wait: Wait = WAIT_DEFAULT
) -> Response:
    """Scores of the faces in a picture: always `uncertain`, one is too little for a verdict."""
    async with _form(request, service, user, service.settings.max_image, 1) as form:
        file = file_of(form)
        if file is None:
            raise Problem(422, "invalid", "send a picture as `file`")
        wish = wish_of_form(form)
        taken = await _in_thread(request, submit_file, service, user, file, wish, only="image")
    await run_in_threadpool(service.ring_for, taken.job)
    return await _wait_for(request, service, taken.job, wait)


@router.post(
    "/batches",
    status_code=202,
    response_model=BatchAccepted,
    responses={
        **UPLOAD_PROBLEMS,
        202: {
            "description": "Each item was taken in or refused; `items` says which.",
            "headers": {"Location": LINKED["Location"]},
        },
    },
    openapi_extra=form_body("file", many=True, link=True),
    summary="Submit several videos at once",
)
async def submit_batch(
    request: Request,
    response: Response,
    background: BackgroundTasks,
    service: TheService,
    user: Submitter,
) -> BatchAccepted:
    """Take several videos in; what is wrong with one does not keep the others out."""
    batch_id, most = new_id(), service.settings.max_batch
    items: list[BatchItem] = []
    jobs: list[Job] = []

    async def add(name: str, submit: Callable[..., Taken], *arguments: Any) -> None:
        item = BatchItem(name=name)
        try:
            taken = await _in_thread(request, submit, *arguments, batch_id=batch_id)
            jobs.append(taken.job)
            item.job_id, item.status_url = taken.job.id, f"/jobs/{taken.job.id}"
        except (InputError, LimitReached, StorageAway) as error:
            item.error = JobError(kind=error.kind, message=str(error))
        except Problem as error:
            item.error = JobError(kind=error.problem_kind, message=str(error))
        items.append(item)

    if _is_json(request):
        wishes = _parse(BatchUrls, await _json_body(request)).items
        if len(wishes) > most:
            raise Problem(413, "too_many_files", f"{most} videos may come at once")
        for wish in wishes:
            await add(wish.video_url, submit_url, service, user, wish)
    else:
        async with _form(request, service, user, service.settings.max_upload, most) as form:
            wish = wish_of_form(form)
            if not form.files:
                raise Problem(422, "invalid", "send videos as `file`, as many as there are")
            for file in form.files:
                await add(file.name, submit_file, service, user, file, wish)
    background.add_task(service.ring_for, *jobs)
    response.headers["Location"] = f"/batches/{batch_id}"
    return BatchAccepted(batch_id=batch_id, status_url=f"/batches/{batch_id}", items=items)


async def _in_thread(
    request: Request, submit: Callable[..., Taken], *args: Any, **more: Any
) -> Taken:
    """Submit in one of a few threads, so that the others stay free for quick questions."""
    state = request.app.state
    if getattr(state, "submissions", None) is None:
        state.submissions = anyio.CapacityLimiter(SUBMISSIONS_AT_ONCE)
    found: Taken = await anyio.to_thread.run_sync(
        partial(submit, *args, **more), limiter=state.submissions
    )
    return found


async def _take(
    request: Request, service: Service, user: User, idempotency_key: str | None
) -> Taken:
    key = checked_key(idempotency_key)
    if _is_json(request):
        wish = _parse(AnalyzeUrl, await _json_body(request))
        taken = await _in_thread(request, submit_url, service, user, wish, idempotency_key=key)
    else:
        async with _form(request, service, user, service.settings.max_upload, 1) as form:
            wish, file = wish_of_form(form), file_of(form)
            if (file is None) == (wish.video_url == NOT_A_VIDEO_URL):
                raise Problem(422, "invalid", "send either a video as `file` or a `video_url`")
            if file is None:
                taken = await _in_thread(
                    request, submit_url, service, user, wish, idempotency_key=key
                )
            else:
                taken = await _in_thread(
                    request, submit_file, service, user, file, wish, idempotency_key=key
                )
    return taken


def _announce(
    taken: Taken, response: Response, background: BackgroundTasks, service: Service
) -> Job:
    """Say where the job is; the workers are told after that, so that nobody waits for the queue."""
    background.add_task(service.ring_for, taken.job)
    response.headers.update(accepted_headers(taken.job))
    return taken.job


def _form(
    request: Request, service: Service, user: User, max_file: int, max_files: int
) -> AbstractAsyncContextManager[Form]:
    # Before a byte is taken in: who has sent enough need not send this.
    service.store.check(user.name, user.limits)
    return received(
        request,
        service.scratch.path,
        max_file=max_file,
        max_files=max_files,
        min_free=service.settings.min_free_disk,
    )


async def _wait_for(request: Request, service: Service, job: Job, seconds: float) -> Response:
    """The report as soon as it is there; a 202 if it is not in time."""
    ends = time.monotonic() + seconds
    while True:
        found = await run_in_threadpool(service.store.get, job.id)
        if found is None:
            raise Problem(409, "erased", "the job was erased meanwhile")
        if found.finished:
            break
        if time.monotonic() >= ends or await request.is_disconnected():
            body = accepted(found).model_dump_json()
            headers = accepted_headers(found)
            return Response(body, 202, headers, "application/json")
        await asyncio.sleep(WAIT_STEP)
    if found.state.value == "completed":
        report = await run_in_threadpool(_report_text, service, job.id)
        return Response(report, 200, {"Location": f"/jobs/{job.id}"}, "application/json")
    status: Literal[409, 422] = 422 if found.state.value == "failed" else 409
    detail = found.error_message or f"the job was {found.state.value}"
    raise Problem(status, found.error_kind or found.state.value, detail)


def _report_text(service: Service, job_id: str) -> str:
    from aura.report import pretty_json  # noqa: PLC0415

    return pretty_json(service.store.report(job_id))


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    return kind == "application/json"


async def _json_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON:
            raise Problem(413, "too_large", f"the body may have {MAX_JSON} bytes")
    return bytes(body)


def _parse(kind: type[Any], body: bytes) -> Any:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        raise Problem(422, "invalid", f"{where}: {first['msg']}") from None
