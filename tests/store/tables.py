"""The tables as a hand at psql sees them: what tests arrange and look at."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg

from service.model.calls import GraphProblem, Profile
from service.store.claims import Claims
from service.store.outcomes import Claim

ACCOUNT, OTHER_ACCOUNT, THIRD_ACCOUNT = "17841400000000001", "17841400000000002", "17841400000003"
LOCATION = "loc_1"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOW = timedelta()
PATIENCE_S = 60


def user_id(number: int) -> str:
    return f"5550000000{number:06}"


USER, OTHER_USER = user_id(1), user_id(2)


class Tables:
    """Reads and writes rows; a timedelta stands for that moment from the database's now."""

    def __init__(self, session: asyncpg.Connection) -> None:
        self.session = session

    async def insert(self, table: str, **columns: object) -> None:
        values = [
            f"now() + ${n}::interval" if isinstance(value, timedelta) else f"${n}"
            for n, value in enumerate(columns.values(), start=1)
        ]
        await self.session.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(values)})",  # noqa: S608
            *columns.values(),
        )

    async def connect(self, ig_account_id: str = ACCOUNT, **columns: object) -> None:
        given: dict[str, object] = {"location_id": LOCATION, "access_token": "a sealed token"}
        await self.insert("instagram_connections", ig_account_id=ig_account_id, **(given | columns))

    async def participate(
        self, ig_user_id: str = USER, ig_account_id: str = ACCOUNT, **columns: object
    ) -> None:
        await self.insert(
            "instagram_participants",
            ig_account_id=ig_account_id,
            ig_user_id=ig_user_id,
            **columns,
        )

    async def cache(self, ig_user_id: str = USER, **columns: object) -> None:
        await self.insert("instagram_user_cache", ig_user_id=ig_user_id, **columns)

    async def cache_failed(
        self, ig_user_id: str, fail_count: int, ago: timedelta = MINUTE, reason: str = "not_found"
    ) -> None:
        await self.cache(
            ig_user_id,
            fail_count=fail_count,
            last_failed_at=-ago,
            last_error=f'{{"reason": "{reason}"}}',
        )

    async def pause(self, scope: str, reason: str, until: timedelta) -> None:
        await self.insert("instagram_pauses", scope=scope, reason=reason, until=until)

    async def cached(self, ig_user_id: str = USER) -> asyncpg.Record:
        row = await self.row(
            "SELECT *, last_error->>'reason' AS reason FROM instagram_user_cache"
            " WHERE ig_user_id = $1",
            ig_user_id,
        )
        assert row is not None
        return row

    async def participant(
        self, ig_user_id: str = USER, ig_account_id: str = ACCOUNT
    ) -> asyncpg.Record:
        """A participant; `is_due` compares with the database's now."""
        row = await self.row(
            "SELECT *, due_at <= now() AS is_due FROM instagram_participants"
            " WHERE ig_user_id = $1 AND ig_account_id = $2",
            ig_user_id,
            ig_account_id,
        )
        assert row is not None
        return row

    async def row(self, query: str, *args: object) -> asyncpg.Record | None:
        return await self.session.fetchrow(query, *args)

    async def value(self, query: str, *args: object) -> Any:  # noqa: ANN401 - whatever is asked
        return await self.session.fetchval(query, *args)

    async def column(self, query: str, *args: object) -> list[Any]:
        return [row[0] for row in await self.session.fetch(query, *args)]

    async def execute(self, statement: str, *args: object) -> None:
        await self.session.execute(statement, *args)

    async def fall_due(self) -> None:
        """Let time pass for every participant: what waits is due, what is leased has lapsed."""
        await self.execute(
            "UPDATE instagram_participants SET due_at = now() - interval '1 second'"
            " WHERE due_at IS NOT NULL"
        )

    async def pauses(self) -> dict[str, str]:
        rows = await self.session.fetch(
            "SELECT scope, reason FROM instagram_pauses WHERE until > now()"
        )
        return {row["scope"]: row["reason"] for row in rows}

    async def run_out(self) -> None:
        """Let every pause run out, a probe's turn too."""
        await self.execute(
            "UPDATE instagram_pauses SET until = now() - interval '1 second',"
            " probing_until = now() - interval '1 second'"
        )

    async def until(self, query: str, *args: object) -> None:
        """Wait until a query says true; what happens in the server tells nobody."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.value(query, *args):
                await asyncio.sleep(0.005)
                await self.execute("SELECT pg_stat_clear_snapshot()")  # kept by a transaction

    async def until_blocked(self, sessions: int = 1) -> None:
        """Wait until sessions of this database stand waiting for a lock."""
        await self.until(
            "SELECT count(*) >= $1 FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'",
            sessions,
        )

    async def deadlocks(self) -> int:
        return int(
            await self.value(
                "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            )
        )


PROFILE = Profile("jane.doe", "Jane Doe", "https://example.com/jane.jpg", '{"id": "1"}')
NOT_FOUND = GraphProblem("not_found", 100, 33, "No such user", "trace-1")
TIMEOUT = GraphProblem("timeout")
BAD_REQUEST = GraphProblem("bad_request", 100, 2018218, "(#100) No", "trace-3")
DENIED = GraphProblem("permission", 10, None, "(#10) Not allowed", "trace-2")


async def taken(claims: Claims, ig_user_id: str = USER, ig_account_id: str = ACCOUNT) -> Claim:
    """Take a user who has to be there for the taking."""
    claim = await claims.take(ig_account_id, ig_user_id)
    assert isinstance(claim, Claim), claim
    return claim
