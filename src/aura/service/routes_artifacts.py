"""Routes to the files about a job: listed with links that work without a key, sent in parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool

from aura.errors import InputNotFound
from aura.service.access import Reader, TheService, bearer, header, identify
from aura.service.artifacts import MEDIA, NAME, PAGE, PRINT, REPORT, Kind, stored
from aura.service.context import Service
from aura.service.jobs import Job, JobState
from aura.service.printing import NotPrinted, can_print, printed
from aura.service.problems import Problem, documented, not_found
from aura.service.ranges import part_response
from aura.service.reports import written
from aura.service.routes_jobs import DENIED, JobId
from aura.service.schemas import Artifact, Artifacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

router = APIRouter(tags=["jobs"])

PRINTS_AT_ONCE = 1  # each takes seconds of a processor and some 200 MB
PRINTED = {PAGE: "text/html; charset=utf-8", PRINT: "application/pdf"}
CONTAINERS = {  # of kept media, as the decoder calls them, which looked into the file
    "mp4": "video/mp4",
    "mov": "video/mp4",
    "matroska": "video/webm",
    "webm": "video/webm",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "jpeg_pipe": "image/jpeg",
    "png_pipe": "image/png",
    "webp_pipe": "image/webp",
}
SHOWN = frozenset(CONTAINERS.values())  # can carry no script
UNKNOWN_TYPE = "application/octet-stream"
# What is opened by itself runs nothing, asks for nothing, and belongs to no site.
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True)
class JobFile:
    """What can be fetched; `key` of the storage, None for what is made when it is asked for."""

    name: str
    kind: Kind
    media_type: str
    size: int | None
    key: str | None = None


@router.get("/jobs/{job_id}/artifacts", responses=DENIED, summary="Files about a job")
def list_artifacts(request: Request, service: TheService, user: Reader, job_id: JobId) -> Artifacts:
    """What there is, with links that work without a key for a while."""
    job = service.store.get(job_id, user.name)
    if job is None:
        raise not_found()
    seconds = service.settings.link_seconds
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    signer = request.app.state.signer
    report = report_of(service, job)
    size = len(written(report).encode()) if report is not None else None
    return Artifacts(
        artifacts=[
            Artifact(
                name=one.name,
                kind=one.kind,
                media_type=one.media_type,
                size_bytes=size if one.name == REPORT else one.size,
                url=signer.sign(f"/jobs/{job_id}/artifacts/{one.name}", seconds),
                expires_at=expires,
            )
            for one in files_of(service, job, report)
        ]
    )


@router.get(
    "/jobs/{job_id}/artifacts/{name}",
    response_class=Response,
    responses={
        **DENIED,
        **documented(416, 503),
        200: {"description": "The file.", "content": {"*/*": {"schema": {"format": "binary"}}}},
        206: {"description": "The part that `Range` asks for.", "content": {"*/*": {"schema": {}}}},
    },
    summary="One file, by key or by a signed link",
)
async def get_artifact(
    request: Request,
    service: TheService,
    job_id: JobId,
    name: Annotated[str, Path(pattern=NAME, examples=[REPORT])],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)] = None,
    key_header: Annotated[str | None, Security(header)] = None,
    expires: Annotated[str | None, Query(max_length=20)] = None,
    signature: Annotated[str | None, Query(max_length=128)] = None,
) -> Response:
    """Fetch a file, or a part of it. A forged or expired link gets one answer for every job.

    `report.html` and `report.pdf` are printed when they are first asked for, which takes seconds.
    """
    if signature is not None or expires is not None:
        signer = request.app.state.signer
        if not signer.check(request.url.path, expires or "", signature or ""):
            raise Problem(
                403, "link_refused", "the link is not valid, or no longer; ask for a new one"
            )
        owner = None
    else:
        user = await identify(request, credentials, key_header)
        if "read" not in user.scopes:
            raise Problem(403, "scope_missing", "this key lacks the scope `read`")
        owner = user.name
    job = await run_in_threadpool(service.store.get, job_id, owner)
    if job is None:
        raise not_found()
    return await send_file(request, service, job, name)


async def send_file(request: Request, service: Service, job: Job, name: str) -> Response:
    """A job's file, or the part of it that the request asks for; whoever calls knows who may.

    Raises:
        Problem: 404 no such file, 416 no such part, 503 it can't be printed now.
    """
    found = await run_in_threadpool(_find, service, job, name)
    if found is None:
        raise not_found()
    if found.key is None and name in PRINTED:
        found = await _print(request, service, job, name)
    return await run_in_threadpool(_send, request, service, job, found)


async def _print(request: Request, service: Service, job: Job, name: str) -> JobFile:
    state = request.app.state
    if getattr(state, "prints", None) is None:
        state.prints = anyio.CapacityLimiter(PRINTS_AT_ONCE)
    try:
        made = await anyio.to_thread.run_sync(printed, service, job, name, limiter=state.prints)
    except (NotPrinted, InputNotFound) as error:
        raise Problem(503, "not_printed", f"{name} can't be had now: {error}") from None
    if made is None:
        raise not_found()
    return JobFile(made.name, made.kind, made.media_type, made.size_bytes, made.key)


def _send(request: Request, service: Service, job: Job, found: JobFile) -> Response:
    media_type = found.media_type
    download = job.filename if found.kind == MEDIA else f"aura-{job.id}-{found.name}"
    how = "inline" if media_type in SHOWN else "attachment"
    text = ""
    if found.key is None:
        report = service.store.report(job.id)
        if report is None:
            raise not_found()
        text = written(report)
    headers = {
        "Content-Type": media_type,
        "Content-Disposition": f"{how}; filename*=UTF-8''{quote(download, safe='')}",
        "Content-Security-Policy": SANDBOX,
        "ETag": f'"{hashlib.sha256((found.key or text).encode()).hexdigest()[:32]}"',
    }
    data = text.encode()

    def read(start: int, stop: int) -> Iterator[bytes]:
        if found.key is None:
            return iter((data[start:stop],))
        return service.storage.read(found.key, start, stop)

    try:
        size = len(data) if found.key is None else int(found.size or 0)
        return part_response(request, size, read, headers)
    except InputNotFound:  # erased this moment
        raise not_found() from None


def report_of(service: Service, job: Job) -> dict[str, Any] | None:
    """The report of a completed job; None of any other."""
    return service.store.report(job.id) if job.state is JobState.COMPLETED else None


def _find(service: Service, job: Job, name: str) -> JobFile | None:
    # What is stored is found without the report, which may be megabytes.
    for one in stored(service.engine, job.id) if job.state is JobState.COMPLETED else ():
        if one.name == name:
            return JobFile(one.name, one.kind, one.media_type, one.size_bytes, one.key)
    files = files_of(service, job, report_of(service, job))
    return next((one for one in files if one.name == name), None)


def files_of(service: Service, job: Job, report: Mapping[str, Any] | None) -> list[JobFile]:
    """Everything that can be fetched about a job, whose report is known already.

    The size of `report.json` is None: it is known once it is written out.
    """
    found: list[JobFile] = []
    if report is not None:
        found.append(JobFile(REPORT, "report", "application/json", None))
        kept = [
            JobFile(one.name, one.kind, one.media_type, one.size_bytes, one.key)
            for one in stored(service.engine, job.id)
        ]
        names = {one.name for one in kept}
        found += [
            JobFile(name, "report", media_type, None)
            for name, media_type in PRINTED.items()
            if name not in names and can_print(name)
        ]
        found += kept
    if job.keep_media and job.media_key is not None and job.finished:
        source = ((report or {}).get("provenance") or {}).get("input") or {}
        container = source.get("container") or ""
        known = (CONTAINERS[part] for part in container.split(",") if part in CONTAINERS)
        media_type = next(known, UNKNOWN_TYPE)
        found.append(JobFile(MEDIA, "media", media_type, job.size_bytes, job.media_key))
    return found
