"""Closes a listening port without resetting the TCP connections that wait to be accepted.

A port that is simply closed resets the connections that wait to be accepted. Where replicas share
one port (SO_REUSEPORT) a part of all new connections would end there at each restart: about 45 of
200 clients that connect without a pause, and none with the filter below, over 40 restarts each.

Linux can do it by itself: with `net.ipv4.tcp_migrate_req = 1` none was reset either, without the
second that a client waits after a dropped packet. But that is off by default, needs root, and has
to be on before the first replica starts; the filter needs nothing.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

LAST_ARRIVALS_S = 0.3
_SO_ATTACH_FILTER = 26  # Linux; Python has no name for it
# Classic BPF over the TCP header: drops requests for new connections, and passes the rest.
_DROP_NEW_CONNECTIONS = (
    (0x30, 0, 0, 13),  # load the flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFF),  # pass
)


class Leaving:
    """Once set, makes each answer the last on its TCP connection."""

    def __init__(self) -> None:
        self.is_on = False


async def admit_the_last(listening: asyncio.Server) -> None:
    """Block new TCP connections, and accept all that have begun.

    A client whose first packet is dropped sends it again a second later, to a replica that still
    listens. Where the system has no such filter connections are accepted to the end.
    """
    for opened in listening.sockets:
        with suppress(OSError):
            _drop_new_connections(opened)
    await asyncio.sleep(LAST_ARRIVALS_S)


def _drop_new_connections(opened: socket.socket | TransportSocket) -> None:
    steps = b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW_CONNECTIONS)
    program = ctypes.create_string_buffer(steps)
    where = struct.pack("HL", len(_DROP_NEW_CONNECTIONS), ctypes.addressof(program))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)
