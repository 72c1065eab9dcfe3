"""Fills templates, and answers errors of the page's own routes as pages.

The page asks nothing of anybody but this service, and runs nothing that is not a file of its own:
the headers say so to the browser, so that even markup in a file's name could do nothing.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute

from aura import __version__
from aura.errors import AuraError
from aura.service.admission import LimitReached
from aura.service.problems import Problem
from aura.web.reading import loose, plain
from aura.web.said import said
from aura.web.texts import Texts, chosen, languages
from aura.web.tracks import lane_words

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Request

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"
LANGUAGE_COOKIE, THEME_COOKIE = "aura_language", "aura_theme"
THEMES = ("light", "dark")
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "media-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    # With `no-referrer` browsers send forms with `Origin: null`, and we could not tell our own.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page in the language and colours of whoever asks."""
    t = texts_of(request)
    state = request.app.state
    theme = request.cookies.get(THEME_COOKIE)
    shown = {
        "t": t,
        "request_path": request.url.path,
        "languages": languages(),
        "theme": theme if theme in THEMES else None,
        "keys_needed": state.keys_needed,
        "asset": asset,
        "version": __version__,
        "user": None,
    }
    html = _environment().get_template(template).render({**shown, **values})
    return HTMLResponse(html, status, headers=HEADERS)


def texts_of(request: Request) -> Texts:
    """The words for whoever asks."""
    wished = request.cookies.get(LANGUAGE_COOKIE)
    return chosen(wished, request.headers.get("accept-language"))


def part_of_page(request: Request) -> bool:
    """Whether htmx asks, for a part of a page."""
    return request.headers.get("hx-request") == "true"


def own_path(text: str) -> str:
    r"""A path on this server to go on to; anything else becomes the first page.

    >>> own_path("/history?q=a"), own_path("//evil.example/"), own_path("/\\evil.example")
    ('/history?q=a', '/', '/')
    """
    plain = text.isprintable() and text.startswith("/") and "\\" not in text
    return text if plain and not text.startswith("//") else "/"


class PageRoute(APIRoute):
    """A route whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with what people see when it fails."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError:
                return refusal(request, 404, "")
            except Problem as error:
                if error.status == 401:
                    return _to_sign_in(request)
                return refusal(request, error.status, str(error))
            except LimitReached as error:
                return refusal(request, 429, str(error))
            except AuraError as error:
                return refusal(request, 422, str(error))

        return answer


def refusal(request: Request, status: int, detail: str) -> Response:
    """Says in words why there is nothing to see."""
    nothing = "link" if request.url.path.startswith("/shared/") else "not_found"
    kind = {403: "forbidden", 404: nothing}.get(status, "other")
    return page(request, "message.html.j2", status, kind=kind, detail=detail)


def _to_sign_in(request: Request) -> Response:
    came_from = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = f"/sign-in?next={quote(came_from if request.method == 'GET' else '/')}"
    if part_of_page(request):
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)


@cache
def asset(name: str) -> str:
    """The address of a file of the page; it changes with the file, so it may be kept for long."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: plain(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(utc=_utc, size=_size, pc=_pc, said=said)
    environment.globals.update(lane_words=lane_words, none_yet=loose({}))
    return environment


def _utc(value: datetime | str | None) -> str:
    """A time as an attribute and as text: ISO 8601 in UTC, to the second."""
    if value is None:
        return ""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _size(count: float | None) -> str:
    """Bytes in words.

    >>> _size(427937), _size(12), _size(None)
    ('418 kB', '12 B', '')
    """
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.0f} {unit}"
        count /= 1024
    return ""


def _pc(share: float) -> str:
    """A share as a percentage for SVG attributes.

    >>> _pc(0.12345)
    '12.35%'
    """
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"
