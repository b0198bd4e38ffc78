"""Pauses and the reservation of budget, as the tables keep them for every replica."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from service.model import account_scope
from service.store import sql

if TYPE_CHECKING:
    from service.model import PauseReason
    from service.store.database import Database, Session

PROBE = timedelta(seconds=15)
PACE_LASTS = timedelta(minutes=1)
MOST_LISTED = 10_000
FIRST_AND_LONGEST_PAUSE: dict[str, tuple[timedelta, timedelta]] = {
    "throttled": (timedelta(minutes=1), timedelta(hours=1)),
    "outage": (timedelta(seconds=10), timedelta(minutes=5)),
    "permission": (timedelta(hours=1), timedelta(hours=6)),
    "bad_request": (timedelta(minutes=1), timedelta(hours=1)),
    "token_invalid": (timedelta(minutes=1), timedelta(hours=1)),
}


class Pause(msgspec.Struct, frozen=True):
    """What holds a scope's calls back; `left_s` counts from when it was read."""

    scope: str
    until: datetime
    reason: str
    left_s: float


class Reservation(msgspec.Struct, frozen=True):
    """An answer to the wish for one call.

    `wait_s` seconds from now the call may be made; if null, `paused_by` tells why it may not, or
    else the budget is full and may be asked again in `full_for_s` seconds.
    """

    wait_s: float | None
    paused_by: str | None
    paused_scope: str | None
    is_probe: bool
    full_for_s: float | None


class Pauses:
    """Reads the pauses and takes places in the budget."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(
        self, ig_account_id: str, interval_s: float, *, is_probe: bool = False
    ) -> Reservation:
        """Take the next place in the budget, unless the account or the app is paused.

        A pause that has run out lets one call through as a probe; `is_probe` asks for the second
        try of that call. A generic cell rate algorithm (ITU-T I.371) without burst; never
        reserves more than a second or one interval ahead.
        """
        rows = await self._database.fetch(
            sql.RESERVE,
            account_scope(ig_account_id),
            timedelta(seconds=interval_s),
            timedelta(seconds=max(1.0, interval_s)),
            PROBE,
            is_probe,
        )
        return Reservation(**rows[0])

    async def pause(self, scope: str, reason: PauseReason, hold_s: float | None) -> None:
        """Pause a scope for as long as Meta says; else growing from strike to strike."""
        async with self._database.transaction() as connection:
            await write_pause(connection, scope, reason, hold_s)

    async def read(self) -> list[Pause]:
        """Read the pauses that are on."""
        rows = await self._database.fetch(sql.PAUSES, MOST_LISTED)
        return [Pause(**row) for row in rows]

    async def set_pace(self, share: float) -> None:
        """Slow every replica to a share of the rate for a minute."""
        await self._database.fetch(sql.PACE, share, PACE_LASTS)

    async def read_wait(self) -> tuple[float, float]:
        """Read how many seconds ahead the budget is reserved, and the pace."""
        rows = await self._database.fetch(sql.BUDGET_WAIT)
        return (rows[0]["wait_s"], rows[0]["pace"]) if rows else (0.0, 1.0)


async def write_pause(
    connection: Session, scope: str, reason: str, hold_s: float | None = None
) -> None:
    """Pause a scope inside a transaction; calls in flight together count as one strike."""
    hold = None if hold_s is None else timedelta(seconds=hold_s)
    await connection.execute(sql.PAUSE, scope, reason, hold, *FIRST_AND_LONGEST_PAUSE[reason])
