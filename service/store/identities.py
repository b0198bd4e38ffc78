"""Looks up, schedules and erases identities."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg
import msgspec

from service.coalescer import Coalescer
from service.model.freshness import FOREVER, CachedIdentity, Rules
from service.store.database import SLOW_STATEMENT_S, Database
from service.store.queries import read_queries

MOST_CANDIDATES = 10_000
LOOKED_UP_WITHIN_S = 2.5
_ASKING, _SWEEPING = read_queries("asking"), read_queries("sweeping")
ERASE = tuple(
    _ASKING[f"erase_{what}"]
    for what in ("participants", "streaks", "pauses", "forwards", "identities")
)

_BACKFILL = read_queries("backfill")
_LOOKING_UP = read_queries("looking_up")


class DueUser(msgspec.Struct, frozen=True):
    """A participant to queue."""

    ig_account_id: str
    ig_user_id: str


class Forced(msgspec.Struct, frozen=True):
    """Users made due even if the cache does not require it.

    Only calls after `forced_at` count. `hints` has one callable participant per user, none if all
    accounts of the user are paused.
    """

    forced_at: datetime
    hints: list[DueUser]
    known: set[str]


class Candidates(msgspec.Struct, frozen=True):
    """The users that a backfill can fetch: the number (up to 10,000), and the most recent."""

    total: int
    ig_user_ids: list[str]


class LeftOut(msgspec.Struct, frozen=True):
    """Counts of users without a fresh identity who cannot be fetched now.

    `waiting_until`: when the last of the waiting users is retried.
    """

    stopped: int
    paused: int
    waiting: int
    waiting_until: datetime | None
    asked_at: datetime


class Identities:
    """Reads and schedules identities; concurrent lookups share a statement."""

    def __init__(self, database: Database, rules: Rules) -> None:
        self._database = database
        self._rules = rules
        self._lookups = Coalescer(self._look_up, patience_s=LOOKED_UP_WITHIN_S)

    async def look_up(self, ig_user_ids: Sequence[str]) -> list[CachedIdentity]:
        """Read identities in the requested order, with repeats and unknown users.

        Raises UnavailableError within 2.5 seconds.
        """
        return await self._lookups.submit_all(ig_user_ids)

    async def watch(self, ig_user_ids: Sequence[str]) -> list[CachedIdentity]:
        """Read identities in the requested order; `pause` is read for fresh ones too."""
        rows = await self._database.fetch(
            _LOOKING_UP["look_up"],
            *(ig_user_ids, self._rules.ttl, True),
        )
        return [_cached(row) for row in rows]

    async def schedule_stale(self, ig_user_ids: Sequence[str]) -> list[DueUser]:
        """Make participants without a fresh identity due; returns those due now."""
        rows = await self._database.fetch(
            _LOOKING_UP["schedule_stale"],
            sorted(set(ig_user_ids)),
            self._rules.ttl,
            self._rules.max_failures,
            self._rules.retry_waits,
        )
        return [_due(row) for row in rows if row["is_due"]]

    async def find_due(self, a_account: int, at_most: int, overdue: timedelta) -> list[DueUser]:
        """Find users of callable accounts that have been due for at least `overdue`."""
        rows = await self._database.fetch(
            _SWEEPING["find_due"], a_account, at_most, overdue, timeout_s=SLOW_STATEMENT_S
        )
        return [_due(row) for row in rows]

    async def clear_failures(self, ig_user_id: str) -> None:
        """Reset a user's failures."""
        await self._database.fetch(_ASKING["clear_failures"], ig_user_id)

    async def force(self, ig_user_ids: Sequence[str], *, include_fresh: bool) -> Forced:
        """Make users due now, including stopped ones; calls in flight continue."""
        rows = await self._database.fetch(
            _ASKING["force"], sorted(set(ig_user_ids)), include_fresh, self._rules.max_failures
        )
        hints: dict[str, DueUser] = {}
        for row in rows:
            if row["blocked"] is None:
                hints.setdefault(row["ig_user_id"], _due(row))
        forced_at = rows[0]["forced_at"] if rows else FOREVER
        return Forced(forced_at, list(hints.values()), {row["ig_user_id"] for row in rows})

    async def has_location(self, location_id: str) -> bool:
        """Return whether any account belongs to the location."""
        rows = await self._database.fetch(_ASKING["has_location"], location_id)
        return bool(rows[0][0])

    async def find_candidates(
        self,
        location_id: str,
        within: timedelta,
        at_most: int,
        *,
        include_failed: bool,
        failed_before: datetime | None = None,
    ) -> Candidates:
        """Find a location's users without a fresh identity, most recent message first.

        `include_failed` includes users who wait or have stopped, with `failed_before` only those
        who failed before then.
        """
        rows = await self._database.fetch(
            _ASKING["find_candidates"],
            location_id,
            within,
            self._rules.ttl,
            self._rules.max_failures,
            self._rules.retry_waits,
            include_failed,
            MOST_CANDIDATES,
            at_most,
            failed_before,
            timeout_s=SLOW_STATEMENT_S,
        )
        total = rows[0]["candidates"] if rows else 0
        return Candidates(total, [row["ig_user_id"] for row in rows])

    async def count_left_out(
        self, location_id: str, within: timedelta, *, include_failed: bool
    ) -> LeftOut:
        """Count a location's users that a backfill leaves without a fresh identity."""
        [row] = await self._database.fetch(
            _BACKFILL["left_out"],
            location_id,
            within,
            self._rules.ttl,
            self._rules.max_failures,
            self._rules.retry_waits,
            include_failed,
            MOST_CANDIDATES,
            timeout_s=SLOW_STATEMENT_S,
        )
        return LeftOut(**row)

    async def erase(self, *ig_user_ids: str) -> None:
        """Delete everything stored about users; claims in flight can no longer settle."""
        async with self._database.transaction(SLOW_STATEMENT_S) as connection:
            for statement in ERASE:
                await connection.execute(statement, ig_user_ids)

    async def _look_up(self, asked: Sequence[str]) -> list[CachedIdentity]:
        rows = await self._database.fetch(
            _LOOKING_UP["look_up"],
            *(list(set(asked)), self._rules.ttl, False),
        )
        found = {row["ig_user_id"]: _cached(row) for row in rows}
        return [found[ig_user_id] for ig_user_id in asked]


def _due(row: asyncpg.Record) -> DueUser:
    return DueUser(row["ig_account_id"], row["ig_user_id"])


def _cached(row: asyncpg.Record) -> CachedIdentity:
    """Convert a row of the lookup; its columns have the order of the fields."""
    return CachedIdentity(*row)
