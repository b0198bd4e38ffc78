"""PgBouncer between the service and PostgreSQL, on its defaults."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import asyncpg
import pytest

from service.store.database import Database
from service.store.listener import Listener
from tests.pgbouncer import pgbouncer

from .tables import PATIENCE_S, Tables

pytestmark = pytest.mark.needs_program("pgbouncer")


@pytest.fixture(params=["session", "transaction"])
async def pooled_url(
    request: pytest.FixtureRequest, database_url: str, open_folder: Path
) -> AsyncIterator[str]:
    async with pgbouncer(open_folder, database_url, request.param, size=4) as url:
        yield url


async def test_statements_and_transactions_work_through_it(pooled_url: str, tables: Tables) -> None:
    """Two processes share four sessions, so that each statement may meet another's session."""
    async with (
        Database.connect(pooled_url, pool_size=2) as one,
        Database.connect(pooled_url, pool_size=2) as other,
    ):

        async def work(database: Database, number: int) -> int:
            rows = await database.fetch("SELECT $1::int + 1 AS next", number)
            async with database.transaction() as session:
                await session.execute(
                    "INSERT INTO instagram_user_cache (ig_user_id) VALUES ($1)", str(number)
                )
            return int(rows[0]["next"])

        numbers = range(100)
        work_of_both = [work((one, other)[number % 2], number) for number in numbers]
        assert await asyncio.gather(*work_of_both) == [number + 1 for number in numbers]
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == len(numbers)


async def test_the_sessions_of_a_pooler_are_left_as_they_are(
    pooled_url: str, session: asyncpg.Connection
) -> None:
    """In transaction mode they are other applications' too."""
    async with Database.connect(pooled_url, pool_size=2) as database:
        for name in ("jit", "statement_timeout"):
            [row] = await database.fetch("SELECT current_setting($1)", name)
            assert row[0] == await session.fetchval("SELECT current_setting($1)", name)


async def test_what_is_committed_through_a_pooler_is_on_disk(
    pooled_url: str, tables: Tables
) -> None:
    """Whatever the role's default is; the sessions themselves keep it."""
    await tables.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off',"
        " current_database()); END $$"
    )
    setting = "SELECT current_setting('synchronous_commit') AS value"
    async with Database.connect(pooled_url, pool_size=2) as database:
        assert [row["value"] for row in await database.fetch(setting)] == ["on"]
        async with database.transaction() as session:
            assert await session.fetchval(setting) == "on"
    beside = await asyncpg.connect(pooled_url, statement_cache_size=0)
    assert await beside.fetchval(setting) == "off"
    await beside.close()


class Trust:
    """Notes whether a listener says that it hears everything."""

    def __init__(self) -> None:
        self.is_heard = False
        self.proofs: asyncio.Queue[None] = asyncio.Queue()
        self.doubts: asyncio.Queue[None] = asyncio.Queue()

    async def connected(self) -> None:
        self.prove()

    def prove(self) -> None:
        self.is_heard = True
        self.proofs.put_nowait(None)

    def distrust(self) -> None:
        self.is_heard = False
        self.doubts.put_nowait(None)

    def listener(self, url: str, database: Database, heard_within_s: float) -> Listener:
        return Listener(
            url,
            database.notify,
            {},
            self.connected,
            self.distrust,
            self.prove,
            prove_every_s=0.01,
            heard_within_s=heard_within_s,
        )


async def test_notices_through_a_pooler_in_transaction_mode_are_never_trusted(
    database_url: str, open_folder: Path
) -> None:
    trust = Trust()
    async with (
        pgbouncer(open_folder, database_url, "transaction", size=1) as url,
        Database.connect(url, pool_size=1) as database,
    ):
        listening = asyncio.create_task(trust.listener(url, database, 0.1).run())
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(3):
                await trust.doubts.get()
        assert trust.proofs.empty()
        assert not trust.is_heard
        listening.cancel()
        await asyncio.wait([listening])


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_notices_are_heard_through_a_session_of_the_listeners_own(
    database_url: str, open_folder: Path, mode: Literal["session", "transaction"]
) -> None:
    """Through the pooler in session mode; beside it in transaction mode."""
    trust = Trust()
    async with (
        pgbouncer(open_folder, database_url, mode, size=3) as url,
        Database.connect(url, pool_size=1) as database,
    ):
        listens_at = url if mode == "session" else database_url
        listening = asyncio.create_task(trust.listener(listens_at, database, PATIENCE_S).run())
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(3):
                await trust.proofs.get()
        assert trust.is_heard
        listening.cancel()
        await asyncio.wait([listening])
