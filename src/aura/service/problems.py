"""Every error of the API as problem+json (RFC 9457); the one place that maps errors to statuses."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from aura.errors import AuraError, InputError, UsageError
from aura.service.admission import IdempotencyConflict, LimitReached
from aura.service.logs import get_logger
from aura.service.storage import StorageAway

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

log = get_logger("api")
audit = get_logger("audit")

MEDIA_TYPE = "application/problem+json"


class ProblemBody(BaseModel):
    """What went wrong, for programs (`type`, `status`) and for people (`title`, `detail`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:aura:problem:no_video",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "voice.mp3 has sound but no pictures; give a video file",
                }
            ]
        }
    )

    type: str = Field(description="Names the kind of problem; stable.")
    title: str
    status: int
    detail: str = Field(description="One sentence: what happened and what to do.")
    errors: list[dict[str, Any]] | None = Field(
        None, description="Fields that do not fit, where there are any."
    )


class Problem(AuraError):
    """An answer other than success."""

    def __init__(
        self, status: int, kind: str, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.problem_kind = kind
        self.headers = headers or {}


def not_found() -> Problem:
    """There is no such thing, or it is somebody else's; which, is not told."""
    return Problem(404, "not_found", "there is nothing here that you may see; check the address")


def problem_response(
    status: int,
    kind: str,
    detail: str,
    headers: dict[str, str] | None = None,
    errors: list[dict[str, Any]] | None = None,
) -> JSONResponse:
    """The answer."""
    body = ProblemBody(
        type=f"urn:aura:problem:{kind}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=errors,
    )
    content = body.model_dump(exclude_none=True)
    return JSONResponse(content, status, headers=headers, media_type=MEDIA_TYPE)


# What a status means here; the documentation of each route picks from it.
MEANINGS = {
    400: "The request is malformed.",
    401: "A key is needed, or this one is not valid.",
    403: "This key, link or origin may not do that.",
    404: "There is no such job, or it is not yours.",
    405: "The address knows no such method.",
    408: "The upload came too slowly.",
    409: "The job's state, or an earlier request, does not allow this.",
    413: "The upload is larger than is allowed.",
    415: "The body is of a type that is not taken.",
    416: "Nothing of the range lies within the file.",
    422: "The request or the file can't be used; the detail says why.",
    429: "Sent enough for now; see Retry-After.",
    503: "Not ready; try again.",
    507: "The server's disk is full.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that may answer with these problems."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {
        status: {"description": MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Make every error of the application a problem."""

    @app.exception_handler(Problem)
    def on_problem(_request: Request, error: Problem) -> JSONResponse:
        return problem_response(error.status, error.problem_kind, str(error), error.headers)

    @app.exception_handler(LimitReached)
    def on_limit(_request: Request, error: LimitReached) -> JSONResponse:
        audit.warning("limit_reached", user=error.owner, why=str(error))
        wait = {"Retry-After": str(max(1, round(error.retry_after)))}
        return problem_response(429, error.kind, str(error), wait)

    @app.exception_handler(IdempotencyConflict)
    def on_conflict(_request: Request, error: IdempotencyConflict) -> JSONResponse:
        return problem_response(409, error.kind, str(error))

    @app.exception_handler(StorageAway)
    def on_storage_away(_request: Request, error: StorageAway) -> JSONResponse:
        log.warning("storage_away", error=str(error)[:300])
        text = "the server can't store or read files now; nothing was taken in, try again"
        return problem_response(503, error.kind, text, {"Retry-After": "30"})

    @app.exception_handler(InputError)
    @app.exception_handler(UsageError)
    def on_input(_request: Request, error: AuraError) -> JSONResponse:
        return problem_response(422, error.kind, str(error))

    @app.exception_handler(RequestValidationError)
    def on_validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        # Without what was sent: it might be a secret, and it need not be JSON.
        found = [
            {"where": ".".join(str(part) for part in item["loc"]), "what": item["msg"]}
            for item in error.errors()
        ]
        return problem_response(422, "invalid", "some fields do not fit; see `errors`", None, found)

    @app.exception_handler(HTTPException)
    def on_http(_request: Request, error: HTTPException) -> JSONResponse:
        kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        headers = dict(error.headers) if error.headers else None
        return problem_response(error.status_code, kind, str(error.detail), headers)

    @app.exception_handler(Exception)
    def on_anything(_request: Request, error: Exception) -> JSONResponse:
        log.error("unforeseen", exc_info=error)
        return problem_response(
            500, "internal", "something went wrong; the operator's log says what"
        )
