"""Failures as HTTP answers: which status each kind has, and the body that mParticle's API gives."""

import re
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from console.api import unread
from console.shapes.ground import ErrorBody, Message
from shared import errors
from shared.errors import Broken, Refused, SyncError, Transient
from shared.telemetry import log

_log = log(__name__)

STATUSES: Final[dict[type[SyncError], int]] = {
    errors.NotFound: 404,
    errors.AlreadyDeclared: 409,
    errors.MethodNotAllowed: 405,
    errors.ChangedMeanwhile: 412,
    errors.BodyTooLarge: 413,
    errors.SignInRefused: 401,
    errors.RoleTooLow: 403,
    errors.TooManySignIns: 429,
    errors.BodyTooSlow: 408,
    # Surprising but literal: whoever moves over from mParticle looks for this one. Source: mParticle, status codes.
    errors.WarehouseUnreachable: 505,
    errors.CredentialsRefused: 505,
    errors.FeedSignInRefused: 400,
    errors.QueryTimedOut: 504,
    errors.WarehouseBusy: 504,
    errors.ServiceUnavailable: 503,
    errors.DriverMissing: 503,
    # What is left of the families.
    Refused: 400,
    Transient: 503,
    Broken: 500,
}
_RETRY_AFTER_S: Final = 5
_NOT_KEPT: Final = (
    "the request holds what the state database cannot: the character U+0000, half of a surrogate pair, or a number "
    "beyond its range; leave it out"
)
_NO_ADDRESS: Final = (
    "there is nothing at this address; GET /openapi.json lists all that there are, most of them below "
    "/platform/v2/workspaces/{workspaceId}"
)


def status_of(error: SyncError) -> int:
    """Give the status that answers a failure: its own, or that of its family."""
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give the refusals of a route for its documentation, besides those that every route has."""
    return {
        status: {"model": ErrorBody, "description": _MEANINGS[status]}
        for status in sorted({400, 401, 403, 404, 408, 413, 503, *statuses})
    }


_MEANINGS: Final = {
    400: "The request cannot be, or the thing is in no state for it",
    401: "No token, or none that is valid",
    403: "The token's role is too low",
    404: "Nothing has this id",
    408: "The body did not arrive in time",
    409: "Something else has this id",
    412: "Somebody changed it since the version of If-Match",
    413: "The body has more bytes than are read",
    429: "Too many sign-ins failed; wait",
    503: "A worker, the broker, the state database or the spool does not answer, or too much is under way at once",
    504: "The warehouse did not answer in time",
    505: "The warehouse cannot be reached, or refused the sign-in",
}


def install(app: FastAPI) -> None:
    """Have every failure of an app answered in one shape."""

    @app.exception_handler(SyncError)
    def _failed(_: Request, error: SyncError) -> JSONResponse:
        return answer_of(error)

    @app.exception_handler(RequestValidationError)
    def _not_understood(_: Request, error: RequestValidationError) -> JSONResponse:
        return _answer(400, unread.sentences_of(error), errors.DeclarationInvalid.__name__, {})

    @app.exception_handler(DataError)
    @app.exception_handler(UnicodeEncodeError)
    def _not_kept(_: Request, error: Exception) -> JSONResponse:
        # Here rather than field by field: whatever a request holds, the database is the judge of what it can hold. Its
        # own words quote what was given, which may be a secret.
        _log.warning("value_not_kept", error_kind=type(error).__name__)
        return _answer(400, [_NOT_KEPT], errors.DeclarationInvalid.__name__, {})

    @app.exception_handler(HTTPException)
    def _of_the_framework(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        match error.status_code:
            case HTTPStatus.NOT_FOUND:
                return _answer(404, [_NO_ADDRESS], errors.NotFound.__name__, headers)
            case HTTPStatus.METHOD_NOT_ALLOWED:
                allowed = _allowed(app, request.url.path) or headers.get("Allow", "").split(", ")
                told = f"this address takes {' and '.join(allowed)}, and no other method"
                headers["Allow"] = ", ".join(allowed)
                return _answer(405, [told], errors.MethodNotAllowed.__name__, headers)
            case HTTPStatus.BAD_REQUEST:  # A body that its JSON parser gave up.
                told = unread.sentence_of(error.__cause__)
                return _answer(400, [told], errors.DeclarationInvalid.__name__, headers)
            case status:
                return _answer(status, [str(error.detail)], None, headers)


def answer_of(error: SyncError) -> JSONResponse:
    """Give the answer that tells a failure; ours are logged as well."""
    status = status_of(error)
    if isinstance(error, Broken):
        _log.error("request_failed", error_kind=type(error).__name__, error=str(error))
    headers = {"Retry-After": str(_wait_s(error))} if isinstance(error, Transient) else {}
    if status == STATUSES[errors.SignInRefused]:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.BodyTooSlow):  # The rest of the body would be taken for the next request.
        headers["Connection"] = "close"
    if isinstance(error, errors.AlreadyInProgress):
        return _busy(status, error)
    # A declaration with several mistakes names one a line.
    return _answer(status, sentences(str(error)), type(error).__name__, headers)


def _allowed(app: FastAPI, address: str) -> list[str]:
    """Give the methods of an address; the framework knows those of the first route of several that match it."""
    paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
    matching = [path for path in paths if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", path), address)]
    # /alerts/test is described as itself, and is also what /alerts/{id} would match.
    closest = min(matching, key=lambda path: path.count("{"), default=None)
    return [] if closest is None else sorted(method.upper() for method in paths[closest])


def _wait_s(error: Transient) -> int:
    return error.wait_s if isinstance(error, errors.TooManySignIns) else _RETRY_AFTER_S


def _busy(status: int, error: errors.AlreadyInProgress) -> JSONResponse:
    """Answer as mParticle does, to the letter, and say in a second message what to do.

    Source: mParticle, Warehouse Sync API v1, "Errors".
    """
    busy, _, more = str(error).partition(" is already in progress")
    sentence = more.removeprefix(":").removeprefix(".").strip() or "wait until its run has ended, or cancel it first"
    confirmed = Message(message=f"{busy} is already in progress.")
    body = ErrorBody(statusCode=status, errors=(confirmed, Message(message=sentence, code=type(error).__name__)))
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), status)


def sentences(told: str) -> list[str]:
    """Give what a failure says, a mistake a line, without the heading over several: programs show the first."""
    heading, *mistakes = (line.strip() for line in told.splitlines() or [""])
    return mistakes if mistakes and heading.endswith(":") else [heading, *mistakes]


def _answer(status: int, sentences: list[str], code: str | None, headers: dict[str, str]) -> JSONResponse:
    # Half a surrogate pair, which JSON can carry and UTF-8 cannot, is shown as what it is.
    shown = [one.encode("utf-8", "backslashreplace").decode() for one in sentences]
    body = ErrorBody(statusCode=status, errors=tuple(Message(message=one, code=code) for one in shown))
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), status, headers)
