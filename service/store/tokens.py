"""Stores checks and renewals of the connections' tokens."""

from __future__ import annotations

from datetime import datetime, timedelta

from service.judgement.token_rules import TokenState
from service.model.calls import TokenFacts, account_scope
from service.store.connections import mark_token_dead
from service.store.database import Database
from service.store.queries import read_queries

CHECK_TAKES = timedelta(minutes=5)
MOST_LISTED = 10_000

_SQL = read_queries("tokens")
_PAUSES = read_queries("pauses")


class StoredToken(TokenState, frozen=True, kw_only=True):
    """A token as stored, plain or sealed; `pending` is a renewed one that is not accepted yet."""

    stored: str
    pending: str | None = None


class Tokens:
    """Reads and writes tokens and their checks; times are from the caller's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def notice_new(self, now: datetime, soon: timedelta) -> None:
        """Schedule the first check of each token that was not checked before."""
        await self._database.fetch(_SQL["notice_new"], now, soon)

    async def claim(self, now: datetime) -> StoredToken | None:
        """Claim the check that is due first, for 5 minutes; None if none is due."""
        rows = await self._database.fetch(_SQL["claim"], now, CHECK_TAKES)
        return StoredToken(**rows[0]) if rows else None

    async def postpone(self, ig_account_id: str, until: datetime, error: str | None = None) -> None:
        """Check again, but not before then; `error` is the failure of this check."""
        await self._database.fetch(_SQL["postpone"], ig_account_id, until, error)

    async def finish(self, ig_account_id: str, now: datetime) -> None:
        """Note that the account's token has been checked."""
        await self._database.fetch(_SQL["finish"], ig_account_id, now)

    async def record(
        self, token: StoredToken, username: str | None, facts: TokenFacts, now: datetime
    ) -> bool:
        """Store Meta's answer; false if the token was replaced in the meantime."""
        rows = await self._database.fetch(
            _SQL["record"],
            token.ig_account_id,
            token.stored,
            now,
            username,
            facts.expires_at,
            facts.data_access_expires_at,
            list(facts.scopes) if facts.scopes is not None else None,
        )
        return bool(rows)

    async def keep_pending(self, ig_account_id: str, sealed: str) -> bool:
        """Store a renewed token until Meta accepts it; false if the account was removed."""
        return bool(await self._database.fetch(_SQL["keep_pending"], ig_account_id, sealed))

    async def drop_pending(self, ig_account_id: str) -> None:
        """Delete a renewed token that Meta refuses."""
        await self._database.fetch(_SQL["drop_pending"], ig_account_id)

    async def store_renewed(
        self, token: StoredToken, sealed: str, expires_at: datetime | None, now: datetime
    ) -> bool:
        """Replace the old token with the renewed one; false if it was replaced in the meantime."""
        async with self._database.transaction() as session:
            stored = await session.fetchval(
                _SQL["store_renewed"], token.ig_account_id, token.stored, sealed, expires_at, now
            )
            await session.execute(
                _SQL["note_renewed" if stored else "drop_pending"],
                token.ig_account_id,
                *([sealed] if stored else []),
            )
        return bool(stored)

    async def mark_dead(self, token: StoredToken) -> bool:
        """Mark a token as dead and pause its account; false if it was replaced in the meantime."""
        async with self._database.transaction() as session:
            if not await mark_token_dead(session, token.ig_account_id, token.stored):
                return False
            scope = account_scope(token.ig_account_id)
            await session.execute(_PAUSES["pause_until_changed"], scope, "token_invalid")
        return True

    async def list_states(self, location_id: str | None = None) -> list[TokenState]:
        """Read all tokens, at most 10,000: dead ones first, then by expiry."""
        rows = await self._database.fetch(_SQL["list_states"], MOST_LISTED, location_id)
        return [TokenState(**row) for row in rows]

    async def forget_removed(self) -> None:
        """Delete the checks of accounts that are no longer connected."""
        await self._database.fetch(_SQL["forget_removed"])
