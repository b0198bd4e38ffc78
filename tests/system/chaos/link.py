"""A loopback proxy in front of a port: the cable that is pulled."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tests.system.chaos.processes import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Link:
    """Passes bytes to a port and back, until it is cut or falls silent."""

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
        """Listen on a port of its own until the block ends."""
        server = await asyncio.start_server(self._join, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.cut()
            server.close()
            await asyncio.gather(*self._pipes, return_exceptions=True)

    def cut(self) -> None:
        """Reset the TCP connections that are open, and every new one."""
        self._is_cut = True
        self._flows.set()
        for writer in self._writers:
            writer.transport.abort()

    def lead_to(self, port: int) -> None:
        """Take who connects from now on to another port; what is connected stays where it is."""
        self._to_port = port

    def hush(self) -> None:
        """Let nothing through any more, and tell nobody."""
        self._flows.clear()

    def heal(self) -> None:
        """Pass bytes again, those that were held back too."""
        self._is_cut = False
        self._flows.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_connection(HOST, self._to_port)
        except OSError:
            writer.transport.abort()
            return
        if self._is_cut:  # asked last: it may have been cut meanwhile
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
            with suppress(OSError):  # an end that is gone is what the other end is told
                while received := await source.read(65536):
                    await self._flows.wait()
                    sink.write(received)
                    await sink.drain()
        finally:
            self._writers.discard(sink)
            sink.transport.abort()
