"""The application: routes, errors, headers, logs."""

from __future__ import annotations

import importlib
import importlib.util
import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from fastapi.responses import PlainTextResponse

from aura import __version__
from aura.service import problems, routes_artifacts, routes_health, routes_jobs, routes_submit
from aura.service.keys import any_key
from aura.service.links import open_signer
from aura.service.logs import get_logger
from aura.service.metrics import Metrics
from aura.service.schemas import AnalyzeUrl, BatchUrls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from aura.service.context import Service
    from aura.service.embedded import EmbeddedWorkers
    from aura.service.extensions import Extension

log = get_logger("api")

DESCRIPTION = """Says, with evidence, whether a talking-head video is manipulated.

Submit a video, follow the events of its job or ask for its state, and get a report. A score is no
finding of fact: read `limits` beside it.

Every error is `application/problem+json`. Keys go into `Authorization: Bearer`; a service that is
bound to this machine only needs none.
"""

NO_PAGE = (
    "The API runs; /openapi.json describes it.\n"
    "For the web page: pip install 'aura-veracity[web]', then start again.\n"
)
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
PRIVATE = (b"cache-control", b"no-store")
QUIET = frozenset({"/health/live", "/health/ready", "/metrics"})  # asked for every few seconds


def create_app(
    service: Service,
    embedded: EmbeddedWorkers | None = None,
    *,
    only_local: bool = False,
    extensions: Sequence[Extension] = (),
) -> FastAPI:
    """The application on a service.

    Args:
        service: its database and storage.
        embedded: the workers beside it, if it has any.
        only_local: nobody but this machine can connect. Then no key is needed until one is made.
        extensions: what others add.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.stopping = True

    app = FastAPI(
        title="Aura",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere; /openapi.json is there
        redoc_url=None,
    )
    state = app.state
    state.service, state.embedded, state.stopping = service, embedded, False
    state.signer, state.metrics = open_signer(service.settings), Metrics(service)
    state.sign_ins = tuple(one.sign_in for one in extensions if one.sign_in is not None)
    guarded = service.settings.require_keys or bool(state.sign_ins)
    state.keys_needed = not only_local or guarded or any_key(service.engine)
    problems.install(app)
    for module in (routes_submit, routes_jobs, routes_artifacts, routes_health):
        app.include_router(module.router)
    for extension in extensions:
        if extension.router is not None:
            app.include_router(extension.router)
    _add_pages(app)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Idempotency-Key", "Last-Event-ID"],
            expose_headers=["Location", "Retry-After"],
        )
    app.add_middleware(_Edge)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _add_pages(app: FastAPI) -> None:
    """The web page, where its extra is installed; else `/` says how to have it."""
    if importlib.util.find_spec("jinja2") is not None:
        # By name: the page stands above the service, which runs without it.
        importlib.import_module("aura.web.mount").mount(app)
        return

    @app.get("/", include_in_schema=False)
    def no_page() -> PlainTextResponse:
        return PlainTextResponse(NO_PAGE)


class _Edge:
    """Outermost: a request's id, its line in the log, its count, and headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, began, status = uuid.uuid4().hex[:16], time.monotonic(), 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                more = [(b"x-request-id", request_id.encode()), *HEADERS, PRIVATE]
                added = [(name, value) for name, value in more if name not in given]
                message["headers"] = [*message["headers"], *added]
                self._count(scope, status, time.monotonic() - began)
            await send(message)

        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_on)
        finally:
            if scope["path"] not in QUIET:
                job_id = scope.get("path_params", {}).get("job_id")
                named = {"job_id": job_id} if job_id else {}
                milliseconds = round(1000 * (time.monotonic() - began), 1)
                log.info(
                    "answered",
                    method=scope["method"],
                    route=_route(scope),
                    status=status,
                    ms=milliseconds,
                    **named,
                )

    @staticmethod
    def _count(scope: Scope, status: int, seconds: float) -> None:
        metrics: Metrics = scope["app"].state.metrics
        metrics.count(_route(scope), scope["method"], status, seconds)


def _route(scope: Scope) -> str:
    """The route's pattern: a path as it came could hold anything, and anything often."""
    return getattr(scope.get("route"), "path", "none")


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description, with the parts that routes read by themselves."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        )
        schemas = schema["components"]["schemas"]
        template = "#/components/schemas/{model}"
        for model in (problems.ProblemBody, AnalyzeUrl, BatchUrls):
            made = model.model_json_schema(ref_template=template)
            schemas.update(made.pop("$defs", {}))
            schemas[model.__name__] = made
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = schema
    return app.openapi_schema
