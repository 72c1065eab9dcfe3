"""Who is asking, and whether they may.

On a loopback address without any key there is one user, `local`, and no key is asked for: whoever
can connect sits at this machine. A browser there could be made to ask by a page from elsewhere, so
in this mode only requests are answered that name a loopback host, and none that another site sends.

Elsewhere a key is needed, or the cookie of a browser that signed in with one. A browser sends a
cookie along whoever makes it ask, so with one nothing changes unless the page that asks is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from aura.service.admission import Limits
from aura.service.context import Service
from aura.service.keys import SCOPES, find_key
from aura.service.logs import get_logger
from aura.service.problems import Problem
from aura.service.sessions import COOKIE, session_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aura.service.settings import Settings

audit = get_logger("audit")

LOCAL_USER = "local"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
BURST_SECONDS = 60.0
BURST_LIMIT = 120  # submissions within so long, where the settings say nothing
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer aura_...`")
header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")


@dataclass(frozen=True)
class User:
    """Who is asking, and how much they may send."""

    name: str
    key_id: str | None
    scopes: frozenset[str]
    limits: Limits


def limits_of(
    settings: Settings,
    daily: int | None = None,
    concurrent: int | None = None,
    burst: int = BURST_LIMIT,
) -> Limits:
    """A key's own limits, or the settings' where it has none; `burst` where those are silent."""
    if settings.burst_limit is not None:
        burst = settings.burst_limit
    return Limits(
        daily=daily or settings.daily_limit or None,
        concurrent=concurrent or settings.concurrent_limit or None,
        burst=burst or None,
        burst_seconds=BURST_SECONDS,
    )


async def service_of(request: Request) -> Service:
    """What the application was made with."""
    # A coroutine, as all that asks nobody: what is none is sent to a thread and back.
    service: Service = request.app.state.service
    return service


async def identify(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)] = None,
    key_header: Annotated[str | None, Security(header)] = None,
) -> User:
    """The user behind a request.

    Raises:
        Problem: 401 without a valid key, 403 for a page of another site.
    """
    service: Service = request.app.state.service
    if not request.app.state.keys_needed:
        _check_local(request)
        limits = limits_of(service.settings, burst=0)
        return User(LOCAL_USER, None, frozenset(SCOPES), limits)
    text = credentials.credentials if credentials else key_header
    token = request.cookies.get(COOKIE)
    key = None
    if text:
        key = await run_in_threadpool(find_key, service.engine, text)
    elif token:
        check_same_site(request)
        key = await run_in_threadpool(session_key, service.engine, token)
    if key is None and text:
        owner = await run_in_threadpool(_signed_in, request, text)
        if owner is not None:
            return User(owner, None, frozenset(SCOPES), limits_of(service.settings))
    if key is None:
        if text:
            audit.warning("key_refused", address=_address(request), path=request.url.path)
        raise Problem(
            401,
            "key_needed",
            "give a valid API key: `Authorization: Bearer aura_...`",
            {"WWW-Authenticate": "Bearer"},
        )
    limits = limits_of(service.settings, key.daily_limit, key.concurrent_limit)
    return User(key.owner, key.id, frozenset(key.scopes), limits)


def check_same_site(request: Request) -> None:
    """Refuse to change anything for a page of another site.

    Raises:
        Problem: 403.
    """
    if request.method in SAFE_METHODS:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:  # the browser says so itself, and no page can make it lie
        same = site == "same-origin"
    else:
        same = origin is not None and urlsplit(origin).netloc == request.url.netloc
    if not same:
        raise Problem(403, "other_site", "a page of another site may not use this service")


def _signed_in(request: Request, text: str) -> str | None:
    """Whom the sign-in of somebody else, if there is one, knows by this; it may ask elsewhere."""
    owners: Iterator[str | None] = (sign(text) for sign in request.app.state.sign_ins)
    return next(filter(None, owners), None)


def needing(scope: str) -> Callable[..., Awaitable[User]]:
    """A dependency: a user whose key has this scope."""

    async def check(request: Request, user: Annotated[User, Depends(identify)]) -> User:
        if scope not in user.scopes:
            audit.warning("scope_refused", key=user.key_id, scope=scope, path=request.url.path)
            raise Problem(403, "scope_missing", f"this key lacks the scope `{scope}`")
        return user

    return check


def _check_local(request: Request) -> None:
    host = (request.url.hostname or "").strip("[]")
    if host not in LOOPBACK_NAMES:
        raise Problem(
            403,
            "not_local",
            "without keys only requests to localhost are answered; make a key to use another name",
        )
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "none")
    here = f"{request.url.scheme}://{request.url.netloc}"
    allowed = {here, *request.app.state.service.settings.cors_origins}
    foreign = origin is not None and origin not in allowed
    if foreign or (origin is None and site not in {"none", "same-origin"}):
        raise Problem(403, "other_site", "a page of another site may not use this service")


def _address(request: Request) -> str | None:
    return request.client.host if request.client else None


Reader = Annotated[User, Depends(needing("read"))]
Submitter = Annotated[User, Depends(needing("submit"))]
Eraser = Annotated[User, Depends(needing("erase"))]
TheService = Annotated[Service, Depends(service_of)]
