"""People to erase: those of removed accounts, and those whose last message is too old."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from service.store.database import SLOW_STATEMENT_S, Database
from service.store.identities import ERASE
from service.store.queries import read_queries

CLAIM_LASTS = timedelta(minutes=1)

_SQL = read_queries("leaving")


class Leaver(msgspec.Struct, frozen=True):
    """A person of a removed account; `is_shared`: they also wrote to another account."""

    ig_user_id: str
    is_shared: bool


class Silent(msgspec.Struct, frozen=True):
    """A person whose last message to an account is old; `wrote_since`: to another account."""

    ig_user_id: str
    last_message_at: datetime
    wrote_since: bool


BEFORE_EVERYBODY = Silent("", datetime(1, 1, 2, tzinfo=UTC), wrote_since=False)


class Leavings:
    """Records which accounts leave, so that a crash only delays the erasure of their people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self) -> str | None:
        """Claim an account whose people no other replica is erasing; None if there is none."""
        rows = await self._database.fetch(_SQL["claim"], CLAIM_LASTS)
        return str(rows[0]["ig_account_id"]) if rows else None

    async def find_people(self, ig_account_id: str, at_most: int) -> list[Leaver]:
        """Read people who wrote to an account."""
        rows = await self._database.fetch(_SQL["find_people"], ig_account_id, at_most)
        return [Leaver(**row) for row in rows]

    async def detach(self, ig_account_id: str, ig_user_ids: Sequence[str]) -> None:
        """Delete the users' participants of an account; everything else about them stays."""
        await self._database.fetch(_SQL["detach"], ig_account_id, ig_user_ids)

    async def erase_silent(self, ig_user_ids: Sequence[str], since: datetime) -> list[str]:
        """Erase the users who have still not written since; returns their ids."""
        return await self._erase("lock_silent", ig_user_ids, since)

    async def erase_alone(self, ig_user_ids: Sequence[str], ig_account_id: str) -> list[str]:
        """Erase the users who have still not written to another account; returns their ids."""
        return await self._erase("lock_alone", ig_user_ids, ig_account_id)

    async def _erase(self, lock: str, ig_user_ids: Sequence[str], guard: object) -> list[str]:
        """Erase the users whose participants the statement locks; newer participants stay."""
        async with self._database.transaction(SLOW_STATEMENT_S) as session:
            rows = await session.fetch(_SQL[lock], ig_user_ids, guard)
            gone = sorted({row["ig_user_id"] for row in rows})
            await session.execute(
                _SQL["delete_participants"],
                [row["ig_account_id"] for row in rows],
                [row["ig_user_id"] for row in rows],
            )
            for statement in ERASE[1:]:
                await session.execute(statement, gone)
        return gone

    async def note_progress(self, ig_account_id: str, erased: int) -> bool:
        """Count erased people and keep the claim; false if the account is connected again."""
        rows = await self._database.fetch(_SQL["note_progress"], ig_account_id, erased, CLAIM_LASTS)
        return bool(rows)

    async def finish(self, ig_account_id: str) -> int:
        """Record that all people are erased; returns how many."""
        rows = await self._database.fetch(_SQL["finish"], ig_account_id)
        return int(rows[0]["erased"]) if rows else 0

    async def list_leavings(self) -> list[str]:
        """Return the accounts that are leaving, at most 100."""
        return [row["ig_account_id"] for row in await self._database.fetch(_SQL["list_leavings"])]

    async def find_silent(self, since: datetime, after: Silent, at_most: int) -> list[Silent]:
        """Read the next participants, ordered by last message, that are older than `since`."""
        rows = await self._database.fetch(
            _SQL["find_silent"], since, after.last_message_at, after.ig_user_id, at_most
        )
        return [Silent(**row) for row in rows]

    async def claim_chore(self, name: str, every: timedelta) -> bool:
        """Claim a recurring chore; returns whether this replica does it now."""
        return bool(await self._database.fetch(_SQL["claim_chore"], name, every))
