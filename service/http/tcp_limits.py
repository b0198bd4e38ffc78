"""Limits on open TCP connections, in total and by address.

A connection above a limit gets a 503 and is closed. The number of connections with unsent bytes is
limited too: above the limit, the one that has waited longest for its client to read is cut off.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus

from aiohttp import web

from service.http.addresses import address_of, counted_as, is_near
from service.http.closing import Closing
from service.http.connection import OPTIONS, Connection, notes_heads, raw_problem
from service.http.listening import open_port
from service.logs import SparingLog

MOST_CONNECTIONS = 20_000
MOST_AN_ADDRESS = 1_000
NEAR_SHARE = 0.75  # of all connections, for one address of a private network: a proxy, a node
MOST_UNREAD = 500  # connections with unsent bytes: 64 KiB each, so 32 MiB
UNREAD_WITHIN_S = 20.0
BACKLOG = 1024
_SPARE_FILES = 256  # for PostgreSQL, Graph, the broker and the log
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, for no time
_KERNEL_SEND_BYTES = 128 * 1024  # unsent bytes in the kernel count against a container too


class TcpLimits:
    """Counts the open connections of a listening port, and logs those that break a limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._log = SparingLog()
        self._by_address: Counter[str] = Counter()
        self._unread: dict[asyncio.BaseTransport, asyncio.TimerHandle] = {}
        self.open = 0

    def refusal(self, address: str | None) -> str | None:
        """Return why another connection from this address is refused; None if it is accepted."""
        if self.open >= self._most:
            return "too many connections: refused"
        most = int(self._most * NEAR_SHARE) if is_near(address) else MOST_AN_ADDRESS
        if self._by_address[counted_as(address)] >= max(1, most):
            return "too many connections from one address: refused"
        return None

    def add(self, address: str | None) -> None:
        """Count a connection."""
        self.open += 1
        self._by_address[counted_as(address)] += 1

    def remove(self, address: str | None) -> None:
        """Stop counting a connection."""
        self.open -= 1
        counted = counted_as(address)
        self._by_address[counted] -= 1
        if not self._by_address[counted]:
            del self._by_address[counted]

    def unread(self, transport: asyncio.BaseTransport) -> None:
        """Start the time limit of a client that has not read its answer."""
        loop = asyncio.get_running_loop()
        self._unread[transport] = loop.call_later(UNREAD_WITHIN_S, self._cut_off, transport)
        if len(self._unread) > MOST_UNREAD:
            self._cut_off(next(iter(self._unread)))

    def has_read(self, transport: asyncio.BaseTransport) -> None:
        """Stop the time limit: the client has read everything or has disconnected."""
        timer = self._unread.pop(transport, None)
        if timer is not None:
            timer.cancel()

    def warn(self, event: str, address: str | None) -> None:
        """Log a client's mistake."""
        self._log.warning(event, address=address, open_connections=self.open)

    def _cut_off(self, transport: asyncio.BaseTransport) -> None:
        self.has_read(transport)
        self.warn("a client did not read its answer: cut off", address_of(transport))
        _forget_unsent_bytes(transport)
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()


def _forget_unsent_bytes(transport: asyncio.BaseTransport) -> None:
    """Make the kernel reset the TCP connection and drop the bytes that it holds."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)


class _NewConnection(asyncio.Protocol):
    """Gives a new client its `Connection`, or a 503.

    It decides in `connection_made`, since asyncio accepts many connections before it counts one.
    """

    def __init__(self, limits: TcpLimits, make_connection: Callable[[], Connection]) -> None:
        self._limits = limits
        self._make_connection = make_connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        address = address_of(transport)
        refusal = self._limits.refusal(address)
        if refusal is None:
            connection = self._make_connection()
            transport.set_protocol(connection)
            connection.connection_made(transport)
            return
        self._limits.warn(refusal, address)
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(raw_problem(HTTPStatus.SERVICE_UNAVAILABLE))
        transport.close()


async def listen(
    server: web.Server,
    host: str,
    port: int,
    closing: Closing | None = None,
    *,
    reuse_port: bool = False,
) -> asyncio.Server:
    """Open the port; the server closes its TCP connections. Raises ListenError.

    With `reuse_port`, other processes can listen on it too.
    """
    loop = asyncio.get_running_loop()
    limits = TcpLimits(most_connections())
    if server.request_factory is not None:
        server.request_factory = notes_heads(server.request_factory)

    def make_connection() -> Connection:
        return Connection(limits, closing or Closing(), server, loop=loop, **OPTIONS)

    listening = await open_port(
        lambda: _NewConnection(limits, make_connection), host, port, BACKLOG, reuse_port=reuse_port
    )
    for opened in listening.sockets:  # accepted connections inherit it
        with suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_SEND_BYTES)
    return listening


def most_connections() -> int:
    """Return the limit of open TCP connections: 20,000, or fewer if open files are limited.

    First raises this process's soft limit of open files. Without a free file, no connection could
    be accepted.
    """
    files, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _SPARE_FILES
    if files != resource.RLIM_INFINITY and files < wanted:
        is_free = most_files == resource.RLIM_INFINITY
        files = wanted if is_free else min(wanted, most_files)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most_files))
    return MOST_CONNECTIONS if files == resource.RLIM_INFINITY else max(1, files - _SPARE_FILES)
