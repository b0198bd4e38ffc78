"""Opens the port that the service listens on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from service.errors import ListenError

ALL_ADDRESSES = "::"


async def open_port(
    protocol: Callable[[], asyncio.BaseProtocol],
    host: str,
    port: int,
    backlog: int,
    *,
    reuse_port: bool = False,
) -> asyncio.Server:
    """Listen; `::` accepts IPv4 too. Raises ListenError if the address is not available."""
    loop = asyncio.get_running_loop()
    try:
        if host == ALL_ADDRESSES:
            listening = _both_families(port, reuse_port=reuse_port)
            return await loop.create_server(protocol, sock=listening, backlog=backlog)
        return await loop.create_server(
            protocol, host, port, backlog=backlog, reuse_port=reuse_port or None
        )
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error.errno, int) and not isinstance(error, socket.gaierror):
            reason = os.strerror(error.errno)
        raise ListenError(f"Cannot listen on {host} port {port} (HOST, PORT): {reason}") from None


def _both_families(port: int, *, reuse_port: bool) -> socket.socket:
    """Bind to all addresses of both families; asyncio would set IPV6_V6ONLY."""
    listening = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((ALL_ADDRESSES, port))
    except OSError:
        listening.close()
        raise
    return listening
