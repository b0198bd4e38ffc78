"""The event loop of `serve`, which handles the service's own sockets before those of clients.

asyncio handles all ready sockets before it polls again. When thousands of clients send at once, a
statement's answer waits behind all of them, the database is idle meanwhile, and timeouts expire
although the answer has arrived. This loop finishes work first and accepts new work in small parts.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # there is no such module at run time
    from _typeshed import FileDescriptorLike

    Ready = tuple[selectors.SelectorKey, int]

MOST_CLIENTS = 64  # in one iteration of the loop: about 10 ms of work


class FairSelector(selectors.DefaultSelector):
    """Returns all ready sockets of the service, and a limited number of client sockets.

    A client socket is one whose local port is a port that we listen on. Skipped clients are first
    in the next iteration.
    """

    def __init__(self) -> None:
        super().__init__()
        self._listening: set[int] = set()
        self._of_clients: set[int] = set()
        self._left_out: dict[int, None] = {}

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: object = None
    ) -> selectors.SelectorKey:
        """Register a socket, and remember whether it belongs to a client."""
        key = super().register(fileobj, events, data)
        if self._is_of_client(key.fd):
            self._of_clients.add(key.fd)
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Unregister a socket."""
        key = super().unregister(fileobj)
        self._of_clients.discard(key.fd)
        return key

    def select(self, timeout: float | None = None) -> list[Ready]:
        """Wait for ready sockets, and return a fair share of them."""
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
        """Compare the local port with the listening ones, which are registered first."""
        with suppress(OSError):  # not a socket
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
    """Create the loop, for `asyncio.Runner`."""
    return asyncio.SelectorEventLoop(FairSelector())


def _port(watched: socket.socket) -> int:
    """Return the local port; 0 if there is none, as for a Unix socket."""
    if watched.family not in (socket.AF_INET, socket.AF_INET6):
        return 0
    return int(watched.getsockname()[1])
