"""Errors as `application/problem+json` (RFC 9457), and the middleware of every request."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from service.errors import UnavailableError
from service.http.answers import Answer
from service.http.heads import REQUEST_ID, USUAL_HEADERS

_SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_NO_DATABASE = "The database does not answer right now; try again."
_NOT_A_FAULT_BELOW = 400

log = structlog.get_logger()


class ProblemError(Exception):
    """A request that is answered with a problem response."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def bad_request(detail: str) -> ProblemError:
    """Return a 400."""
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)


def unavailable(detail: str, retry_after_s: int = 2) -> ProblemError:
    """Return a 503 with a Retry-After header."""
    headers = {"Retry-After": str(retry_after_s)}
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers)


@web.middleware
async def envelope(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, and answer any exception with a problem."""
    request_id = _request_id(request)
    try:
        response = await handler(request)
    except ProblemError as error:
        response = _problem(error, request_id)
    except UnavailableError as error:
        log.warning("answered 503", path=request.path, error=str(error), request_id=request_id)
        response = _problem(unavailable(_NO_DATABASE), request_id)
    except web.HTTPException as error:
        if error.status < _NOT_A_FAULT_BELOW:
            error.headers["X-Request-ID"] = request_id
            raise
        response = _problem(_from_router(error), request_id)
    except Exception as error:
        if isinstance(error, ConnectionError) and _has_gone(request):
            log.info("a client went before its answer", path=request.path, request_id=request_id)
        else:
            log.exception("a handler failed", path=request.path, request_id=request_id)
        response = _problem(
            ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "An unexpected error; see the log."),
            request_id,
        )
    if not isinstance(response, Answer) and not response.prepared:
        _add_usual_headers(response, request_id)
    return response


def json_body(value: object) -> bytes:
    """Encode a value as JSON with a line feed, in the API's names and time format."""
    return msgspec.json.encode(value) + b"\n"


def json_response(value: object, status: int = 200) -> web.Response:
    """Answer with a value as JSON."""
    return web.Response(body=json_body(value), status=status, content_type="application/json")


def problem_body(status: HTTPStatus, detail: str, request_id: str) -> bytes:
    """Return the body of a problem."""
    return json_body(
        {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": detail,
            "requestId": request_id,
        }
    )


def problem_response(status: HTTPStatus, detail: str | None = None) -> web.Response:
    """Return a problem for a request that reached no handler."""
    request_id = new_request_id()
    response = _problem(ProblemError(status, detail or status.phrase), request_id)
    _add_usual_headers(response, request_id)
    return response


def new_request_id() -> str:
    """Return a random request id, which is not secret."""
    return f"{random.getrandbits(64):016x}"


def _add_usual_headers(response: web.StreamResponse, request_id: str) -> None:
    response.headers["X-Request-ID"] = request_id
    if isinstance(response, web.Response):
        for name, value in USUAL_HEADERS.items():
            response.headers.setdefault(name, value)


def _has_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-ID")
    request_id = given if given and _SAFE_REQUEST_ID.fullmatch(given) else new_request_id()
    request[REQUEST_ID] = request_id
    return request_id


def _problem(error: ProblemError, request_id: str) -> web.Response:
    response = web.Response(
        body=problem_body(error.status, error.detail, request_id),
        status=error.status,
        headers=error.headers,
        content_type="application/problem+json",
    )
    if error.status == HTTPStatus.REQUEST_TIMEOUT:
        response.force_close()  # the rest of that body must not be parsed as a request
    return response


def _from_router(error: web.HTTPException) -> ProblemError:
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    details: dict[int, str] = {
        404: "There is no such route.",
        405: "The route does not take this method.",
        413: "The body is larger than 1 MiB.",
    }
    status = HTTPStatus(error.status)
    return ProblemError(status, details.get(error.status, status.phrase), headers)
