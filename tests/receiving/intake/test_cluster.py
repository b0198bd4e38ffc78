"""Three nodes: one may die, leader or not, and nothing that was acknowledged is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest

from service.errors import UnavailableError
from service.receiving.intake import Intake
from service.receiving.intake.arrivals import Arrivals
from service.receiving.intake.jetstream import JetStreamIntake, jetstream_intake
from service.receiving.intake.stream import STREAM
from tests.receiving.intake.conftest import contact, until_stored
from tests.system.chaos.nodes import Cluster, Node
from tests.until import WITHIN_S, until


@asynccontextmanager
async def running(url: str, arrivals: Arrivals) -> AsyncIterator[JetStreamIntake]:
    """Give an intake that journals in the background, once the cluster has elected its leaders."""
    begun, intake = await _begin(url, arrivals)
    task = asyncio.create_task(intake.run())
    try:
        yield intake
    finally:
        task.cancel()
        await asyncio.wait([task])
        await begun.__aexit__(None, None, None)


async def _begin(
    url: str, arrivals: Arrivals
) -> tuple[AbstractAsyncContextManager[JetStreamIntake], JetStreamIntake]:
    async with asyncio.timeout(WITHIN_S):
        while True:
            begun = jetstream_intake(url, arrivals)
            try:
                return begun, await begun.__aenter__()
            except UnavailableError:
                await asyncio.sleep(0.2)


class Sender:
    """Sends without a break and remembers what was accepted."""

    def __init__(self, intake: Intake) -> None:
        self.acked: list[str] = []
        self._intake = intake

    async def run(self) -> None:
        while True:
            one = contact()
            try:
                await self._intake.accept([one])
            except UnavailableError:
                await asyncio.sleep(0.05)
            else:
                self.acked.append(one.ig_user_id)
            await asyncio.sleep(0.005)

    async def more(self, count: int = 50) -> None:
        wanted = len(self.acked) + count

        async def are_accepted() -> bool:
            return len(self.acked) >= wanted

        await until(are_accepted)


async def victim(cluster: Cluster, which: str) -> Node:
    leader = await cluster.leader()
    async with leader.client() as client:
        info = (await client.jetstream().stream_info(STREAM)).config
        assert info.num_replicas == 3
    if which == "leader":
        return leader
    return next(node for node in cluster.nodes if node is not leader)


@pytest.mark.usefixtures("production_limits")
@pytest.mark.parametrize(("which", "how"), [("leader", "killed"), ("follower", "frozen")])
async def test_nothing_acknowledged_is_lost_with_a_node(
    cluster: Cluster, arrivals: Arrivals, db: asyncpg.Connection, which: str, how: str
) -> None:
    async with running(cluster.url, arrivals) as intake:
        sender = Sender(intake)
        sending = asyncio.create_task(sender.run())
        await sender.more()
        node = await victim(cluster, which)
        if how == "killed":
            await node.stop()
        else:
            await node.freeze()
        await sender.more()
        await node.stop()
        await node.start()
        await sender.more()
        sending.cancel()
        await asyncio.wait([sending])
        await until_stored(db, *sender.acked)
