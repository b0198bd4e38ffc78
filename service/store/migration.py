"""Bringing a database up to `schema.sql`: a new one, an older one, or one that is up to date."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import structlog

from service.errors import SealError, UnavailableError
from service.store import sql

if TYPE_CHECKING:
    from service.vault import Vault

SCHEMA = Path(__file__).parents[2] / "schema.sql"
MIGRATION_TIMEOUT_S = 600.0

log = structlog.get_logger()


async def migrate(dsn: str, vault: Vault) -> int:
    """Apply the schema and seal tokens that are plain or sealed with an older key.

    One transaction under an advisory lock, so that replicas may start together. Returns how many
    tokens were sealed; raises UnavailableError if the database can't be reached or refuses.
    """
    try:
        async with asyncio.timeout(MIGRATION_TIMEOUT_S):
            connection = await asyncpg.connect(dsn, timeout=10)
            try:
                async with connection.transaction():
                    return await _migrate(connection, vault)
            finally:
                await connection.close(timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise UnavailableError(
            f"the migration failed: {str(error) or type(error).__name__}"
        ) from error


async def _migrate(connection: asyncpg.Connection, vault: Vault) -> int:
    await connection.execute("SET LOCAL lock_timeout = '60s'")
    await connection.execute("SET LOCAL client_min_messages = warning")
    await connection.execute(sql.LOCK_MIGRATION)
    await connection.execute(SCHEMA.read_text(encoding="utf-8"))
    return await _seal_tokens(connection, vault)


async def _seal_tokens(connection: asyncpg.Connection, vault: Vault) -> int:
    sealed = 0
    for row in await connection.fetch(sql.STORED_TOKENS):
        account, stored = row["ig_account_id"], row["access_token"]
        if not vault.needs_sealing(stored):
            continue
        try:
            token = vault.open(stored, account) if vault.is_sealed(stored) else stored
        except SealError as error:
            log.error("a token stays as it is", ig_account_id=account, error=str(error))
            continue
        await connection.execute(sql.STORE_TOKEN, account, stored, vault.seal(token, account))
        sealed += 1
    return sealed
