"""One client's connection: what it may hold open, and problems where HTTP itself is broken.

aiohttp answers what its parser refuses with plain text and a traceback in the log. Here such an
answer is a problem like every other, and client noise is one line in ten seconds with a count.
"""

from __future__ import annotations

import asyncio
import resource
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from service.http.leaving import Leaving
from service.http.problems import new_request_id, problem_body, problem_response
from service.logs import SparingLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

MOST_CONNECTIONS = 20_000
HEAD_WITHIN_S = 10.0
KEEPALIVE_S = 75.0
REST_WITHIN_S = 5.0  # of a body that was answered unread
MOST_HEAD_BYTES = 32 * 1024
MOST_HEADERS = 100
MOST_LINE_BYTES = 8190
BACKLOG = 1024
_OPTIONS: dict[str, Any] = {  # of aiohttp's connection
    "access_log": None,
    "auto_decompress": False,  # bodies are passed on as received: Meta signs those bytes
    "keepalive_timeout": KEEPALIVE_S,
    "lingering_time": REST_WITHIN_S,
    "max_headers": MOST_HEADERS,
    "max_line_size": MOST_LINE_BYTES,
    "max_field_size": MOST_LINE_BYTES,
}
_SPARE_FILES = 256  # for Postgres, Graph, the broker and the log

_NOTES = {
    HTTPStatus.BAD_REQUEST: "The request is not valid HTTP.",
    HTTPStatus.REQUEST_TIMEOUT: "The head of the request did not arrive in time.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The head of the request is too large.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Too many connections are open; try again.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An unexpected error; see the log.",
}


class Doorway:
    """Counts the open connections of one listening port and tells of those that misbehave.

    Beyond `most` a client gets a 503 and is shown out.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._log = SparingLog()
        self.open = 0

    @property
    def is_full(self) -> bool:
        """Tell whether another connection would be refused."""
        return self.open >= self._most

    def tell(self, event: str, address: str | None) -> None:
        """Log what a client did wrong."""
        self._log.warning(event, address=address, open_connections=self.open)


class Connection(web.RequestHandler):
    """aiohttp's connection with bounds on each request's head.

    The first head is complete 10 s after the client came; a later one that comes in pieces 10 s
    after its second piece. No head is held beyond 32 KiB, give or take one read.
    """

    __slots__ = ("_doorway", "_head_bytes", "_is_answered", "_leaving", "_payload", "_timer")

    def __init__(
        self,
        doorway: Doorway,
        leaving: Leaving,
        server: web.Server,
        **options: Any,  # noqa: ANN401 - aiohttp's own
    ) -> None:
        super().__init__(server, **options)
        self._doorway = doorway
        self._leaving = leaving
        self._head_bytes = 0
        self._is_answered = True
        self._payload: StreamReader | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection in; its first head is awaited from now on."""
        super().connection_made(transport)
        self._doorway.open += 1
        self._start_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count the connection out."""
        self._doorway.open -= 1
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass on what the client sends, unless it is more head than there may be."""
        if data and self._is_reading_head():
            if self._head_bytes > MOST_HEAD_BYTES:
                self._show_out(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "a head was too large")
                return
            if self._head_bytes and self._timer is None:
                self._start_timer()
            self._head_bytes += len(data)
        super().data_received(data)

    def head_ended(self, payload: StreamReader) -> None:
        """Note that a request has begun: its head is complete, or has been refused."""
        self._stop_timer()
        self._head_bytes = 0
        self._is_answered = False
        self._payload = payload

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; what aiohttp has raised by itself becomes a problem first."""
        is_aiohttps = isinstance(resp, web.HTTPException) and "X-Request-ID" not in resp.headers
        if is_aiohttps and resp.status >= HTTPStatus.BAD_REQUEST and not resp.prepared:
            resp = problem_response(HTTPStatus(resp.status))
        if self._leaving.is_on and not resp.prepared:
            resp.force_close()
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._is_answered = True

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP with a problem, and close the connection."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        self._doorway.tell("a request was not valid HTTP", request.remote)
        is_too_long = isinstance(exc, LineTooLong)
        refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_too_long else HTTPStatus(status)
        response = problem_response(refusal, _NOTES.get(refusal))
        response.force_close()
        return response

    def _is_reading_head(self) -> bool:
        return self._is_answered and (self._payload is None or self._payload.is_eof())

    def _start_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HEAD_WITHIN_S, self._head_is_late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        if self._head_bytes:
            self._show_out(HTTPStatus.REQUEST_TIMEOUT, "a head was too slow")
        else:
            self.force_close()

    def _show_out(self, status: HTTPStatus, event: str) -> None:
        """Answer without a request, and close."""
        self._stop_timer()
        if self.transport is not None:
            self._doorway.tell(event, _address(self.transport))
            self.transport.write(_raw_problem(status))
        self.force_close()


class _Entrance(asyncio.Protocol):
    """Lets a client in, or gives it a 503 and shows it out.

    Decides when the connection is made, not before: asyncio accepts many at once, and none of them
    is counted until then.
    """

    def __init__(self, doorway: Doorway, let_in: Callable[[], Connection]) -> None:
        self._doorway = doorway
        self._let_in = let_in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._doorway.is_full:
            connection = self._let_in()
            transport.set_protocol(connection)
            connection.connection_made(transport)
            return
        self._doorway.tell("too many connections: refused", _address(transport))
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(_raw_problem(HTTPStatus.SERVICE_UNAVAILABLE))
        transport.close()


async def listen(
    server: web.Server,
    host: str,
    port: int,
    leaving: Leaving | None = None,
    *,
    reuse_port: bool = False,
) -> asyncio.Server:
    """Open the port; its connections belong to the server, which ends them.

    With `reuse_port` other processes may listen at it too.
    """
    loop = asyncio.get_running_loop()
    doorway = Doorway(most_connections())
    if server.request_factory is not None:
        server.request_factory = _ending_heads(server.request_factory)

    def let_in() -> Connection:
        return Connection(
            doorway,
            leaving or Leaving(),
            server,
            loop=loop,
            **_OPTIONS,
        )

    return await loop.create_server(
        lambda: _Entrance(doorway, let_in),
        host,
        port,
        backlog=BACKLOG,
        reuse_port=reuse_port or None,
    )


def most_connections() -> int:
    """How many connections may be open: 20,000, or what the limit of open files leaves.

    Raises this process's own limit as far as it may first; without a file left, accepting fails
    for everybody.
    """
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _SPARE_FILES
    if files != resource.RLIM_INFINITY and files < wanted:
        is_free = most_files == resource.RLIM_INFINITY
        files = wanted if is_free else min(wanted, most_files)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most_files))
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, files - _SPARE_FILES)


def _ending_heads(make_request: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Tell a connection of every request that it begins."""

    def make(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if isinstance(protocol, Connection):
            protocol.head_ended(payload)
        return make_request(message, payload, protocol, writer, task)

    return make


def _raw_problem(status: HTTPStatus) -> bytes:
    """Write a whole response, for where there is no request to respond to."""
    request_id = new_request_id()
    body = problem_body(status, _NOTES[status], request_id)
    head = (
        f"HTTP/1.1 {int(status)} {status.phrase}\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\n"
        "Retry-After: 2\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _address(transport: asyncio.BaseTransport) -> str | None:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else None
