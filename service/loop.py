"""The event loop that `serve` runs on: what the service waits for goes before what clients want.

asyncio handles all sockets that are ready before it looks again. When thousands of clients send
at once the answer of a statement that ended long ago waits behind all of them, the database stands
idle meanwhile, and time-outs strike although the answer is there. Finishing work goes first here,
and new work comes in small portions.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

    Ready = tuple[selectors.SelectorKey, int]

MOST_CLIENTS = 64  # in one turn of the loop: some 10 ms of work


class FairSelector(selectors.DefaultSelector):
    """Gives out all that is ready of our own sockets, and some of those that clients opened.

    A client's socket is one whose own port is a port that we listen on. Clients who were left
    out are the first in the next turn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._listening: set[int] = set()
        self._of_clients: set[int] = set()
        self._left_out: dict[int, None] = {}

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        """Watch a socket, and note whose it is."""
        key = super().register(fileobj, events, data)
        if self._is_of_client(key.fd):
            self._of_clients.add(key.fd)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Watch it no longer."""
        key = super().unregister(fileobj)
        self._of_clients.discard(key.fd)
        return key

    def select(self, timeout: float | None = None) -> list[Ready]:
        """Wait for what is ready, and give a fair share of it."""
        ready = super().select(timeout)
        if len(ready) <= MOST_CLIENTS:
            self._left_out.clear()
            return ready
        own = [one for one in ready if one[0].fd not in self._of_clients]
        clients = {one[0].fd: one for one in ready if one[0].fd in self._of_clients}
        order = dict.fromkeys(fd for fd in self._left_out if fd in clients) | dict.fromkeys(clients)
        turn = list(order)[:MOST_CLIENTS]
        self._left_out = dict.fromkeys(list(order)[MOST_CLIENTS:])
        return own + [clients[fd] for fd in turn]

    def _is_of_client(self, fd: int) -> bool:
        """Compare the socket's own port with those we listen on, which come here first."""
        with suppress(OSError):  # not a socket: the loop's own pipe is one, a file would not be
            watched = socket.socket(fileno=fd)
            try:
                port = _port(watched)
                if watched.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    self._listening.add(port)
                return port in self._listening
            finally:
                watched.detach()
        return False


def new_loop() -> asyncio.AbstractEventLoop:
    """Make the loop; for `asyncio.Runner`."""
    return asyncio.SelectorEventLoop(FairSelector())


def _port(watched: socket.socket) -> int:
    """Tell the socket's own port; 0 where it has none, as a Unix socket."""
    if watched.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    return int(watched.getsockname()[1])
