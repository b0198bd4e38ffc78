"""Bodies of requests: read whole, as received and within bounds, and decoded."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TypeVar

import msgspec
from aiohttp import web

from service.http.problems import ProblemError, bad_request

MOST_BODY_BYTES = 1024 * 1024
BODY_WITHIN_S = 10.0

Struct = TypeVar("Struct", bound=msgspec.Struct)


async def read_body(request: web.Request) -> bytes:
    """Read a whole body as received, within 1 MiB and 10 seconds."""
    if (request.content_length or 0) > MOST_BODY_BYTES:
        raise _too_large()
    try:
        if request.content.is_eof():  # it came with its head: a timer would cost 6 µs
            return _bounded(request.content.read_nowait(), request.client_max_size)
        async with asyncio.timeout(BODY_WITHIN_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except (web.RequestPayloadError, ConnectionError):
        raise bad_request("The body is malformed, or broke off.") from None
    except TimeoutError:
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time.") from None


def _bounded(body: bytes, most_bytes: int) -> bytes:
    if len(body) > most_bytes:
        raise _too_large()
    return body


def _too_large() -> ProblemError:
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is over 1 MiB.")


def decode_body(body: bytes, struct: type[Struct]) -> Struct:
    """Read a JSON body as a struct; 400 that names the place and the expected type, no value."""
    try:
        return msgspec.json.decode(body, type=struct)
    except msgspec.ValidationError as error:
        raise bad_request(f"The body does not fit: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise bad_request("The body is not JSON.") from None
