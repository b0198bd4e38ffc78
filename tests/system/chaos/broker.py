"""The faults of replicas with three NATS nodes: nodes, disks, links, PostgreSQL, replicas."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random

from tests.system.chaos.disks import Disk
from tests.system.chaos.faults import (
    Fault,
    all_killed,
    killed,
    postgres_frozen,
    postgres_killed,
    postgres_stopped,
    stopped,
)
from tests.system.chaos.link import Link
from tests.system.chaos.nodes import Cluster, Node
from tests.system.chaos.processes import HOST, Service
from tests.system.chaos.rig import Rig

A_MINUTE_S = (60.0, 60.0)


class Brokers:
    """A cluster, a link from every replica to every node, and a disk under every node.

    `disks` is empty if the nodes' stores are on the machine's own disk.
    """

    def __init__(
        self, cluster: Cluster, cables: Sequence[Sequence[Link]], disks: Sequence[Disk]
    ) -> None:
        self._cluster = cluster
        self._cables = cables
        self._disks = disks

    def faults(self) -> tuple[Fault, ...]:
        """Return every fault that is possible here."""
        full = (
            Fault("a node's disk full", "broker", self.disk_full, (3.0, 6.0), 2),
            Fault("all disks full", "broker", self.all_disks_full, (3.0, 6.0), 1),
        )
        return (
            Fault("a node kill -9", "broker", self.node_killed, (1.0, 4.0), 3),
            Fault("the leader kill -9", "broker", self.leader_killed, (1.0, 5.0), 3),
            Fault("all nodes kill -9", "broker", self.all_nodes_killed, (0.5, 3.0), 2),
            Fault("a node frozen", "broker", self.node_frozen, (4.0, 7.0), 2),
            Fault("the leader frozen", "broker", self.leader_frozen, (4.0, 7.0), 1),
            *(full if self._disks else ()),
            Fault("a replica's links cut", "broker", self.links_cut, (1.0, 5.0), 3),
            Fault("a replica's links silent", "broker", self.links_silent, (4.0, 7.0), 2),
            Fault("postgres away a minute", "other", postgres_stopped, A_MINUTE_S, 1),
            Fault("postgres kill -9", "postgres", postgres_killed, (0.2, 3.0), 1),
            Fault("postgres frozen", "postgres", postgres_frozen, (3.0, 5.0), 1),
            Fault("a replica kill -9", "service", killed, (0.0, 1.0), 4),
            Fault("all replicas kill -9", "service", all_killed, (0.0, 1.0), 1),
            Fault("a replica SIGTERM", "service", stopped, (0.0, 1.0), 2),
        )

    async def _follower(self, random: Random) -> Node:
        leader = await self._cluster.leader()
        return random.choice([node for node in self._cluster.nodes if node is not leader])

    @asynccontextmanager
    async def node_killed(self, _: Rig, random: Random) -> AsyncIterator[None]:
        """Kill a node that is not the stream's leader."""
        async with _down(await self._follower(random)):
            yield

    @asynccontextmanager
    async def leader_killed(self, *_: object) -> AsyncIterator[None]:
        """Kill the stream's leader."""
        async with _down(await self._cluster.leader()):
            yield

    @asynccontextmanager
    async def all_nodes_killed(self, *_: object) -> AsyncIterator[None]:
        """Kill every node at once."""
        async with _down(*self._cluster.nodes):
            yield

    @asynccontextmanager
    async def node_frozen(self, _: Rig, random: Random) -> AsyncIterator[None]:
        """Freeze a node that is not the stream's leader."""
        async with _frozen(await self._follower(random)):
            yield

    @asynccontextmanager
    async def leader_frozen(self, *_: object) -> AsyncIterator[None]:
        """Freeze the stream's leader."""
        async with _frozen(await self._cluster.leader()):
            yield

    @asynccontextmanager
    async def disk_full(self, _: Rig, random: Random) -> AsyncIterator[None]:
        """Fill a node's disk; then empty it and restart the node, as an operator must."""
        number = random.randrange(len(self._cluster.nodes))
        async with self._full(number):
            yield

    @asynccontextmanager
    async def all_disks_full(self, *_: object) -> AsyncIterator[None]:
        """Fill every node's disk."""
        async with self._full(*range(len(self._cluster.nodes))):
            yield

    @asynccontextmanager
    async def links_cut(self, _: Rig, random: Random) -> AsyncIterator[None]:
        """Reset a replica's connections to every node."""
        links = random.choice(self._cables)
        for link in links:
            link.cut()
        try:
            yield
        finally:
            for link in links:
                link.heal()

    @asynccontextmanager
    async def links_silent(self, _: Rig, random: Random) -> AsyncIterator[None]:
        """Drop a replica's traffic to every node without resetting connections."""
        links = random.choice(self._cables)
        for link in links:
            link.hush()
        try:
            yield
        finally:
            for link in links:
                link.heal()

    @asynccontextmanager
    async def _full(self, *numbers: int) -> AsyncIterator[None]:
        for number in numbers:
            self._disks[number].fill()
        try:
            yield
        finally:
            for number in numbers:
                self._disks[number].empty()
            nodes = [self._cluster.nodes[number] for number in numbers]
            await asyncio.gather(*(node.stop(signal.SIGTERM) for node in nodes))
            await asyncio.gather(*(node.start() for node in nodes))


@asynccontextmanager
async def brokers(
    folder: Path, services: Sequence[Service], *, has_disks: bool
) -> AsyncIterator[Brokers]:
    """Run three nodes; each replica connects to them through separate links."""
    cluster = Cluster(folder)
    async with AsyncExitStack() as stack:
        where = [node.store for node in cluster.nodes] if has_disks else []
        disks = [stack.enter_context(Disk(store)) for store in where]
        stack.push_async_callback(cluster.stop)
        await cluster.start()
        cables = []
        for service in services:
            links = [
                await stack.enter_async_context(Link(node.port).up()) for node in cluster.nodes
            ]
            cables.append(links)
            service.environment["INTAKE_URL"] = ",".join(
                f"nats://{HOST}:{link.port}" for link in links
            )
        yield Brokers(cluster, cables, disks)


@asynccontextmanager
async def _down(*nodes: Node) -> AsyncIterator[None]:
    await asyncio.gather(*(node.stop() for node in nodes))
    try:
        yield
    finally:
        await asyncio.gather(*(node.start() for node in nodes))


@asynccontextmanager
async def _frozen(node: Node) -> AsyncIterator[None]:
    await node.freeze()
    try:
        yield
    finally:
        node.thaw()
