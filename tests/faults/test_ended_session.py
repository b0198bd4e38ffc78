"""A session that Postgres has ended while its connection stays open for a moment."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from service.store.database import Database

_FIELDS = b"SFATAL\0VFATAL\0C57P02\0Mterminating connection because of crash\0\0"
FAREWELL = b"E" + struct.pack("!i", 4 + len(_FIELDS)) + _FIELDS


class Relay:
    """Passes bytes to a server and back, and can end sessions as a crashing server does."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._server = (parts.hostname, parts.port)
        self._clients: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, dsn: str) -> AsyncIterator[str]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        parts = urlsplit(dsn)
        account = parts.netloc.rpartition("@")[0]
        try:
            yield parts._replace(netloc=f"{account}@127.0.0.1:{port}").geturl()
        finally:
            listener.close()
            for writer in self._clients:
                writer.close()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def say_farewell(self) -> None:
        for writer in self._clients:
            with suppress(ConnectionError):  # one that its client has closed
                writer.write(FAREWELL)
                await writer.drain()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        theirs, ours = await asyncio.open_connection(*self._server)
        for source, target in ((reader, ours), (theirs, writer)):
            task = asyncio.create_task(_copy(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


async def test_its_connection_is_not_used_again_and_nobody_notices(database_url: str) -> None:
    relay = Relay(database_url)
    async with relay.listening(database_url) as dsn, Database.connect(dsn, pool_size=1) as database:
        assert (await database.fetch("SELECT 1 AS one"))[0]["one"] == 1
        await relay.say_farewell()
        await asyncio.sleep(0)
        assert (await database.fetch("SELECT 2 AS two"))[0]["two"] == 2
