"""The cost of the statements on a million participants. `python -m benchmarks.plans`.

Measured in buffers (8 kB pages) per returned row, which do not depend on caches or other load;
milliseconds depend on the machine. Each statement is planned twice: for its values, as PostgreSQL
does the first five times in a session, and for any values, as it can do later.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from sandbox.postgres.server import EmbeddedPostgres
from service.model.freshness import Rules
from service.store.queries import read_queries

SCHEMA = Path(__file__).parents[1] / "schema.sql"
USERS, OF_THE_DEAD, ACCOUNTS = 1_000_000, 900_000, 20
DEAD, LIVE = "17841400000000000", "17841400000000001"
RULES = Rules()
FIND_DUE = read_queries("sweeping")["find_due"].removesuffix(";")
BATCH = 50

# ruff: noqa: S608 - statements consist of constants of this file
LOAD = (
    "ALTER TABLE instagram_user_cache DISABLE TRIGGER USER",  # for the notices of a million rows
    f"""
    INSERT INTO instagram_connections (ig_account_id, location_id, access_token, token_status)
    SELECT 17841400000000000 + n, CASE n WHEN 0 THEN 'loc_dead' ELSE 'loc_live' END, 'sealed',
        CASE n WHEN 0 THEN 'invalid' ELSE 'active' END
    FROM generate_series(0, {ACCOUNTS - 1}) n
    """,
    f"INSERT INTO instagram_pauses VALUES ('account:{DEAD}', 'infinity', 'token_invalid')",
    # Of ten users, six are fresh, one is expired, one was never fetched and is due, one waits after
    # a failure, and one is stopped, in no particular order.
    f"""
    INSERT INTO instagram_user_cache (ig_user_id, username, name, profile_pic_url,
        last_fetched_at, expires_at, fail_count, last_failed_at, last_error, raw)
    SELECT 5550000000000000 + n, 'user.' || n, 'User ' || n, 'https://example.com/' || n,
        f.at, f.at + interval '7 days', CASE n % 10 WHEN 8 THEN 3 WHEN 9 THEN 5 ELSE 0 END,
        CASE WHEN n % 10 > 7 THEN now() - interval '30 min' END,
        CASE WHEN n % 10 > 7 THEN '{{"reason": "not_found", "code": 100}}'::jsonb END,
        jsonb_build_object('id', n, 'username', 'user.' || n, 'name', 'User ' || n)
    FROM generate_series(1, {USERS}) n, LATERAL (SELECT CASE
        WHEN n % 10 < 6 THEN now() - n % 7 * interval '1 day'
        WHEN n % 10 = 6 THEN now() - interval '8 days' END AS at) AS f
    WHERE n % 10 <> 7 ORDER BY md5(n::text)
    """,
    f"""
    INSERT INTO instagram_participants (ig_account_id, ig_user_id, first_message_at,
        last_message_at, due_at)
    SELECT CASE WHEN n <= {OF_THE_DEAD} THEN {DEAD} ELSE {LIVE} + n % {ACCOUNTS - 1} END,
        5550000000000000 + n, now() - interval '90 days', now() - random() * interval '90 days',
        CASE n % 10 WHEN 7 THEN now() - random() * interval '1 day'
            WHEN 8 THEN now() + interval '30 min' END
    FROM generate_series(1, {USERS}) n ORDER BY md5(n::text)
    """,
    "ALTER TABLE instagram_user_cache ENABLE TRIGGER USER",
    "VACUUM (ANALYZE)",
)
_ASKING = read_queries("asking")
_RECEIVING = read_queries("receiving")
_LOOKING_UP = read_queries("looking_up")
_CLAIMING = read_queries("claiming")


class Case(msgspec.Struct, frozen=True):
    """A statement and its values."""

    name: str
    query: str
    args: Sequence[object]


class Cost(msgspec.Struct, frozen=True):
    """The buffers and the time of one run of a statement."""

    rows: int
    buffers: int
    time_ms: float


def users(start: int, step: int) -> list[str]:
    """Return fifty users of active accounts."""
    return [str(5550000000000000 + OF_THE_DEAD + start + n * step) for n in range(BATCH)]


async def cases(session: asyncpg.Connection) -> list[Case]:
    """Return the statements for each message, call, lookup, sweep and backfill."""
    ttl, most, waits = RULES.ttl, RULES.max_failures, RULES.retry_waits
    due = await session.fetch(FIND_DUE, 100, BATCH, timedelta())
    lookup_ids, at = users(1, 1), datetime.now(UTC)
    of_one = [LIVE] * BATCH

    def candidates(location: str, days: int) -> list[object]:
        return [location, timedelta(days=days), ttl, most, waits, False, 10_000, BATCH, None]

    return [
        Case("sweep", FIND_DUE, [100, 1000, timedelta(seconds=0.5)]),
        Case("candidates, 7 days", _ASKING["find_candidates"], candidates("loc_dead", 7)),
        Case("candidates, 90 days", _ASKING["find_candidates"], candidates("loc_dead", 90)),
        Case("candidates of 19 accounts", _ASKING["find_candidates"], candidates("loc_live", 7)),
        Case(
            "claim of 50",
            _CLAIMING["claim"],
            [
                [row["ig_account_id"] for row in due],
                [row["ig_user_id"] for row in due],
                *(7, timedelta(seconds=20), ttl, most),
            ],
        ),
        Case(
            "journal of 50",
            _RECEIVING["journal"],
            [of_one, lookup_ids, [at] * BATCH, [at] * BATCH, [True] * BATCH, ttl, most, waits],
        ),
        Case("lookup of 50", _LOOKING_UP["look_up"], [lookup_ids, ttl, False]),
        Case("lookup of 50, none fresh", _LOOKING_UP["look_up"], [users(7, 10), ttl, False]),
        Case(
            "schedule of 50 stale", _LOOKING_UP["schedule_stale"], [users(6, 10), ttl, most, waits]
        ),
        Case("count by state", _LOOKING_UP["count"], [most]),
    ]


def literal(value: object) -> str:
    """Return a value as SQL."""
    match value:
        case bool() | int() | float():
            return str(value).lower()
        case timedelta():
            return f"interval '{value.total_seconds()} s'"
        case datetime():
            return f"timestamptz '{value.isoformat()}'"
        case [] | ():
            return "'{}'"
        case list() | tuple():
            return f"ARRAY[{', '.join(literal(item) for item in value)}]"
        case _:
            return "NULL" if value is None else f"'{value}'"


async def measure(session: asyncpg.Connection, case: Case, *, is_generic: bool) -> Cost:
    """Run a statement twice, the second time with its pages in memory, and roll it back."""
    transaction = session.transaction()
    await transaction.start()
    try:
        mode = "force_generic_plan" if is_generic else "force_custom_plan"
        await session.execute(f"SET LOCAL plan_cache_mode = {mode}")
        await session.execute(f"PREPARE measured AS {case.query}")
        values = ", ".join(literal(value) for value in case.args)
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE measured ({values})"
        await explain_and_undo(session, explain)
        explained = await explain_and_undo(session, explain)
    finally:
        await transaction.rollback()
        await session.execute("DEALLOCATE measured")
    plan = explained["Plan"]
    return Cost(round(plan["Actual Rows"]), total_buffers(plan), explained["Execution Time"])


async def explain_and_undo(session: asyncpg.Connection, explain: str) -> dict[str, Any]:
    """Return a statement's plan, and roll it back."""
    savepoint = session.transaction()
    await savepoint.start()
    explained: dict[str, Any] = json.loads(await session.fetchval(explain))[0]
    await savepoint.rollback()
    return explained


