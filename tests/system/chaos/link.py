"""A loopback proxy in front of a port, which can be cut."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tests.system.chaos.processes import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Link:
    """Forwards bytes to a port and back, until it is cut or silenced."""

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self._to_port = to_port
        self._is_cut = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Link]:
        """Listen on a new port until the block ends."""
        server = await asyncio.start_server(self._join, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.cut()
            server.close()
            await asyncio.gather(*self._pipes, return_exceptions=True)

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

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
            pipe = asyncio.create_task(self._pump(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

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
