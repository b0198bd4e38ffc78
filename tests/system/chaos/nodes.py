"""NATS servers that can be stopped, killed, frozen and restarted on the same ports."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from sandbox.ports import free_port, listens
from service.receiving.intake.stream import STREAM
from tests.system.chaos.processes import HOST, BrokenError, spawn
from tests.until import WITHIN_S, until

SERVER = Path(sys.executable).with_name("nats-server")
NODES = 3
_POLL_S = 0.02
_AWAY = (nats.errors.Error, APIError, OSError)


class Node:
    """A server with JetStream, whose store and log are in its folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.name = folder.name
        self.port = free_port()
        self.url = f"nats://{HOST}:{self.port}"
        self.store = folder / "store"
        self._log = folder / "log"
        self._options = options
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and return when it listens."""
        address = ("-a", HOST, "-p", str(self.port), "-n", self.name)
        with self._log.open("ab") as log:
            self._process = await spawn(
                *(*address, "-js", "-sd", str(self.store), *self._options),
                program=SERVER,
                stdout=log,
                stderr=log,
            )
        await until(self.answers)

    async def answers(self) -> bool:
        """Return whether it accepts connections."""
        if self._process is None or self._process.returncode is not None:
            raise BrokenError(f"{self.name} ended: {self._log.read_text()[-2000:]}")
        return await listens(self.port)

    async def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it with a signal, by default SIGKILL, even if it is frozen."""
        self._send(signal.SIGCONT)
        self._send(number)
        if self._process is not None:
            async with asyncio.timeout(WITHIN_S):
                await self._process.wait()

    async def freeze(self) -> None:
        """Stop all of its threads, and return when they have stopped."""
        if self._process is None:
            raise BrokenError(f"{self.name} does not run")
        self._send(signal.SIGSTOP)
        async with asyncio.timeout(WITHIN_S):
            while not _stands(self._process.pid):  # noqa: ASYNC110 - the kernel tells nobody
                await asyncio.sleep(_POLL_S)

    def thaw(self) -> None:
        """Continue it."""
        self._send(signal.SIGCONT)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Open a client, as an operator does."""
        client = await nats.connect(self.url, allow_reconnect=False)
        try:
            yield client
        finally:
            await client.close()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


@asynccontextmanager
async def lone_node() -> AsyncIterator[Node]:
    """Run one node in a folder of its own until the block ends."""
    with tempfile.TemporaryDirectory(prefix="nats-") as folder:
        node = Node(Path(folder))
        try:
            await node.start()
            yield node
        finally:
            await node.stop()


class Cluster:
    """Nodes of one cluster."""

    def __init__(self, folder: Path) -> None:
        routes = [f"nats://{HOST}:{free_port()}" for _ in range(NODES)]
        self.nodes = []
        for number, route in enumerate(routes):
            home = folder / f"node-{number}"
            home.mkdir()
            options = ("--cluster_name", "c", "--cluster", route, "--routes", ",".join(routes))
            self.nodes.append(Node(home, *options))

    @property
    def url(self) -> str:
        """The addresses of all nodes."""
        return ",".join(node.url for node in self.nodes)

    async def start(self) -> None:
        """Start every node; a leader is elected later."""
        await asyncio.gather(*(node.start() for node in self.nodes))

    async def stop(self) -> None:
        """Kill every node."""
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def leader(self) -> Node:
        """Return the stream's leader."""
        name = await until(self._leader)
        return next(node for node in self.nodes if node.name == name)

    async def _leader(self) -> str:
        """Ask each node, which can be down or know no leader yet."""
        for node in self.nodes:
            try:
                async with node.client() as client:
                    cluster = (await client.jetstream(timeout=1).stream_info(STREAM)).cluster
            except (*_AWAY, TimeoutError):
                continue
            if cluster is not None and cluster.leader:
                return str(cluster.leader)
        return ""


def _stands(pid: int) -> bool:
    states = [state.read_text() for state in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state.rpartition(") ")[2].startswith("T") for state in states)
