"""A real NATS server, and what an intake needs around it."""

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import nats
import pytest
from nats.aio.client import Client as Nats

from service.intake.arrivals import Arrivals
from service.intake.known import Known
from service.intake.stream import STREAM
from service.metrics import Metrics
from service.model import Contact, Rules
from service.queue import TurnQueue
from service.sandbox.ports import free_port
from service.store.database import Database
from service.store.journal import Journal
from tests.service.conftest import (
    ACCOUNT,
    _quiet_logs,
    db,
    environment,
    graph,
    new_user,
    settings,
    spawn,
    start,
)
from tests.until import until

__all__ = ["_quiet_logs", "db", "environment", "graph", "settings", "spawn", "start"]

if TYPE_CHECKING:
    from asyncio.subprocess import Process

NATS_SERVER = Path(sys.executable).with_name("nats-server")
HOST = "127.0.0.1"


def contact(user: str = "", account: str = ACCOUNT) -> Contact:
    now = datetime.now(UTC)
    return Contact(account, user or new_user(), now, now, wrote=True)


class NatsServer:
    """A node with a store of its own, that can be stopped, killed, frozen and started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"nats://{HOST}:{self.port}"
        self.folder = folder
        self._options = options
        self._process: Process | None = None

    async def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                NATS_SERVER,
                *("-a", HOST, "-p", str(self.port), "-js", "-sd", str(self.folder), *self._options),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await until(self.answers)

    async def answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def freeze(self) -> None:
        """Stop every thread of it, and return once they stand."""
        self.send(signal.SIGSTOP)
        assert self._process is not None
        states = list(Path(f"/proc/{self._process.pid}/task").glob("*/stat"))

        async def stands() -> bool:
            return all(state.read_text().rpartition(") ")[2].startswith("T") for state in states)

        await until(stands)

    async def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.send(signal.SIGCONT)
        self.send(number)
        if self._process is not None:
            await self._process.wait()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Nats]:
        """Look into the broker as an operator does."""
        client = await nats.connect(self.url)
        try:
            yield client
        finally:
            await client.close()


@pytest.fixture
async def broker() -> AsyncIterator[NatsServer]:
    """Give a broker of the test's own."""
    folder = Path(tempfile.mkdtemp(prefix="nats-"))
    server = NatsServer(folder)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        shutil.rmtree(folder)


class Cluster:
    """Three nodes that replicate to each other."""

    def __init__(self, folder: Path) -> None:
        routes = [free_port() for _ in range(3)]
        known = ",".join(f"nats://{HOST}:{port}" for port in routes)
        self.nodes = []
        for number, port in enumerate(routes):
            store = folder / str(number)
            store.mkdir()
            listen = f"nats://{HOST}:{port}"
            options = ("-n", f"node-{number}", "--cluster_name", "c", "--cluster", listen)
            self.nodes.append(NatsServer(store, *options, "--routes", known))

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self.nodes)

    async def leader(self, client: Nats) -> NatsServer:
        """Find the node that leads the stream."""
        name = ""

        async def has_leader() -> bool:
            nonlocal name
            cluster = (await client.jetstream().stream_info(STREAM)).cluster
            name = (cluster.leader or "") if cluster else ""
            return bool(name)

        await until(has_leader)
        return self.nodes[int(name.removeprefix("node-"))]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Give three nodes of the test's own."""
    folder = Path(tempfile.mkdtemp(prefix="nats-"))
    cluster = Cluster(folder)
    try:
        await asyncio.gather(*(node.start() for node in cluster.nodes))
        yield cluster
    finally:
        await asyncio.gather(*(node.stop() for node in cluster.nodes))
        shutil.rmtree(folder)


class Link:
    """A loopback proxy in front of a port: the cable that a test pulls."""

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self._to_port = to_port
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def up(self) -> AsyncIterator["Link"]:
        server = await asyncio.start_server(self._join, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.cut()
            server.close()
            await asyncio.gather(*self._pipes, return_exceptions=True)

    def cut(self) -> None:
        """Reset what is connected, and whoever connects."""
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def heal(self) -> None:
        self._is_cut = False

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            back_reader, back_writer = await asyncio.open_connection(HOST, self._to_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back_writer}
        for source, sink in ((reader, back_writer), (back_reader, writer)):
            pipe = asyncio.create_task(_pump(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while received := await source.read(65536):
            sink.write(received)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.transport.abort()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(database_url) as database:
        yield database


@pytest.fixture
def queue() -> TurnQueue:
    return TurnQueue(1000, lambda _: False)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def arrivals(database: Database, known: Known, queue: TurnQueue) -> Arrivals:
    return Arrivals(Journal(database, Rules()), known, queue, Metrics())


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def stored_users(db: asyncpg.Connection) -> set[str]:
    rows = await db.fetch("SELECT ig_user_id FROM instagram_participants")
    return {row["ig_user_id"] for row in rows}


async def until_stored(db: asyncpg.Connection, *users: str, within_s: float = 15) -> None:
    """Wait until all of these users are participants."""

    async def are_stored() -> bool:
        return set(users) <= await stored_users(db)

    await until(are_stored, within_s)
