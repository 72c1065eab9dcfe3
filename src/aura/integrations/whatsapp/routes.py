"""The webhook that Meta calls. Open to the world, so everything is checked before it is read."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from aura.integrations.whatsapp.payload import read_payload
from aura.service.logs import get_logger
from aura.service.problems import Problem

if TYPE_CHECKING:
    from aura.integrations.whatsapp.bot import Bot

log = get_logger("whatsapp")

PATH = "/whatsapp/webhook"
MAX_BODY = 3 * 2**20  # bytes; Meta sends no more
MAX_CHALLENGE = 200
SIGNATURE_START = "sha256="


def signature_fits(secret: str, body: bytes, header: str | None) -> bool:
    """Whether `X-Hub-Signature-256` was made from these bytes with this secret.

    >>> signature_fits("key", b"{}", "sha256=" + hmac.new(b"key", b"{}", "sha256").hexdigest())
    True
    """
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    given = (header or "").removeprefix(SIGNATURE_START)
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))


def make_router(bot: Bot) -> APIRouter:
    """The two routes, on one bot."""
    router = APIRouter(include_in_schema=False)

    @router.get(PATH)
    def verify(
        mode: Annotated[str, Query(alias="hub.mode")] = "",
        token: Annotated[str, Query(alias="hub.verify_token")] = "",
        challenge: Annotated[str, Query(alias="hub.challenge", max_length=MAX_CHALLENGE)] = "",
    ) -> Response:
        """Meta asks once whether this is the address that was meant."""
        expected = bot.settings.verify_token.encode()
        same = hmac.compare_digest(expected, token.encode("utf-8", "replace"))
        if mode != "subscribe" or not same:
            log.warning("verification_refused")
            raise Problem(403, "refused", "this is not the verify token of this bot")
        return Response(challenge, media_type="text/plain")

    @router.post(PATH)
    async def receive(request: Request, background: BackgroundTasks) -> Response:
        """Write down what came, and answer; the work is done afterwards."""
        body = await _body(request)
        if not signature_fits(
            bot.settings.app_secret, body, request.headers.get("x-hub-signature-256")
        ):
            log.warning("signature_refused", bytes=len(body))
            raise Problem(403, "refused", "the signature does not fit")
        try:
            payload = json.loads(body)
        except (ValueError, RecursionError):
            raise Problem(400, "malformed", "the body is no JSON") from None
        incoming, delivered = read_payload(payload, bot.settings.phone_id)
        await run_in_threadpool(bot.take_in, incoming, delivered)
        background.add_task(bot.work)  # at once; whatever is left the housekeeping does
        return Response(status_code=200)

    return router


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Problem(413, "too_large", f"the body may have {MAX_BODY} bytes")
    return bytes(body)
