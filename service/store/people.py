"""The people who wrote, in the order of their last messages, read in bounded steps.

The order is that of `Place`: last message, user, account, all descending. Every read starts below
a place and stops after a number of rows, so its cost does not depend on the number of participants.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from service.store.database import SLOW_STATEMENT_S, Database
from service.store.queries import read_queries

EARLIEST = datetime(2, 1, 1, tzinfo=UTC)
NEVER = datetime(9980, 1, 1, tzinfo=UTC)  # represents a pause without an end
LONGEST_PREFIX = 64  # characters of a name that the indexes hold
ACCOUNTS_A_USER = 20
_SQL = read_queries("people")
_ABOVE_ALL = "9" * 33  # sorts after every id, in every collation
_LAST_CHARACTER = "\U0010ffff"


class Place(msgspec.Struct, frozen=True, order=True):
    """A position in the list: the user's latest message and its account."""

    last_message_at: datetime
    ig_user_id: str
    ig_account_id: str


TOP = Place(datetime(9990, 1, 1, tzinfo=UTC), _ABOVE_ALL, _ABOVE_ALL)


class Written(msgspec.Struct, frozen=True):
    """A participant of the list; `is_latest`: the user wrote to no other account later."""

    place: Place
    is_latest: bool


class WrittenTo(msgspec.Struct, frozen=True):
    """An account that a user wrote to, and when the user is next tried there."""

    ig_user_id: str
    ig_account_id: str
    location_id: str | None
    last_message_at: datetime
    next_attempt_at: datetime | None


class PeopleStore:
    """Reads participants by the time of their last message."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_below(
        self,
        place: Place,
        since: datetime,
        at_most: int,
        ig_account_ids: Sequence[str] | None = None,
    ) -> list[Written]:
        """Read the participants after a place, of all accounts or only of these."""
        args: list[object] = [*msgspec.structs.astuple(place), since, at_most]
        statement = _SQL["below"]
        if ig_account_ids is not None:
            statement, args = _SQL["of_accounts_below"], [*args, list(ig_account_ids)]
        rows = await self._database.fetch(statement, *args, timeout_s=SLOW_STATEMENT_S)
        return [Written(Place(*row[:3]), row["is_latest"]) for row in rows]

    async def find_by_prefix(
        self, prefix: str, at_most: int, *, is_username: bool, may_be_id: bool
    ) -> list[str]:
        """Find users by a prefix of the username, name or id, at most `at_most` of each kind.

        `is_username` excludes names and ids; `may_be_id` includes ids.
        """
        rows = await self._database.fetch(
            _SQL["begin_with"],
            prefix,
            _LAST_CHARACTER,
            at_most,
            not is_username,
            may_be_id and not is_username,
            _ABOVE_ALL,
            timeout_s=SLOW_STATEMENT_S,
        )
        return [row["ig_user_id"] for row in rows]

    async def read_of(
        self,
        ig_user_ids: Sequence[str],
        place: Place,
        since: datetime,
        ig_account_ids: Sequence[str] | None,
    ) -> list[Written]:
        """Read the latest participant of each of these users, if it comes after the place."""
        rows = await self._database.fetch(
            _SQL["of_users_below"],
            *msgspec.structs.astuple(place),
            since,
            list(ig_user_ids),
            None if ig_account_ids is None else list(ig_account_ids),
            timeout_s=SLOW_STATEMENT_S,
        )
        return [Written(Place(*row), is_latest=True) for row in rows]

    async def read_accounts(self, ig_user_ids: Sequence[str]) -> dict[str, list[WrittenTo]]:
        """Read the accounts that users wrote to, latest first, at most 20 each."""
        if not ig_user_ids:
            return {}
        rows = await self._database.fetch(
            _SQL["written_to"], list(ig_user_ids), ACCOUNTS_A_USER, NEVER
        )
        found: dict[str, list[WrittenTo]] = {}
        for row in rows:
            found.setdefault(row["ig_user_id"], []).append(WrittenTo(*row))
        return found

    async def read_last_errors(self, ig_user_ids: Sequence[str]) -> dict[str, str]:
        """Read the JSON of the last failure of each user who has one."""
        rows = await self._database.fetch(_SQL["last_errors"], list(ig_user_ids))
        return {row["ig_user_id"]: row["last_error"] for row in rows}

    async def accounts_of(self, location_id: str) -> list[str]:
        """Return the accounts of a location."""
        rows = await self._database.fetch(_SQL["accounts_of_location"], location_id)
        return [row["ig_account_id"] for row in rows]
