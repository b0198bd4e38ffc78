"""Stopping one of several replicas refuses nobody."""

import asyncio
import io
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from service.sandbox import samples
from service.sandbox.ports import free_port
from tests.replicas.conftest import SpawnAll
from tests.service.conftest import (
    ACCOUNT,
    API,
    APP_SECRET,
    Database,
    ServiceProcess,
    Spawn,
    new_user,
)
from tests.until import until


@dataclass
class Stream:
    """Deliveries without a break, half of them each on a connection of its own."""

    url: str
    answers: Counter[str] = field(default_factory=Counter)
    acked: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator["Stream"]:
        kept = aiohttp.TCPConnector(limit=2)
        anew = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(connector=kept) as first,
            aiohttp.ClientSession(connector=anew) as second,
        ):
            senders = [asyncio.create_task(self._send(s)) for s in (first, first, second, second)]
            try:
                yield self
            finally:
                for sender in senders:
                    sender.cancel()
                await asyncio.wait(senders)

    async def _send(self, session: aiohttp.ClientSession) -> None:
        while True:
            user = new_user()
            body = samples.delivery(samples.entry(ACCOUNT, samples.message(user, ACCOUNT)))
            headers = samples.signed_headers(body, APP_SECRET)
            try:
                async with session.post(
                    f"{self.url}{API}/webhook", data=io.BytesIO(body), headers=headers
                ) as response:
                    self.answers[str(response.status)] += 1
                    if response.status == 200:
                        self.acked.append(user)
            except aiohttp.ClientError as error:
                self.answers[repr(error)] += 1
            await asyncio.sleep(0.01)

    async def more(self, count: int = 60) -> None:
        """Wait for so many more acknowledgements."""
        wanted = len(self.acked) + count

        async def are_there() -> bool:
            return len(self.acked) >= wanted

        await until(are_there, 20)


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
    async with asyncio.timeout(10):
        assert await process.stop(signal.SIGTERM) == -signal.SIGTERM
