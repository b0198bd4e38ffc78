"""`python -m benchmarks.leaving --people 1000000`: removes an account with many people.

Erases all people of one account, as the service does in the background. Journalling of another
account's messages and lookups are timed before and meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import click

from sandbox.postgres.server import EmbeddedPostgres
from service.accounts.leaving import AccountLeaver
from service.model.contacts import Contact
from service.model.freshness import Rules
from service.store.database import Database
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.leaving import Leavings
from service.store.migration import migrate
from service.store.queries import read_queries
from service.vault import Vault
from tests.accounts.world import KEY
from tests.system.chaos.rig import scratch_folder

SHOP, OTHER = "17841400000000001", "17841400000000002"
QUIET_S, STEP_S = 10.0, 0.02
FILL = """
WITH people AS (SELECT (5 * 10 ^ 15)::bigint + n AS id FROM generate_series(1, $1::bigint) AS n),
named AS (
    INSERT INTO instagram_user_cache (ig_user_id, username, name, last_fetched_at, expires_at, raw)
    SELECT id::text, 'user.' || id, 'User ' || id, now(), now() + interval '7 days',
        jsonb_build_object('id', id::text, 'username', 'user.' || id)
    FROM people
)
INSERT INTO instagram_participants (ig_account_id, ig_user_id, due_at)
SELECT $2, id::text, NULL FROM people
"""
LEFT = "SELECT count(*) FROM instagram_participants WHERE ig_account_id = $1"
LOCKS = """
SELECT COALESCE(max(extract(epoch FROM now() - a.query_start)), 0)::float8
FROM pg_stat_activity a WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


class Others:
    """The load of other accounts: one statement after another, each timed."""

    def __init__(self, database: Database) -> None:
        self._journal = Journal(database, Rules())
        self._identities = Identities(database, Rules())
        self._users = itertools.count(8 * 10**15)
        self.took_s: dict[str, list[float]] = {}

    async def run(self, phase: str, until: asyncio.Event) -> None:
        """Journal a new sender and look up 50 users, repeatedly."""
        while not until.is_set():
            await self._time(f"journal, {phase}", self._write)
            await self._time(f"lookup of 50, {phase}", self._look_up)
            await asyncio.sleep(STEP_S)

    async def _time(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        started_at = time.perf_counter()
        await work()
        self.took_s.setdefault(name, []).append(time.perf_counter() - started_at)

    async def _write(self) -> None:
        now = datetime.now(UTC)
        await self._journal.write([Contact(OTHER, str(next(self._users)), now, now, wrote=True)])

    async def _look_up(self) -> None:
        await self._identities.look_up([str(8 * 10**15 + n) for n in range(50)])

    def show(self) -> None:
        """Print the medians and the maxima."""
        for name, took_s in self.took_s.items():
            ordered = sorted(took_s)
            p99 = ordered[int(len(ordered) * 0.99)]
            print(
                f"{name}: p50 {statistics.median(took_s) * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms,"
                f" slowest {ordered[-1] * 1000:.0f} ms, {len(took_s)} times"
            )


async def _watch_locks(dsn: str, over: asyncio.Event) -> float:
    """Return the longest observed wait of a session for a lock."""
    connection, longest_s = await asyncpg.connect(dsn), 0.0
    while not over.is_set():
        longest_s = max(longest_s, await connection.fetchval(LOCKS))
        await asyncio.sleep(0.05)
    await connection.close()
    return longest_s


async def _run(people: int) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(scratch_folder()))
        server = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        connection = await asyncpg.connect(server.dsn())
        await connection.execute("CREATE DATABASE leaving")
        await connection.close()
        dsn = server.dsn("leaving")
        await migrate(dsn, Vault((KEY,)))
        connection = await asyncpg.connect(dsn)
        await connection.execute(FILL, people, SHOP)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()
        database = await stack.enter_async_context(Database.connect(dsn))
        await _leave(database, dsn, people)


async def _leave(database: Database, dsn: str, people: int) -> None:
    others, quiet, over = Others(database), asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().call_later(QUIET_S, quiet.set)
    await others.run("before", quiet)
    leavings = Leavings(database)
    await database.fetch(read_queries("leaving")["begin"], SHOP)
    started_at = time.monotonic()
    erasing = asyncio.create_task(AccountLeaver(leavings, lambda _: None).run())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(others.run("meanwhile", over))
        locks = tasks.create_task(_watch_locks(dsn, over))
        while await leavings.list_leavings():  # noqa: ASYNC110 - polls a table
            await asyncio.sleep(0.2)
        took_s = time.monotonic() - started_at
        over.set()
    erasing.cancel()
    left = await database.fetch(LEFT, SHOP)
    rate = people / took_s
    print(f"{people:,} people erased in {took_s:.0f} s ({rate:,.0f}/s), {left[0][0]} left")
    print(f"longest wait for a lock that was seen: {locks.result() * 1000:.0f} ms")
    others.show()


@click.command()
@click.option("--people", default=1_000_000, show_default=True)
def main(people: int) -> None:
    """Measure the removal of an account with many people."""
    asyncio.run(_run(people))


if __name__ == "__main__":
    main()
