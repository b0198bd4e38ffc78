"""The pauses, and the pace of the budget, which all replicas share."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from service.model.calls import PauseReason
from service.store.database import Database, Session
from service.store.outcomes import Claim
from service.store.queries import read_queries

PACE_LASTS = timedelta(minutes=1)
MOST_LISTED = 10_000
FIRST_AND_LONGEST_PAUSE: dict[str, tuple[timedelta, timedelta]] = {
    "throttled": (timedelta(minutes=1), timedelta(hours=1)),
    "outage": (timedelta(seconds=10), timedelta(minutes=5)),
    "permission": (timedelta(hours=1), timedelta(hours=6)),
    "bad_request": (timedelta(minutes=1), timedelta(minutes=10)),
    "policy_block": (timedelta(hours=6), timedelta(hours=24)),
    "token_invalid": (timedelta(minutes=1), timedelta(hours=1)),
}
_PAUSES = read_queries("pauses")
_BUDGET = read_queries("budget")


class Pause(msgspec.Struct, frozen=True):
    """A pause of a scope; `left_s` counts from when it was read."""

    scope: str
    until: datetime
    reason: str
    left_s: float


class Pauses:
    """Reads and writes the pauses and the pace."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pause(self, scope: str, reason: PauseReason, hold_s: float | None) -> None:
        """Pause a scope for `hold_s`, else longer with each strike."""
        async with self._database.transaction() as connection:
            await write_pause(connection, scope, reason, hold_s)

    async def read(self) -> list[Pause]:
        """Read the active pauses."""
        rows = await self._database.fetch(_PAUSES["list_active"], MOST_LISTED)
        return [Pause(**row) for row in rows]

    async def set_pace(self, share: float) -> None:
        """Slow all replicas down to a share of the rate for a minute."""
        await self._database.fetch(_BUDGET["set_pace"], share, PACE_LASTS)

    async def read_wait(self) -> tuple[float, float]:
        """Read for how many seconds ahead slots are reserved, and the pace."""
        rows = await self._database.fetch(_BUDGET["read_wait"])
        return (rows[0]["wait_s"], rows[0]["pace"]) if rows else (0.0, 1.0)


async def write_pause(
    connection: Session,
    scope: str,
    reason: str,
    hold_s: float | None = None,
    cause: Claim | None = None,
) -> None:
    """Pause a scope within a transaction; calls in flight together count as one strike.

    The probe that follows uses another user or account than `cause`, if one is due.
    """
    hold = None if hold_s is None else timedelta(seconds=hold_s)
    blamed = (None, None) if cause is None else (cause.ig_account_id, cause.ig_user_id)
    lengths = FIRST_AND_LONGEST_PAUSE[reason]
    await connection.execute(_PAUSES["pause"], scope, reason, hold, *lengths, *blamed)
