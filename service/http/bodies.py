"""Bodies of requests: read whole, as received and within bounds, and decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TypeVar

import msgspec
from aiohttp import StreamReader, web

from service.http.problems import ProblemError, bad_request, unavailable
from service.wording import printable

MOST_BODY_BYTES = 1024 * 1024
MOST_HELD_BYTES = 64 * 1024 * 1024
BODY_WITHIN_S = 10.0
_MOST_WORDS = 200

Struct = TypeVar("Struct", bound=msgspec.Struct)


class HeldBytes:
    """Limits the bytes of incomplete bodies that this process holds for all TCP connections."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    @contextmanager
    def count(self) -> Iterator[Callable[[int], None]]:
        """Count the bytes of one body until the block ends; raises 503 above the limit."""
        own = 0

        def add(size: int) -> None:
            nonlocal own
            if self.held + size > self._most:
                raise unavailable("Too many bodies are arriving at once; try again.")
            own += size
            self.held += size

        try:
            yield add
        finally:
            self.held -= own


HELD = HeldBytes(MOST_HELD_BYTES)


async def read_body(request: web.Request) -> bytes:
    """Read a whole body as received, within 1 MiB, 10 seconds and the limit of the process.

    A body that arrived with its head is not counted.
    """
    if (request.content_length or 0) > MOST_BODY_BYTES:
        raise _too_large()
    try:
        if request.content.is_eof():  # a timer would cost 6 µs
            return _bounded(request.content.read_nowait(), request.client_max_size)
        with HELD.count() as add:
            async with asyncio.timeout(BODY_WITHIN_S):
                return await _read_rest(request.content, request.client_max_size, add)
    except (web.RequestPayloadError, ConnectionError):
        raise bad_request("The body is malformed or incomplete.") from None
    except TimeoutError:
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time.") from None


async def _read_rest(content: StreamReader, most: int, add: Callable[[int], None]) -> bytes:
    body = bytearray()
    while piece := await content.readany():
        add(len(piece))
        body += piece
        if len(body) > most:
            raise _too_large()
    return bytes(body)


def _bounded(body: bytes, most: int) -> bytes:
    if len(body) > most:
        raise _too_large()
    return body


def _too_large() -> ProblemError:
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is over 1 MiB.")


def decode_body(body: bytes, struct: type[Struct]) -> Struct:
    """Read a JSON body as a struct; raises a 400 with the field and its type, never a value."""
    try:
        return msgspec.json.decode(body, type=struct)
    except msgspec.ValidationError as error:
        raise bad_request(
            f"The body does not fit: {_bounded_words(_in_words(str(error)))}."
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise bad_request("The body is not JSON.") from None


def _bounded_words(text: str) -> str:
    """Shorten a message that can contain a field name from the client."""
    words = printable(text)
    return words if len(words) <= _MOST_WORDS else words[:_MOST_WORDS] + "…"


def _in_words(message: str) -> str:
    """Replace a regular expression in a message with words."""
    what, _, place = message.partition(" - at ")
    if "matching regex" not in what:
        return message
    return f"it has a blank at an end or an invalid character - at {place}"
