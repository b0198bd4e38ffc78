"""Connections: the accounts that calls are made for, and the directory of their ids."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
import msgspec
import structlog

from service.errors import SealError, ServiceError, UnstorableError
from service.model.calls import APP_SCOPE, UNTRIED, Login, Trial, account_scope, outage_scope
from service.store.database import REFUSED_VALUES, SLOW_STATEMENT_S, Database, Session
from service.store.identities import ERASE
from service.store.queries import read_queries
from service.store.refusals import describe_refusal
from service.vault import Vault

MOST_LISTED = 10_000
_SQL = read_queries("connections")
_LEAVING = read_queries("leaving")
REPLACE_TOKEN = read_queries("migrating")["replace_token"]
_STREAKS = read_queries("streaks")


log = structlog.get_logger()


class TakenError(ServiceError):
    """An id already belongs to another connection; `owner` is its account."""

    def __init__(self, owner: str) -> None:
        super().__init__(f"an id already belongs to the connection {owner}")
        self.owner = owner


class ExistsError(ServiceError):
    """The account is already connected."""


class Connection(msgspec.Struct, frozen=True, rename="camel"):
    """A connection without its token, as shown to operators.

    `is_plain`: the token is stored unencrypted. `last_named_at`: when one of the latest writers
    got a name.
    """

    ig_account_id: str
    alias_ids: list[str]
    location_id: str
    login: str
    token_status: str
    created_at: datetime
    updated_at: datetime
    paused_until: datetime | None
    pause_reason: str | None
    username: str | None
    token_expires_at: datetime | None
    data_access_expires_at: datetime | None
    token_checked_at: datetime | None
    scopes: list[str] | None
    is_plain: bool
    last_named_at: datetime | None


class Connections:
    """Reads and writes connections; tokens are sealed before they are stored."""

    def __init__(self, database: Database, vault: Vault, *, seals_plain: bool = False) -> None:
        self._database = database
        self._vault = vault
        self._seals_plain = seals_plain
        self._warned_of: set[str] = set()

    async def put(
        self,
        ig_account_id: str,
        location_id: str,
        access_token: str,
        login: Login,
        alias_ids: Sequence[str],
        trial: Trial = UNTRIED,
        *,
        is_new_only: bool = False,
    ) -> Connection:
        """Create or replace a connection, and lift the pauses that a new token ends.

        `trial` is the result of testing the token. Raises ExistsError if `is_new_only` and the
        account is connected, TakenError if another connection has one of the ids. Participants
        stored under an alias move to the account; the account's own ids are no longer users.
        """
        ids = [ig_account_id, *alias_ids]
        scopes = [account_scope(own_id) for own_id in ids]
        async with self._changing(ig_account_id, ids) as connection:
            if is_new_only and await connection.fetchval(_SQL["exists"], ig_account_id):
                raise ExistsError
            await connection.execute(
                _SQL["put"],
                ig_account_id,
                list(alias_ids),
                location_id,
                login,
                self._vault.seal(access_token, ig_account_id),
                trial.is_accepted,
                trial.username,
            )
            await connection.execute(_SQL["lift_pauses"], scopes)
            for statement in ERASE:
                await connection.execute(statement, ids)
            await connection.execute(_SQL["move_aliases"], ig_account_id, list(alias_ids))
            await _retry_suspects(connection, ig_account_id)
            rows = await connection.fetch(_SQL["list_all"], ig_account_id, 1)
        return Connection(**rows[0])

    @asynccontextmanager
    async def _changing(self, ig_account_id: str, ids: Sequence[str]) -> AsyncIterator[Session]:
        """Lock the connections; raises TakenError if another one has one of the ids."""
        async with self._database.transaction(SLOW_STATEMENT_S) as connection:
            await connection.execute(_STREAKS["lock"])
            await connection.execute(_SQL["lock"])
            owner = await connection.fetchval(_SQL["find_other_owner"], ig_account_id, ids)
            if owner is not None:
                raise TakenError(owner)
            yield connection

    async def exists(self, ig_account_id: str) -> bool:
        """Return whether an account is connected."""
        return bool(await self._database.fetch(_SQL["exists"], ig_account_id))

    async def change(
        self, ig_account_id: str, location_id: str | None, alias_ids: Sequence[str] | None
    ) -> Connection | None:
        """Change a connection's location, aliases or both, and keep its token.

        Returns None if there is no such connection; raises TakenError as `put` does.
        """
        ids = [ig_account_id, *(alias_ids or ())]
        async with self._changing(ig_account_id, ids) as connection:
            changed = await connection.fetchval(
                _SQL["change"], ig_account_id, alias_ids, location_id
            )
            if changed is None:
                return None
            if alias_ids:
                scopes = [account_scope(alias) for alias in alias_ids]
                await connection.execute(_SQL["lift_pauses"], scopes)
                for statement in ERASE:
                    await connection.execute(statement, ids)
                await connection.execute(_SQL["move_aliases"], ig_account_id, list(alias_ids))
            rows = await connection.fetch(_SQL["list_all"], ig_account_id, 1)
        return Connection(**rows[0])

    async def lift_pause(self, scope: str) -> bool:
        """End a pause immediately; false if there is none. A new failure starts a new pause.

        A token that Meta refused is tried once more.
        """
        kind, _, ig_account_id = scope.partition(":")
        async with self._database.transaction() as connection:
            await connection.execute(_STREAKS["lock"])
            is_lifted = await connection.fetchval(_SQL["lift_pause"], scope)
            revived = "UPDATE 0"
            if kind != APP_SCOPE:
                revived = await connection.execute(_SQL["revive"], ig_account_id)
        return bool(is_lifted) or revived != "UPDATE 0"

    async def delete(self, ig_account_id: str, *, erases: bool = False) -> bool:
        """Remove a connection; false if there is none.

        With `erases` its people are erased in the background; otherwise their names stay.
        """
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock"])
            deleted = await connection.fetchval(_SQL["delete"], ig_account_id)
            await connection.execute(_SQL["lift_pause"], account_scope(ig_account_id))
            if deleted and erases:
                await connection.execute(_LEAVING["begin"], ig_account_id)
        return bool(deleted)

    async def list(self) -> list[Connection]:
        """Read the connections, at most 10,000, by account id."""
        rows = await self._database.fetch(_SQL["list_all"], None, MOST_LISTED)
        return [Connection(**row) for row in rows]

    async def read_directory(self) -> Mapping[str, str]:
        """Map every id of every connected account, aliases too, to the account's id."""
        rows = await self._database.fetch(_SQL["read_directory"])
        for row in rows:
            if row["unknown_login"] is not None:
                self._warn_of_login(row["ig_account_id"])
        return directory(rows)

    def _warn_of_login(self, ig_account_id: str) -> None:
        if ig_account_id not in self._warned_of:
            self._warned_of.add(ig_account_id)
            log.warning(
                "the login of a connection is neither facebook nor instagram: read as facebook",
                ig_account_id=ig_account_id,
            )

    async def take_over(self) -> None:
        """Apply changes made by another application: lift outdated pauses, seal its tokens.

        Tokens are sealed only with SEAL_TOKENS, since the other application cannot read them then.
        """
        await self._database.fetch(_SQL["lift_outdated_pauses"], None, timeout_s=SLOW_STATEMENT_S)
        if not self._seals_plain:
            return
        for row in await self._database.fetch(_SQL["list_plain_tokens"]):
            await self._seal(row["ig_account_id"], row["access_token"])

    async def _seal(self, ig_account_id: str, stored: str) -> None:
        try:
            sealed = self._vault.seal(self._vault.open(stored, ig_account_id), ig_account_id)
            await self._database.fetch(REPLACE_TOKEN, ig_account_id, stored, sealed)
        except (SealError, UnstorableError) as error:
            log.error("a token stays plain", ig_account_id=ig_account_id, error=str(error))


