"""Stopping one of several replicas refuses nobody."""

import asyncio
import signal

from sandbox import samples
from sandbox.ports import free_port
from tests.replicas.conftest import SpawnAll
from tests.replicas.stream import Stream
from tests.service.conftest import (
    ACCOUNT,
    Database,
    ServiceProcess,
    Spawn,
    new_user,
)
from tests.until import until


async def test_a_rolling_restart_under_load_refuses_no_webhook(
    replicas: SpawnAll, spawn: Spawn, db: Database
) -> None:
    shared = {"PORT": str(free_port()), "REUSE_PORT": "true", "GRAPH_CALLS_PER_SECOND": "500"}
    old = await replicas(2, **shared)
    async with Stream(old[0].client.url).flowing() as stream:
        await stream.more()
        for leaving in old:
            await spawn(**shared, MIGRATE_ON_START="true")
            assert await leaving.stop() == 0
            await stream.more()
    assert stream.answers == {"200": stream.answers["200"]}
    stored = await db.fetch("SELECT ig_user_id FROM instagram_participants")
    assert set(stream.acked) <= {row["ig_user_id"] for row in stored}


async def test_a_draining_replica_says_so_and_still_serves(spawn: Spawn) -> None:
    process = await spawn(DRAIN_SECONDS="60")
    client = process.client
    await client.connect()
    process.process.send_signal(signal.SIGTERM)

    async def is_draining() -> bool:
        return (await client.call("GET", "/readyz")).status == 503

    await until(is_draining)
    answer = await client.post_webhook(
        samples.delivery(samples.entry(ACCOUNT, samples.message(new_user(), ACCOUNT)))
    )
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    await second_signal_ends(process)


async def second_signal_ends(process: ServiceProcess) -> None:
    async with asyncio.timeout(60):
        assert await process.stop(signal.SIGTERM) == -signal.SIGTERM
