"""A result for whoever has its link: to look at, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from aura.service import sharing
from aura.service.access import TheService
from aura.service.jobs import JobState
from aura.service.problems import not_found
from aura.service.routes_artifacts import send_file
from aura.web.moments_view import overlay_of
from aura.web.rendering import PageRoute, page, texts_of
from aura.web.result_page import result_values

if TYPE_CHECKING:
    from aura.service.context import Service
    from aura.service.jobs import Job

router = APIRouter(prefix="/shared/{token}", route_class=PageRoute)


@router.get("")
def show(request: Request, service: TheService, token: str) -> Response:
    """The result, read only."""
    link, job = _find(service, token)
    report: dict[str, Any] = service.store.report(job.id) or {}
    values = result_values(service, job, report, texts_of(request), f"/shared/{token}/files")
    return page(
        request,
        "result.html.j2",
        shared=True,
        until=link.expires_at,
        overlay=f"/shared/{token}/overlay",
        **values,
    )


@router.get("/overlay")
def overlay(service: TheService, token: str) -> JSONResponse:
    """Face boxes and maps for the player."""
    _, job = _find(service, token)
    return JSONResponse(overlay_of(service.store.report(job.id)))


@router.get("/files/{name}")
async def file(request: Request, service: TheService, token: str, name: str) -> Response:
    """One file, or a part of it, as long as the link works."""
    _, job = await run_in_threadpool(_find, service, token)
    return await send_file(request, service, job, name)


def _find(service: Service, token: str) -> tuple[sharing.SharedLink, Job]:
    link = sharing.find_shared(service.engine, token)
    job = service.store.get(link.job_id, link.owner) if link else None
    if link is None or job is None or job.state is not JobState.COMPLETED:
        raise not_found()
    return link, job
