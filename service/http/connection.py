"""One client's TCP connection: its limits, and problem responses to invalid HTTP.

aiohttp answers invalid HTTP with plain text and a traceback in the log. Here the answer is a
problem response, and repeated errors are one log line in ten seconds with a count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from service.http.addresses import address_of
from service.http.closing import Closing
from service.http.problems import new_request_id, problem_body, problem_response
from service.http.writing import SERVER, PacedWriter

if TYPE_CHECKING:  # it imports this module
    from service.http.tcp_limits import TcpLimits

HEAD_WITHIN_S = 10.0
KEEPALIVE_S = 75.0
REST_WITHIN_S = 5.0  # for the rest of a body that was answered before it was read
MOST_HEAD_BYTES = 32 * 1024
MOST_HEADERS = 100
MOST_LINE_BYTES = 8190
READ_BYTES = 64 * 1024  # per read; of an unread body, at most twice this is buffered
OPTIONS: dict[str, Any] = {  # of aiohttp's connection
    "access_log": None,
    "auto_decompress": False,  # Meta signs the bytes as sent
    "keepalive_timeout": KEEPALIVE_S,
    "lingering_time": REST_WITHIN_S,
    "max_headers": MOST_HEADERS,
    "max_line_size": MOST_LINE_BYTES,
    "max_field_size": MOST_LINE_BYTES,
    "read_bufsize": READ_BYTES,
}
_LEAST_FAULT = 400
_NOTES = {
    HTTPStatus.BAD_REQUEST: "The request is not valid HTTP.",
    HTTPStatus.REQUEST_TIMEOUT: "The head of the request did not arrive in time.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The head of the request is too large.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Too many connections are open; try again.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An unexpected error; see the log.",
}


class Connection(web.RequestHandler):
    """aiohttp's connection with bounds on each request's head and on unsent answers.

    The first head must be complete 10 s after the client connects; a later one that arrives in
    pieces, 10 s after its second piece. A head can have 32 KiB, plus at most one read. `TcpLimits`
    cuts off a client that does not read its answer, even if this side has closed already. `on_lost`
    is called once, when the connection ends.
    """

    __slots__ = (
        "_address",
        "_closing",
        "_head_bytes",
        "_is_answered",
        "_limits",
        "_line",
        "_payload",
        "_timer",
        "on_lost",
    )

    def __init__(
        self,
        limits: TcpLimits,
        closing: Closing,
        server: web.Server,
        **options: Any,  # noqa: ANN401 - aiohttp's own
    ) -> None:
        super().__init__(server, **options)
        self._limits = limits
        self._closing = closing
        self._head_bytes = 0
        self._is_answered = True
        self._payload: StreamReader | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._address: str | None = None
        self._line: asyncio.Transport | None = None
        self.on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, and start the time limit of its first head."""
        super().connection_made(transport)
        self._line = self.transport
        self._address = address_of(transport)
        if self._line is not None:
            self._line.set_write_buffer_limits(high=0)  # pause_writing on any unsent byte
            self._line.max_size = READ_BYTES  # type: ignore[attr-defined]  # asyncio's own
        self._limits.add(self._address)
        self._start_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop counting the connection, and call `on_lost`."""
        self._limits.remove(self._address)
        self._stop_timer()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def pause_writing(self) -> None:
        """Start the time limit within which the client must read what was sent."""
        super().pause_writing()
        if self._line is not None:
            self._limits.unread(self._line)

    def resume_writing(self) -> None:
        """Note that the client has read everything."""
        self._stop_waiting_for_reader()
        super().resume_writing()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's
        """Resume reading if it was paused: aiohttp calls this after every body."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def data_received(self, data: bytes) -> None:
        """Pass on what the client sends, unless the head is too large."""
        if data and self._is_reading_head():
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "a head was too large")
                return
            if self._head_bytes and self._timer is None:
                self._start_timer()
            self._head_bytes += len(data)
        super().data_received(data)

    def head_ended(self, payload: StreamReader) -> None:
        """Record that a head is complete or was refused."""
        self._stop_timer()
        self._head_bytes = 0
        self._is_answered = False
        self._payload = payload

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; aiohttp's own errors are changed to problems first."""
        if resp.status >= _LEAST_FAULT and _is_aiohttps(resp) and not resp.prepared:
            resp = problem_response(HTTPStatus(resp.status))
        if self._closing.is_on and not resp.prepared:
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
        """Answer invalid HTTP with a problem, and close the TCP connection."""
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        self._limits.warn("a request was not valid HTTP", request.remote)
        is_too_long = isinstance(exc, LineTooLong)
        refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if is_too_long else HTTPStatus(status)
        response = problem_response(refusal, _NOTES.get(refusal))
        response.force_close()
        return response

    def _stop_waiting_for_reader(self) -> None:
        if self._line is not None:
            self._limits.has_read(self._line)

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
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "a head was too slow")
        else:
            self.force_close()

    def _refuse(self, status: HTTPStatus, event: str) -> None:
        """Answer without a request, and close."""
        self._stop_timer()
        if self.transport is not None:
            self._limits.warn(event, self._address)
            self.transport.write(raw_problem(status))
        self.force_close()


def _is_aiohttps(response: web.StreamResponse) -> bool:
    return isinstance(response, web.HTTPException) and "X-Request-ID" not in response.headers


def notes_heads(make_request: Callable[..., web.BaseRequest]) -> Callable[..., web.BaseRequest]:
    """Notify a TCP connection of each new request, and have its answers written in pieces."""
    loop = asyncio.get_running_loop()  # called once: before Python 3.12 it costs a system call

    def make(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if isinstance(protocol, Connection):
            protocol.head_ended(payload)
            writer = PacedWriter(protocol, loop)
        return make_request(message, payload, protocol, writer, task)

    return make


def raw_problem(status: HTTPStatus) -> bytes:
    """Write a whole response without a request."""
    request_id = new_request_id()
    body = problem_body(status, _NOTES[status], request_id)
    head = (
        f"HTTP/1.1 {int(status)} {status.phrase}\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Request-ID: {request_id}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"Server: {SERVER}\r\n"
        "Retry-After: 2\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
