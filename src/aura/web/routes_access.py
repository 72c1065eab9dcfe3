"""Signing in and out, and what a browser remembers: language and colours."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from aura.service.access import TheService, audit, check_same_site
from aura.service.keys import find_key
from aura.service.sessions import COOKIE, LASTS, close_session, open_session
from aura.web.rendering import (
    LANGUAGE_COOKIE,
    THEME_COOKIE,
    THEMES,
    PageRoute,
    own_path,
    page,
)
from aura.web.texts import languages

router = APIRouter(route_class=PageRoute, dependencies=[Depends(check_same_site)])

YEAR = 365 * 24 * 3600
Next = Annotated[str, Form(alias="next", max_length=2000)]


@router.get("/sign-in")
def ask(
    request: Request, target: Annotated[str, Query(alias="next", max_length=2000)] = "/"
) -> Response:
    """Ask for a key."""
    if not request.app.state.keys_needed:
        return RedirectResponse("/", 303)
    return page(request, "sign_in.html.j2", next=own_path(target), refused=False)


@router.post("/sign-in")
def sign_in(
    request: Request,
    service: TheService,
    key: Annotated[str, Form(max_length=200)] = "",
    target: Next = "/",
) -> Response:
    """Take a key, and give the browser a session."""
    found = find_key(service.engine, key.strip())
    if found is None:
        audit.warning("sign_in_refused", address=request.client.host if request.client else None)
        return page(request, "sign_in.html.j2", 401, next=own_path(target), refused=True)
    audit.info("signed_in", user=found.owner, key=found.id)
    answer = RedirectResponse(own_path(target), 303)
    answer.set_cookie(
        COOKIE,
        open_session(service.engine, found),
        max_age=int(LASTS.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=_encrypted(request),
    )
    return answer


@router.post("/sign-out")
def sign_out(request: Request, service: TheService) -> RedirectResponse:
    """End the session, here and in the table."""
    token = request.cookies.get(COOKIE)
    if token:
        close_session(service.engine, token)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.post("/appearance")
def appearance(
    request: Request,
    language: Annotated[str, Form(max_length=10)] = "",
    theme: Annotated[str, Form(max_length=10)] = "",
    target: Next = "/",
) -> RedirectResponse:
    """Remember a language, or light and dark."""
    answer = RedirectResponse(own_path(target), 303)
    for cookie, value, known in (
        (LANGUAGE_COOKIE, language, languages()),
        (THEME_COOKIE, theme, THEMES),
    ):
        if value in known:
            answer.set_cookie(
                cookie,
                value,
                max_age=YEAR,
                httponly=True,
                samesite="lax",
                secure=_encrypted(request),
            )
    return answer


def _encrypted(request: Request) -> bool:
    """Whether the browser came over TLS, as far as a proxy in front says so.

    The header can be forged; whoever does that only keeps a cookie from travelling in the clear.
    """
    return "https" in {request.url.scheme, request.headers.get("x-forwarded-proto")}
