"""Live names: a stream of Server-Sent Events with each identity that any replica changes.

The format: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from aiohttp import web

from service.http.addresses import counted_as, is_near
from service.http.connection import Connection
from service.http.heads import GRANTED, REQUEST_ID
from service.http.problems import ProblemError, unavailable
from service.http.users import user_ids
from service.identities import events
from service.identities.events import RELOAD, Changes, Subscription, SubscriptionLimitError

HEARTBEAT_S = 15.0
MOST_A_GRANT = 20  # tabs of one browser
MOST_A_FAR = 100  # streams of one address
NEAR_SHARE = 0.75  # of all streams, for one address of a private network: a proxy
# A browser sends this id as Last-Event-ID when it reconnects: it may have missed events.
OPENING = b"retry: 2000\nid: opened\n\n"
_BACKLOG_BYTES = 64 * 1024
_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",  # otherwise nginx buffers events
}


class EventRoutes:
    """Streams changes until the client disconnects, its grant expires or the service stops."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._open: Counter[str] = Counter()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send identities when they change; only those in `ids` if it is given."""
        ids = frozenset(user_ids(request)) if "ids" in request.query else None
        try:
            subscription = self._changes.subscribe(ids, partial(_abandon_backlog, request))
        except SubscriptionLimitError:
            raise unavailable("Too many event streams are open; try again.", 5) from None
        try:
            with self._counted(request):
                return await _stream(request, subscription)
        finally:
            self._changes.unsubscribe(subscription)

    @contextmanager
    def _counted(self, request: web.Request) -> Iterator[None]:
        """Count a stream by grant and address; raises 429 if either has too many."""
        counted = _bounds(request)
        if any(self._open[each] >= most for each, most in counted.items()):
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Too many event streams are open with this grant, or from this address.",
                {"Retry-After": "5"},
            )
        self._open.update(counted.keys())
        try:
            yield
        finally:
            self._open.subtract(counted.keys())
            self._open += Counter()  # removes zero counts

    async def close(self, _: web.Application) -> None:
        """End every stream when the service stops."""
        self._changes.close()


def _bounds(request: web.Request) -> dict[str, int]:
    """Return the keys that a stream is counted by, each with its limit."""
    near = int(events.MOST_SUBSCRIPTIONS * NEAR_SHARE)
    bounds = {counted_as(request.remote): max(1, near if is_near(request.remote) else MOST_A_FAR)}
    if GRANTED in request:
        bounds[request[GRANTED].grant] = MOST_A_GRANT
    return bounds


async def _stream(request: web.Request, subscription: Subscription) -> web.StreamResponse:
    _limit_backlog(request)
    if isinstance(request.protocol, Connection):
        request.protocol.on_lost = subscription.end
    response = web.StreamResponse(headers=_HEADERS | {"X-Request-ID": request[REQUEST_ID]})
    has_missed = "Last-Event-ID" in request.headers
    with suppress(ConnectionError, TimeoutError):
        await response.prepare(request)
        async with asyncio.timeout(_left_s(request)):
            await response.write(OPENING + RELOAD if has_missed else OPENING)
            while waiting := await subscription.next(HEARTBEAT_S):
                await response.write(waiting)
    subscription.end()
    return response


def _left_s(request: web.Request) -> float | None:
    """Return the seconds until the grant expires; None without a grant."""
    granted = request.get(GRANTED)
    return None if granted is None else (granted.until - datetime.now(UTC)).total_seconds()


def _limit_backlog(request: web.Request) -> None:
    """Limit what the kernel buffers for a client, so that a slow client is noticed."""
    transport = request.transport
    connection = transport.get_extra_info("socket") if transport is not None else None
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BACKLOG_BYTES)


def _abandon_backlog(request: web.Request) -> None:
    """Close the TCP connection at once if the client has not read what was written."""
    transport = request.transport
    if transport is not None and transport.get_write_buffer_size():
        transport.abort()
