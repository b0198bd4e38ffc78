"""What the commands read and write besides the service's own work: doctor's reads, call by call."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from service.model import account_scope
from service.store.connections import directory
from service.store.database import SLOW_STATEMENT_S
from service.store.queries import read_queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.model import Rules
    from service.store.database import Database

_SQL = read_queries("checking")
READ_DIRECTORY = read_queries("connections")["read_directory"]
MOST_ACCOUNTS = 1000
MOST_USERS = 10_000


class CheckedConnection(msgspec.Struct, frozen=True):
    """A connection with its sealed token; `total` is how many there are, listed or not."""

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
        """Tell whether nothing holds this account's calls back."""
        return self.token_status == "active" and self.pause_reason is None  # noqa: S105 - a state

    def __repr__(self) -> str:
        return f"CheckedConnection({self.ig_account_id})"


class CheckedPause(msgspec.Struct, frozen=True):
    """A pause of the whole app, or of an account that nobody has connected."""

    scope: str
    reason: str
    until: datetime


class UserGroup(msgspec.Struct, frozen=True):
    """Users in the same state; `last_error` is the JSON of the latest failure among them."""

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
    """Reads, each bounded in rows and in time, and the budget for calls that an operator makes."""

    def __init__(self, database: Database, rules: Rules) -> None:
        self._database = database
        self._rules = rules

    async def read_connections(self, location_id: str | None) -> list[CheckedConnection]:
        """Read a location's connections, or all of them: at most 1000, troubled ones first."""
        rows = await self._database.fetch(_SQL["list_connections"], location_id, MOST_ACCOUNTS)
        return [CheckedConnection(**row) for row in rows]

    async def read_pauses(self) -> list[CheckedPause]:
        """Read what pauses the app."""
        rows = await self._database.fetch(_SQL["list_app_pause"])
        return [CheckedPause(**row) for row in rows]

    async def read_users(self, location_id: str | None, accounts: int) -> list[UserGroup]:
        """Group the users who wrote last, about 10,000 of them, by their state."""
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
        """Take a slot in the budget, pauses or not: seconds to wait, None if it is full."""
        interval_s = 1 / calls_per_second
        rows = await self._database.fetch(
            _SQL["take_slot"],
            timedelta(seconds=interval_s),
            timedelta(seconds=max(1.0, interval_s)),
        )
        return rows[0]["wait_s"] if rows else None

    async def end_run_out_pauses(self, ig_account_id: str) -> None:
        """Lift the pauses of the app and the account that had only been waiting for a success."""
        await self._database.fetch(_SQL["end_run_out_pauses"], account_scope(ig_account_id))
