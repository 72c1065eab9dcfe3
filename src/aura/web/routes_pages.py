"""Pages that lead to results: the first one, the history, two results side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from aura.errors import AuraError
from aura.profiles import load_profile
from aura.service.access import Reader, TheService
from aura.service.jobs import JobState
from aura.service.problems import not_found
from aura.service.routes_jobs import ID
from aura.service.store import Filter
from aura.web.entries import entries_of
from aura.web.rendering import PageRoute, page, part_of_page, texts_of
from aura.web.tracks import tracks_of
from aura.web.verdict_view import cards_of, limits_of, verdict_of

if TYPE_CHECKING:
    from aura.service.context import Service
    from aura.web.texts import Texts

router = APIRouter(route_class=PageRoute)

RECENT = 6
PAGE_LENGTH = 24
MAX_SEARCH = 100  # characters


@router.get("/")
def home(request: Request, service: TheService, user: Reader) -> Response:
    """Where a video is handed in."""
    t = texts_of(request)
    jobs = service.store.list(user.name, limit=RECENT)
    settings = service.settings
    return page(
        request,
        "home.html.j2",
        user=user,
        entries=entries_of(service, jobs),
        limits=limits_of({"limits": {"error_rates": _error_rates()}}, t),
        media_days=f"{settings.media_days:g}",
        max_upload=settings.max_upload,
        max_minutes=f"{settings.max_duration / 60:g}",
    )


@router.get("/history")
def history(
    request: Request,
    service: TheService,
    user: Reader,
    q: Annotated[str, Query(max_length=MAX_SEARCH)] = "",
    verdict: Literal["", "real", "fake", "uncertain"] = "",
    before: Annotated[str | None, Query(pattern=ID)] = None,
    pick: Annotated[str | None, Query(pattern=ID)] = None,
) -> Response:
    """Everything that was handed in, newest first; htmx asks for the list alone."""
    wanted = Filter(verdict=verdict or None, text=q.strip() or None)
    jobs = service.store.list(user.name, wanted=wanted, limit=PAGE_LENGTH, before=before)
    template = "_entries.html.j2" if part_of_page(request) else "history.html.j2"
    return page(
        request,
        template,
        user=user,
        entries=entries_of(service, jobs),
        next=jobs[-1].id if len(jobs) == PAGE_LENGTH else None,
        q=q,
        verdict=verdict,
        first=before is None,
        picked=pick,
    )


@router.get("/compare")
def compare(
    request: Request,
    service: TheService,
    user: Reader,
    job: Annotated[list[str], Query(min_length=2, max_length=2)],
) -> Response:
    """Two results side by side."""
    t = texts_of(request)
    sides = [_side(service, user.name, job_id, t) for job_id in job]
    names = list(dict.fromkeys(card.name for side in sides for card in side["cards"]))
    found = [{card.name: card for card in side["cards"]} for side in sides]
    table = [(name, found[0].get(name), found[1].get(name)) for name in names]
    same = {
        "bytes": sides[0]["job"].media_sha256 == sides[1]["job"].media_sha256,
        "method": sides[0]["method"] == sides[1]["method"],
    }
    return page(request, "compare.html.j2", user=user, sides=sides, table=table, same=same)


def _side(service: Service, owner: str, job_id: str, t: Texts) -> dict[str, Any]:
    job = service.store.get(job_id, owner) if len(job_id) <= 32 else None
    if job is None or job.state is not JobState.COMPLETED:
        raise not_found()
    report: dict[str, Any] = service.store.report(job_id) or {}
    metadata = report.get("metadata") or {}
    return {
        "job": job,
        "entry": entries_of(service, [job])[0],
        "verdict": verdict_of(report, t),
        "cards": cards_of(report, t),
        "tracks": tracks_of(report, t),
        "method": (metadata.get("config_sha256"), metadata.get("weights_sha256")),
        "model": metadata.get("model_version"),
    }


def _error_rates() -> dict[str, Any] | None:
    try:
        rates = load_profile().error_rates
    except AuraError:
        return None
    return rates.model_dump() if rates else None
