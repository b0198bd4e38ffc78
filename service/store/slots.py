"""Slots for Graph calls, kept in one PostgreSQL row for all replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import msgspec
import structlog

from service.coalescer import Coalescer
from service.model.calls import account_scope
from service.store.database import Database
from service.store.queries import read_queries

PROBE = timedelta(seconds=15)
_MOST_AHEAD_S = 1.0
FIRST_READINGS = 8
_A_STEP_S = 0.05  # between two readings a clock that is only adjusted drifts less than this
_BUDGET = read_queries("budget")


log = structlog.get_logger()


class Reservation(msgspec.Struct, frozen=True):
    """The answer to a request for a slot.

    `at_s` is the time of the call, in seconds of the event loop's clock. If it is null, `paused_by`
    is the reason of a pause; without a pause the budget is full for another `full_for_s` seconds.
    """

    at_s: float | None
    paused_by: str | None
    paused_scope: str | None
    is_probe: bool
    full_for_s: float | None


class ServerClock:
    """Converts the server's clock to the event loop's (Cristian 1989, Probabilistic clock sync).

    A reading bounds the difference of the clocks, since it was made between the question and the
    answer. The estimate moves only as far as a reading requires, so quick round trips improve it,
    slow ones do not harm it, and it follows a clock that was set.
    """

    def __init__(self) -> None:
        self._ahead_s: float | None = None

    def read(self, server_s: float, asked_at_s: float, answered_at_s: float) -> bool:
        """Use a reading made between two loop times; returns whether the server's clock was set."""
        least, most = server_s - answered_at_s, server_s - asked_at_s
        guess = (least + most) / 2 if self._ahead_s is None else self._ahead_s
        self._ahead_s = min(max(guess, least), most)
        return abs(self._ahead_s - guess) > _A_STEP_S

    def in_loop_s(self, server_s: float) -> float:
        """Convert a time of the server's clock to the loop's clock."""
        if self._ahead_s is None:
            raise ValueError("the server's clock has not been read")
        return server_s - self._ahead_s


class Slots:
    """Takes slots `interval_s` apart over all replicas; concurrent callers share a statement.

    A generic cell rate algorithm (ITU-T I.371) without burst that reserves at most a second or one
    interval ahead. An expired pause lets one call through as a probe. After the server's clock was
    set, no slot is taken until the earlier slots have passed.
    """

    def __init__(self, database: Database, interval_s: float) -> None:
        self.interval_s = interval_s
        self._database = database
        self.most_ahead_s = max(_MOST_AHEAD_S, interval_s)
        self._spacing = timedelta(seconds=interval_s), timedelta(seconds=self.most_ahead_s)
        self._clock = ServerClock()
        self._is_clock_sharp = False
        self._not_before_s = 0.0
        self._together = Coalescer(self._reserve_together)

    async def reserve(
        self, ig_account_id: str, ig_user_id: str = "", *, is_probe: bool = False
    ) -> Reservation:
        """Take the next slot, unless the account or the app is paused.

        An expired pause still blocks the user whose failure caused it, and an app pause that
        user's account, if another user can make the probe. `is_probe`: the caller repeats a
        probe's call.
        """
        found = None if is_probe else await self._together.submit(ig_account_id)
        return found or await self._reserve_apart(ig_account_id, ig_user_id, is_probe=is_probe)

    async def _reserve_together(self, ig_account_ids: Sequence[str]) -> list[Reservation | None]:
        """Take a slot for each account without a pause, active or expired; None for the others."""
        if not self._is_clock_sharp:
            await self._sharpen_clock()
        scopes = [account_scope(ig_account_id) for ig_account_id in ig_account_ids]
        rows = await self._read(_BUDGET["reserve_together"], scopes)
        return [self._reservation(row) if row["is_plain"] else None for row in rows]

    async def _reserve_apart(
        self, ig_account_id: str, ig_user_id: str, *, is_probe: bool
    ) -> Reservation:
        """Take a slot for one call, subject to pauses and as a probe if one is due."""
        scope = account_scope(ig_account_id)
        (row,) = await self._read(_BUDGET["reserve"], scope, PROBE, is_probe, ig_user_id)
        return self._reservation(row)

    async def _sharpen_clock(self) -> None:
        """Read the server's clock several times, since the first answers are slow and imprecise."""
        for _ in range(FIRST_READINGS):
            await self._fetch(_BUDGET["read_clock"])
        self._is_clock_sharp = True

    async def _read(self, statement: str, *args: object) -> list[asyncpg.Record]:
        rows, was_set = await self._fetch(statement, *self._spacing, *args)
        if was_set:
            self._not_before_s = asyncio.get_running_loop().time() + self.most_ahead_s
            log.warning("PostgreSQL's clock was set: no calls for a moment")
        return rows

    async def _fetch(self, statement: str, *args: object) -> tuple[list[asyncpg.Record], bool]:
        """Run a statement and read the server's clock; returns also whether the clock was set."""
        now = asyncio.get_running_loop().time
        asked_at_s = now()
        rows = await self._database.fetch(statement, *args)
        return rows, self._clock.read(rows[0]["clock_s"], asked_at_s, now())

    def _reservation(self, row: asyncpg.Record) -> Reservation:
        at_s, full_for_s = row["at_s"], row["full_for_s"]
        too_early_s = self._not_before_s - asyncio.get_running_loop().time()
        if too_early_s > 0:
            at_s, full_for_s = None, too_early_s
        return Reservation(
            at_s=None if at_s is None else self._clock.in_loop_s(at_s),
            paused_by=row["paused_by"],
            paused_scope=row["paused_scope"],
            is_probe=row["is_probe"],
            full_for_s=full_for_s,
        )
