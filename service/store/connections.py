"""Connections: the accounts that may be called, and the directory of their ids."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads it for the API's schema
from typing import TYPE_CHECKING

import msgspec

from service.errors import ServiceError
from service.model import account_scope
from service.store import sql
from service.store.database import SLOW_STATEMENT_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.model import Login
    from service.store.database import Database, Session
    from service.vault import Vault

MOST_LISTED = 10_000


class TakenError(ServiceError):
    """An id belongs to another connection already; `owner` is its account."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"an id belongs to the connection {owner} already")
        self.owner = owner


class Connection(msgspec.Struct, frozen=True, rename="camel"):
    """A connection as operators see it: everything but the token."""

    ig_account_id: str
    alias_ids: list[str]
    location_id: str
    login: str
    token_status: str
    created_at: datetime
    updated_at: datetime
    paused_until: datetime | None
    pause_reason: str | None


class Connections:
    """Reads and writes connections; tokens are sealed before they leave this process."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault

    async def put(
        self,
        ig_account_id: str,
        location_id: str,
        access_token: str,
        login: Login,
        alias_ids: Sequence[str],
    ) -> Connection:
        """Create or replace a connection and lift the pauses that a new token ends.

        Raises TakenError if one of the ids is another connection's. Participants stored under an
        alias move to the account; the account's own ids cease to be users.
        """
        ids = [ig_account_id, *alias_ids]
        scopes = [account_scope(own_id) for own_id in ids]
        async with self._database.transaction(SLOW_STATEMENT_S) as connection:
            await connection.execute(sql.LOCK_STREAKS)
            await connection.execute(sql.LOCK_CONNECTIONS)
            owner = await connection.fetchval(sql.OTHER_OWNER, ig_account_id, ids)
            if owner is not None:
                raise TakenError(owner)
            await connection.execute(
                sql.PUT_CONNECTION,
                ig_account_id,
                list(alias_ids),
                location_id,
                login,
                self._vault.seal(access_token, ig_account_id),
            )
            await connection.execute(sql.LIFT_PAUSES, scopes)
            for statement in sql.ERASE:
                await connection.execute(statement, ids)
            await connection.execute(sql.REHOME_ALIASES, ig_account_id, list(alias_ids))
            await _acquit(connection, ig_account_id)
            rows = await connection.fetch(sql.CONNECTION, ig_account_id)
        return Connection(**rows[0])

    async def delete(self, ig_account_id: str) -> bool:
        """Remove a connection; false if there is none. Its users' names stay."""
        async with self._database.transaction() as connection:
            await connection.execute(sql.LOCK_CONNECTIONS)
            deleted = await connection.fetchval(sql.DELETE_CONNECTION, ig_account_id)
            await connection.execute(sql.DELETE_PAUSE, account_scope(ig_account_id))
        return bool(deleted)

    async def list(self) -> list[Connection]:
        """Read the connections, at most 10,000, by account id."""
        rows = await self._database.fetch(sql.CONNECTIONS, MOST_LISTED)
        return [Connection(**row) for row in rows]

    async def read_directory(self) -> Mapping[str, str]:
        """Map every id of every connected account, aliases too, to the account's id."""
        rows = await self._database.fetch(sql.DIRECTORY)
        return {
            own_id: row["ig_account_id"]
            for row in rows
            for own_id in (row["ig_account_id"], *row["alias_ids"])
        }


async def _acquit(connection: Session, ig_account_id: str) -> None:
    """Make due at once whom the old token was refused for: the new one knows nothing of it."""
    suspects = await connection.fetch(sql.END_STREAK, account_scope(ig_account_id))
    users = [row["ig_user_id"] for row in suspects]
    await connection.execute(sql.DUE_NOW, ig_account_id, users)
