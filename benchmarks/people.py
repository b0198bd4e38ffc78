"""The cost of a page of `GET /people` by the number of people. `python -m benchmarks.people`.

Measured in buffers (8 kB pages), as in `benchmarks.plans`; milliseconds are for pages in memory.
The sizes are arguments: `1000000 10000000`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from benchmarks.plans import SCHEMA, explain_and_undo, literal, total_buffers
from sandbox.postgres.server import EmbeddedPostgres
from service.identities.people import Asked, People
from service.model.freshness import Rules
from service.store.database import Database
from service.store.identities import Identities
from service.store.people import PeopleStore, Place

SIZES = (1_000_000, 10_000_000)
ACCOUNTS, NEEDLES = 20, 4900
PAGE, PAGES = 50, 100
ONE_ACCOUNT = "17841400000000003"
CASES = (
    ("everybody", Asked()),
    ("one account", Asked(ig_account_id=ONE_ACCOUNT)),
    ("a location of 20 accounts", Asked(location_id="loc")),
    ("without a name (one in ten)", Asked(named=False)),
    ("given up (nobody)", Asked(state="failed")),
    ("q: one person", Asked(q="@haystack.123456")),
    ("q: 4,900 people", Asked(q="@Needle")),
    ("q: nearly everybody", Asked(q="hay")),
    ("q: an id", Asked(q="5550000000012")),
    ("q: 4,900 people, given up (nobody)", Asked(q="needle", state="failed")),
)

# ruff: noqa: S608 - statements consist of constants of this file
LOAD = (
    "ALTER TABLE instagram_user_cache DISABLE TRIGGER USER",
    f"""
    INSERT INTO instagram_connections (ig_account_id, location_id, access_token)
    SELECT 17841400000000000 + n, 'loc', 'sealed' FROM generate_series(0, {ACCOUNTS - 1}) n
    """,
    f"""
    INSERT INTO instagram_user_cache (ig_user_id, username, name, last_fetched_at, expires_at, raw)
    SELECT 5550000000000000 + n, CASE WHEN n % (%(users)s / {NEEDLES}) = 0 THEN 'needle.'
        ELSE 'haystack.' END || n, 'Hay Stack ' || n, now() - interval '1 day',
        now() + interval '6 days', jsonb_build_object('id', n::text, 'username', 'haystack.' || n)
    FROM generate_series(1, %(users)s) n WHERE n % 10 <> 7
    """,
    f"""
    INSERT INTO instagram_participants (ig_account_id, ig_user_id, first_message_at,
        last_message_at, due_at)
    SELECT 17841400000000000 + n % {ACCOUNTS}, 5550000000000000 + n, now() - interval '90 days',
        now() - random() * interval '90 days', NULL
    FROM generate_series(1, %(users)s) n
    """,
    "VACUUM (ANALYZE)",
)


class Measured(Database):
    """A database that adds up the buffers and times of its statements."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], session: asyncpg.Connection) -> None:
        super().__init__(pool)
        self._session = session
        self.buffers, self.time_ms, self.statements = 0, 0.0, 0

    async def fetch(
        self, query: str, *args: object, timeout_s: float = 60.0
    ) -> list[asyncpg.Record]:
        """Run a statement, and again for its plan."""
        rows = await super().fetch(query, *args, timeout_s=max(60.0, timeout_s))
        await self._session.execute(f"PREPARE measured AS {query}")
        values = f"({', '.join(literal(value) for value in args)})" if args else ""
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE measured {values}"
        explained = await explain_and_undo(self._session, explain)
        await self._session.execute("DEALLOCATE measured")
        self.buffers += total_buffers(explained["Plan"])
        self.time_ms += explained["Execution Time"]
        self.statements += 1
        return rows


async def walk(people: People, asked: Asked, pages: int) -> tuple[int, Place | None]:
    """Read so many pages; returns their number and the place of the next one."""
    place, turned = None, 0
    while turned < pages:
        place = (await people.page(asked, datetime.now(UTC), PAGE, place)).next_place
        turned += 1
        if place is None:
            break
    return turned, place


async def compare(pool: asyncpg.Pool[asyncpg.Record], session: asyncpg.Connection) -> None:
    """Print a line for each case: the first page and the hundredth, or the last one."""
    rules, plain, measured = Rules(), Database(pool), Measured(pool, session)
    walker = People(PeopleStore(plain), Identities(plain, rules), rules)
    people = People(PeopleStore(measured), Identities(measured, rules), rules)
    for name, asked in CASES:
        turned, place = await walk(walker, asked, PAGES - 1)
        cells = [await _cost(people, measured, asked, None)]
        if place is not None:
            cells.append(await _cost(people, measured, asked, place))
        pages = f"page {turned + 1}" if place else "(one page)"
        print(f"| {name} | {' | '.join(cells)} | {pages} |", flush=True)


async def _cost(people: People, measured: Measured, asked: Asked, place: Place | None) -> str:
    measured.buffers, measured.time_ms, measured.statements = 0, 0.0, 0
    page = await people.page(asked, datetime.now(UTC), PAGE, place)
    return (
        f"{len(page.people)} people, {measured.statements} statements,"
        f" {measured.buffers:,} buffers, {measured.time_ms:.1f} ms"
    )


async def run(dsn: str, sizes: Sequence[int]) -> None:
    """Fill the tables step by step, and measure each time."""
    for size in sizes:
        began = time.monotonic()
        session = await asyncpg.connect(dsn, server_settings={"jit": "off"})
        await session.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await session.execute(SCHEMA.read_text(encoding="utf-8"))
        for statement in LOAD:
            await session.execute(statement.replace("%(users)s", str(size)))
        print(f"\n{size:,} people (made in {time.monotonic() - began:.0f} s)\n", flush=True)
        async with asyncpg.create_pool(
            dsn, min_size=1, max_size=2, server_settings={"jit": "off"}
        ) as pool:
            await compare(pool, session)
        await session.close()


def main() -> None:
    """Measure on a temporary server."""
    sizes = [int(size) for size in sys.argv[1:]] or SIZES
    with tempfile.TemporaryDirectory(prefix="people-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedPostgres(Path(folder, "postgres"), durable=False) as server:
            asyncio.run(run(server.dsn(), sizes))


if __name__ == "__main__":
    main()
