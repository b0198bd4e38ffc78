"""A loopback proxy in front of a port, which can be cut."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress

from tests.system.chaos.processes import HOST


class Link:
    """Forwards bytes to a port and back, until it is cut or silenced."""

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self._to_port = to_port
        self._is_cut = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Link]:
        """Listen on a new port until the block ends."""
        with socket.create_server((HOST, 0)) as listening:
            listening.settimeout(0)
            self.port = listening.getsockname()[1]
            loop = asyncio.get_running_loop()
            loop.add_reader(listening, self._accept, listening)
            try:
                yield self
            finally:
                loop.remove_reader(listening)
                self.cut()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset all open and new TCP connections."""
        self._is_cut = True
        self._flows.set()
        for writer in self._writers:
            writer.transport.abort()

    def lead_to(self, port: int) -> None:
        """Forward new connections to another port; open ones stay."""
        self._to_port = port

    def hush(self) -> None:
        """Hold all bytes without closing connections."""
        self._flows.clear()

    def heal(self) -> None:
        """Forward bytes again, including the held ones."""
        self._is_cut = False
        self._flows.set()

    def _accept(self, listening: socket.socket) -> None:
        """Start to join a new connection.

        `asyncio.start_server`, when it is closed, and `sock_accept`, when it is cancelled, can leak
        a connection that comes at that moment.
        """
        with suppress(OSError):  # it has gone already
            accepted, _ = listening.accept()
            accepted.settimeout(0)
            self._start(self._join(accepted))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, accepted: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=accepted)
        try:
            back_reader, back_writer = await asyncio.open_connection(HOST, self._to_port)
        except OSError:
            writer.transport.abort()
            return
        if self._is_cut:  # checked last, since it can have been cut meanwhile
            writer.transport.abort()
            back_writer.transport.abort()
            return
        for source, sink in ((reader, back_writer), (back_reader, writer)):
            self._start(self._pump(source, sink))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self._writers.add(sink)
        try:
            with suppress(OSError):  # the other end is closed too
                while received := await source.read(65536):
                    await self._flows.wait()
                    sink.write(received)
                    await sink.drain()
        finally:
            self._writers.discard(sink)
            sink.transport.abort()
