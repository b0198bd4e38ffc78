"""The statements of `doctor` and other commands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from service.model.calls import account_scope
from service.model.freshness import Rules
from service.store.connections import directory
from service.store.database import SLOW_STATEMENT_S, Database
from service.store.queries import read_queries

_SQL = read_queries("checking")
READ_DIRECTORY = read_queries("connections")["read_directory"]
MOST_ACCOUNTS = 1000
MOST_USERS = 10_000


class CheckedConnection(msgspec.Struct, frozen=True):
    """A connection with its stored token; `total` counts all connections, listed or not."""

    ig_account_id: str
    alias_ids: list[str]
    location_id: str
    login: str
    access_token: str
    token_status: str
    updated_at: datetime
    pause_reason: str | None
    paused_until: datetime | None
    total: int

    @property
    def is_callable(self) -> bool:
        """Return whether calls for this account are allowed now."""
        return self.token_status == "active" and self.pause_reason is None  # noqa: S105 - a state

    def __repr__(self) -> str:
        return f"CheckedConnection({self.ig_account_id})"


class UserGroup(msgspec.Struct, frozen=True):
    """Users in the same state; `last_error` is the JSON of their latest failure."""

    is_fetched: bool
    is_fresh: bool
    fail_count: int
    reason: str | None
    is_stopped: bool
    is_recent: bool
    is_late: bool
    users: int
    last_failed_at: datetime | None
    last_error: str | None


class Checkup:
    """Reads bounded in rows and time, and slots for calls that an operator makes."""

    def __init__(self, database: Database, rules: Rules) -> None:
        self._database = database
        self._rules = rules

    async def read_connections(self, location_id: str | None) -> list[CheckedConnection]:
        """Read the connections of a location or of all: at most 1000, those with problems first."""
        rows = await self._database.fetch(_SQL["list_connections"], location_id, MOST_ACCOUNTS)
        return [CheckedConnection(**row) for row in rows]

    async def read_users(self, location_id: str | None, accounts: int) -> list[UserGroup]:
        """Group the most recent users, about 10,000, by their state."""
        an_account = max(1, MOST_USERS // max(1, accounts))
        rows = await self._database.fetch(
            _SQL["group_users"],
            location_id,
            an_account,
            MOST_ACCOUNTS,
            self._rules.ttl,
            self._rules.max_failures,
            timeout_s=SLOW_STATEMENT_S,
        )
        return [UserGroup(**row) for row in rows]

    async def read_directory(self) -> Mapping[str, str]:
        """Map every id of every connected account, aliases too, to the account's id."""
        rows = await self._database.fetch(READ_DIRECTORY, timeout_s=SLOW_STATEMENT_S)
        return directory(rows)

    async def take_slot(self, calls_per_second: float) -> float | None:
        """Take a slot in the budget despite pauses; returns the wait in seconds, None if full."""
        interval_s = 1 / calls_per_second
        rows = await self._database.fetch(
            _SQL["take_slot"],
            timedelta(seconds=interval_s),
            timedelta(seconds=max(1.0, interval_s)),
        )
        return rows[0]["wait_s"] if rows else None

    async def end_expired_pauses(self, ig_account_id: str) -> None:
        """End the expired pauses of the app and the account, after a call has succeeded."""
        await self._database.fetch(_SQL["end_expired_pauses"], account_scope(ig_account_id))
