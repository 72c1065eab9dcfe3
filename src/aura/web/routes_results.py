"""Pages of one job: its progress, its result, and what may be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Form, Path, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from aura.service import sharing
from aura.service.access import Eraser, Reader, Submitter, TheService, audit
from aura.service.jobs import JobState, Move
from aura.service.problems import Problem, not_found
from aura.service.routes_jobs import ID, JobId
from aura.web.moments_view import overlay_of
from aura.web.rendering import PageRoute, page, part_of_page, texts_of
from aura.web.result_page import result_values

if TYPE_CHECKING:
    from aura.service.access import User
    from aura.service.context import Service
    from aura.service.jobs import Job

router = APIRouter(prefix="/results", route_class=PageRoute)


@router.get("/{job_id}")
def show(request: Request, service: TheService, user: Reader, job_id: JobId) -> Response:
    """Where a job stands: progress, the result, or why there is none."""
    job = _find(service, user, job_id)
    if not job.finished:
        return page(request, "progress.html.j2", user=user, job=job)
    if job.state is not JobState.COMPLETED:
        again = job.may(Move.REQUEUE) and bool(job.media_key or job.source_url)
        return page(request, "failed.html.j2", user=user, job=job, again=again)
    report: dict[str, Any] = service.store.report(job_id) or {}
    values = result_values(service, job, report, texts_of(request), f"/jobs/{job_id}/artifacts")
    return page(
        request,
        "result.html.j2",
        user=user,
        shared=False,
        overlay=f"/results/{job_id}/overlay",
        links=sharing.links_of(service.engine, job_id, user.name),
        days=sharing.DAYS,
        fresh=None,
        **values,
    )


@router.get("/{job_id}/overlay")
def overlay(service: TheService, user: Reader, job_id: JobId) -> JSONResponse:
    """Face boxes and maps for the player."""
    _find(service, user, job_id)
    return JSONResponse(overlay_of(service.store.report(job_id)))


@router.post("/{job_id}/delete")
def delete(service: TheService, user: Eraser, job_id: JobId) -> RedirectResponse:
    """Erase a job with all that belongs to it."""
    if service.erase(job_id, user.name) is None:
        raise not_found()
    audit.info("erased", job_id=job_id, user=user.name, key=user.key_id)
    return RedirectResponse("/history", 303)


@router.post("/{job_id}/cancel")
def cancel(service: TheService, user: Submitter, job_id: JobId) -> RedirectResponse:
    """Stop a job; one that is finished meanwhile is shown."""
    job = service.store.cancel(job_id, user.name)
    if job is not None:
        audit.info("cancelled", job_id=job_id, user=user.name, key=user.key_id)
        if not job.keep_media:
            service.drop_media(job)
    return RedirectResponse(f"/results/{job_id}", 303)


@router.post("/{job_id}/again")
def again(service: TheService, user: Submitter, job_id: JobId) -> RedirectResponse:
    """Queue a failed job once more, where its bytes are still there."""
    _find(service, user, job_id)
    if service.store.requeue(job_id, user.name) is not None:
        service.ring()
    return RedirectResponse(f"/results/{job_id}", 303)


@router.post("/{job_id}/links")
def make_link(
    request: Request,
    service: TheService,
    user: Submitter,
    job_id: JobId,
    days: Annotated[int, Form()],
) -> Response:
    """Make a link for others; its address is shown this once."""
    job = _find(service, user, job_id)
    if job.state is not JobState.COMPLETED or days not in sharing.DAYS:
        raise Problem(422, "invalid", "a link needs a finished result, and 1, 7 or 30 days")
    token, link = sharing.share(service.engine, job_id, user.name, days)
    audit.info("shared", job_id=job_id, user=user.name, key=user.key_id, link=link.id)
    address = f"{request.url.scheme}://{request.url.netloc}/shared/{token}"
    return _links(request, service, user, job, fresh=address)


@router.post("/{job_id}/links/{link_id}/revoke")
def revoke_link(
    request: Request,
    service: TheService,
    user: Submitter,
    job_id: JobId,
    link_id: Annotated[str, Path(pattern=ID)],
) -> Response:
    """Take a link back; it works no longer, at once."""
    job = _find(service, user, job_id)
    if sharing.unshare(service.engine, link_id, user.name):
        audit.info("unshared", job_id=job_id, user=user.name, key=user.key_id, link=link_id)
    return _links(request, service, user, job, fresh=None)


def _links(
    request: Request, service: Service, user: User, job: Job, *, fresh: str | None
) -> Response:
    if not part_of_page(request):
        return RedirectResponse(f"/results/{job.id}", 303)
    links = sharing.links_of(service.engine, job.id, user.name)
    return page(request, "_links.html.j2", job=job, links=links, days=sharing.DAYS, fresh=fresh)


def _find(service: Service, user: User, job_id: str) -> Job:
    job = service.store.get(job_id, user.name)
    if job is None:
        raise not_found()
    return job