def directory(rows: Sequence[asyncpg.Record]) -> dict[str, str]:
    """Map every id of every row, aliases too, to the account's id."""
    return {
        own_id: row["ig_account_id"]
        for row in rows
        for own_id in (row["ig_account_id"], *row["alias_ids"])
    }


async def mark_token_dead(connection: Session, ig_account_id: str, stored: str) -> bool:
    """Mark a token as refused by Meta; false if it was replaced in the meantime.

    A constraint of another application can refuse the update; the account's pause is enough then.
    """
    try:
        async with connection.transaction():
            done = await connection.execute(_SQL["mark_token_dead"], ig_account_id, stored)
    except REFUSED_VALUES as error:
        reason = describe_refusal(error)
        log.error("a connection can't be marked", ig_account_id=ig_account_id, error=reason)
        return bool(await connection.fetchval(_SQL["is_token_current"], ig_account_id, stored))
    return bool(done == "UPDATE 1")


async def _retry_suspects(connection: Session, ig_account_id: str) -> None:
    """Make users due whose call failed with the old token, since the new one may work."""
    suspects = await connection.fetch(_STREAKS["end_streak"], account_scope(ig_account_id))
    users = [row["ig_user_id"] for row in suspects]
    await connection.execute(_STREAKS["make_due"], ig_account_id, users)
    await connection.execute(
        _STREAKS["forget_account"], ig_account_id, [APP_SCOPE, outage_scope(ig_account_id)]
    )
