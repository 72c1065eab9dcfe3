"""Puts the pages on the service's application; `service.app` calls this by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.staticfiles import StaticFiles

from aura.web import routes_access, routes_pages, routes_results, routes_shared
from aura.web.rendering import STATIC

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.types import Scope

KEPT = "public, max-age=31536000, immutable"  # addresses name the file's content


class _Files(StaticFiles):
    """Files of the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One file, which browsers may keep when its address names the content."""
        answer = await super().get_response(path, scope)
        kept = answer.status_code == 200 and b"v=" in scope["query_string"]
        answer.headers["Cache-Control"] = KEPT if kept else "no-cache"
        return answer


def mount(app: FastAPI) -> None:
    """Add pages and their files."""
    for module in (routes_pages, routes_results, routes_shared, routes_access):
        app.include_router(module.router, include_in_schema=False)
    app.mount("/static", _Files(directory=STATIC), name="static")
