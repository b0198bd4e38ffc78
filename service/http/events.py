"""Live names: a stream of Server-Sent Events with each identity that changes on any replica.

The format: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from service.http.auth import GRANT_UNTIL
from service.http.problems import REQUEST_ID, ProblemError
from service.http.users import user_ids
from service.identities.events import RELOAD, NoRoomError

if TYPE_CHECKING:
    from service.identities.events import Changes, Subscription

HEARTBEAT_S = 15.0
# A browser that has seen the id sends it as Last-Event-ID when it comes back: it has missed events.
OPENING = b"retry: 2000\nid: opened\n\n"
_BACKLOG_BYTES = 64 * 1024
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back
}


class EventRoutes:
    """Streams changes; a stream ends with its client, with its grant or with the service."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send identities as they change, those of `ids` if it is given."""
        ids = frozenset(user_ids(request)) if "ids" in request.query else None
        try:
            subscription = self._changes.subscribe(ids, partial(_abandon_backlog, request))
        except NoRoomError:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many event streams are open; try again.",
                {"Retry-After": "5"},
            ) from None
        try:
            return await _stream(request, subscription)
        finally:
            self._changes.unsubscribe(subscription)

    async def close(self, _: web.Application) -> None:
        """End every stream: the service stops."""
        self._changes.close()


async def _stream(request: web.Request, subscription: Subscription) -> web.StreamResponse:
    _limit_backlog(request)
    response = web.StreamResponse(headers=_HEADERS | {"X-Request-ID": request[REQUEST_ID]})
    await response.prepare(request)
    has_missed = "Last-Event-ID" in request.headers
    with suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_left_s(request)):
            await response.write(OPENING + RELOAD if has_missed else OPENING)
            while events := await subscription.next(HEARTBEAT_S):
                await response.write(events)
    subscription.end()
    return response


def _left_s(request: web.Request) -> float | None:
    """How long the client may watch; None without end."""
    until = request.get(GRANT_UNTIL)
    return None if until is None else (until - datetime.now(UTC)).total_seconds()


def _limit_backlog(request: web.Request) -> None:
    """Have the kernel hold little for a client, not megabytes, so that a slow one is noticed."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BACKLOG_BYTES)


def _abandon_backlog(request: web.Request) -> None:
    """Close the connection at once if the client has not taken what was written."""
    transport = request.transport
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()