def total_buffers(plan: dict[str, Any]) -> int:
    """Count the buffers of a plan, including data-modifying CTEs that nothing reads."""
    nodes = list(walk(plan))
    read = {node.get("CTE Name") for node in nodes}
    unread = [
        node
        for node in nodes
        if node["Node Type"] == "ModifyTable"
        and node.get("Subplan Name", "").removeprefix("CTE ") not in read | {""}
    ]
    return sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in [plan, *unread])


def walk(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's nodes."""
    yield plan
    for child in plan.get("Plans", []):
        yield from walk(child)


def line(case: Case, custom: Cost, generic: Cost) -> str:
    """Return a row of the table."""
    a_row = [f"{cost.buffers / max(cost.rows, 1):.1f}" for cost in (custom, generic)]
    return (
        f"| {case.name} | {custom.rows} | {custom.buffers:,} / {generic.buffers:,}"
        f" | {' / '.join(a_row)} | {custom.time_ms:.1f} / {generic.time_ms:.1f} |"
    )


async def load(session: asyncpg.Connection) -> None:
    """Fill a new database."""
    await session.execute(SCHEMA.read_text(encoding="utf-8"))
    for statement in LOAD:
        await session.execute(statement)


async def run(dsn: str) -> None:
    """Print the table."""
    session = await asyncpg.connect(dsn, server_settings={"jit": "off"})
    await load(session)
    print("| statement | rows | buffers | a row | ms |")
    print("|---|---|---|---|---|")
    for case in await cases(session):
        custom = await measure(session, case, is_generic=False)
        generic = await measure(session, case, is_generic=True)
        print(line(case, custom, generic), flush=True)
    await session.close()


def main() -> None:
    """Measure on a temporary server."""
    with tempfile.TemporaryDirectory(prefix="plans-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedPostgres(Path(folder, "postgres"), durable=False) as server:
            asyncio.run(run(server.dsn()))


if __name__ == "__main__":
    main()
