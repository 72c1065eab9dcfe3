"""Routes for those who run the service: is it well, what does it run, what does it do."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from aura import __version__
from aura.errors import AuraError, WeightsError
from aura.profiles import equipped, load_profile, profile_names
from aura.report import SCHEMA_VERSION
from aura.service.access import Reader, TheService
from aura.service.context import Service
from aura.service.database import check_revision
from aura.service.problems import Problem, documented
from aura.service.reports import cards
from aura.service.schemas import Alive, Model, ProfileInfo, Ready, Versions

router = APIRouter(tags=["operation"])

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OK = "ok"


@router.get("/health/live", summary="Whether the process answers")
def live() -> Alive:
    """Restart the process when this fails."""
    return Alive()


@router.get("/health/ready", responses=documented(503), summary="Whether work would be done")
def ready(request: Request, service: TheService) -> Ready:
    """Send no work while this fails."""
    parts = {"database": _database(service), "storage": _storage(service)}
    embedded = request.app.state.embedded
    if embedded is not None:
        parts["workers"] = OK if embedded.process_ids else "no worker runs"
    wrong = [f"{name}: {state}" for name, state in parts.items() if state != OK]
    if wrong:
        raise Problem(503, "not_ready", "; ".join(wrong), {"Retry-After": "5"})
    return Ready(parts=parts)


@router.get("/version", summary="Which version, profiles and networks answer here")
def version() -> Versions:
    """What a report from here can be traced to."""
    profiles = []
    for name in profile_names():
        profile = load_profile(name)
        try:
            found = cards(name)
            profile = equipped(profile)
        except WeightsError:
            found = ()
        profiles.append(
            ProfileInfo(
                name=name,
                version=profile.version,
                config_sha256=profile.config_sha256,
                available=bool(found),
                models=[
                    Model(
                        name=card.name,
                        version=card.version,
                        sha256=card.sha256,
                        architecture=card.architecture,
                        licence=card.licence,
                    )
                    for card in found
                ],
            )
        )
    return Versions(version=__version__, report_schema=SCHEMA_VERSION, profiles=profiles)


@router.get(
    "/signing-key",
    response_class=Response,
    responses={
        200: {"description": "PEM.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
    summary="The public key that reports are signed with",
)
def signing_key(service: TheService) -> Response:
    """Save it and trust it: `aura signer trust NAME FILE`; then `aura verify` knows its reports."""
    return Response(service.signer.public_pem, 200, None, "text/plain; charset=utf-8")


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        **documented(401, 403),
        200: {"description": "Figures.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
    summary="Figures for Prometheus",
)
def metrics(request: Request, user: Reader) -> Response:
    """Queue depth and age, stage times, verdicts, webhooks, GPU memory, answers."""
    del user
    return Response(request.app.state.metrics.text(), 200, None, METRICS_TYPE)


def _database(service: Service) -> str:
    try:
        check_revision(service.engine)
    except AuraError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - any driver's
        return f"can't be asked ({type(error).__name__})"
    return OK


def _storage(service: Service) -> str:
    try:
        service.storage.check()
    except OSError as error:
        return str(error)
    return OK
