"""Creates the schema in a new database, and migrates an older one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import structlog

from service.errors import RefusedError, SealError, UnavailableError
from service.store.database import REFUSED_VALUES
from service.store.queries import read_queries
from service.store.refusals import OURS, describe_refusal, without_values
from service.store.session import connect, refuse_encoding
from service.vault import Vault

SCHEMA = Path(__file__).parents[2] / "schema.sql"
MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_TIMEOUT_S = 600.0
_TURN_POLL_S = 0.1
LOCK_TIMEOUT_MS, LOCK_RETRY_S = 2000, 1.0
_BUSY = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)
_SQL = read_queries("migrating")

log = structlog.get_logger()


async def migrate(dsn: str, vault: Vault, *, seals_plain: bool = False) -> int:
    """Bring the schema up to date, and reseal tokens that are sealed with an older key.

    With `seals_plain`, plain tokens of another application are sealed too. If replicas start
    together, one migrates and the others wait. Returns how many tokens were sealed; raises
    UnavailableError if the database cannot be reached or refuses a statement.
    """
    try:
        async with (
            asyncio.timeout(MIGRATION_TIMEOUT_S),
            _connected(dsn) as keeper,
            _connected(dsn) as connection,
            _turn(keeper),
        ):
            await _bring_up(connection)
            return await _seal_tokens(connection, vault, seals_plain=seals_plain)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        kind = RefusedError if getattr(error, "sqlstate", None) == OURS else UnavailableError
        reason = describe_refusal(error)
        raise kind(f"The migration failed: {reason}") from without_values(error)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(dsn)
    try:
        yield connection
        await connection.close(timeout=5)
    finally:
        connection.terminate()


@asynccontextmanager
async def _turn(keeper: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold the migration lock for the length of the block.

    It is a transaction-level lock, which works through a pooler and ends with its session.
    """
    while True:
        async with keeper.transaction():
            if await keeper.fetchval(_SQL["take_turn"]):
                await keeper.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                yield
                return
        await asyncio.sleep(_TURN_POLL_S)


async def _bring_up(connection: asyncpg.Connection) -> None:
    encoding = await connection.fetchval("SHOW server_encoding")
    refuse_encoding(await connection.fetchval("SELECT current_database()"), encoding)
    if await connection.fetchval(_SQL["is_new"]):
        async with connection.transaction():
            await connection.execute(SCHEMA.read_text(encoding="utf-8"))
        return
    await connection.execute(_SQL["create_list"])
    applied = {row["name"] for row in await connection.fetch(_SQL["list_applied"])}
    for name, script in _read_migrations():
        if name not in applied:
            await _apply(connection, name, script)
            log.info("a migration was applied", migration=name)


def _read_migrations() -> list[tuple[str, str]]:
    """Read the name and the text of every migration, in order."""
    return [(path.stem, path.read_text("utf-8")) for path in sorted(MIGRATIONS.glob("*.sql"))]


async def _apply(connection: asyncpg.Connection, name: str, script: str) -> None:
    if "CONCURRENTLY" in script:
        await _apply_by_statement(connection, script)
        await connection.execute(_SQL["record_applied"], name)
        return
    while not await _apply_at_once(connection, name, script):
        log.warning("a migration waits for a lock", migration=name)
        await asyncio.sleep(LOCK_RETRY_S)


async def _apply_at_once(connection: asyncpg.Connection, name: str, script: str) -> bool:
    """Apply a file in one transaction; false if it did not get a lock in time.

    A statement that waits for a table's lock blocks all later ones, so the wait is short.
    """
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute(script)
            await connection.execute(_SQL["record_applied"], name)
    except _BUSY:
        return False
    return True


async def _apply_by_statement(connection: asyncpg.Connection, script: str) -> None:
    r"""Apply a file outside a transaction; an empty line ends a statement.

    As in psql, `\gexec` after a query runs the query's result. An index can take longer than the
    statement_timeout, which is therefore removed unless the session belongs to a pooler.
    """
    if await connection.fetchval("SELECT pg_backend_pid()") == connection.get_server_pid():
        await connection.execute("SET statement_timeout = 0")
    for statement in filter(None, _COMMENT.sub("", script).strip().split("\n\n")):
        query = statement.removesuffix(r"\gexec")
        if query == statement:
            await connection.execute(statement)
            continue
        for row in await connection.fetch(query):
            await connection.execute(row[0])


async def _seal_tokens(connection: asyncpg.Connection, vault: Vault, *, seals_plain: bool) -> int:
    sealed = 0
    for row in await connection.fetch(_SQL["list_tokens"]):
        account, stored = row["ig_account_id"], row["access_token"]
        if vault.has_older_seal(stored) or (seals_plain and not vault.is_sealed(stored)):
            sealed += await _seal(connection, vault, account, stored)
    return sealed


async def _seal(connection: asyncpg.Connection, vault: Vault, account: str, stored: str) -> bool:
    try:
        token = vault.seal(vault.open(stored, account), account)
        await connection.execute(_SQL["replace_token"], account, stored, token)
    except (SealError, *REFUSED_VALUES) as error:
        log.error("a token stays as it is", ig_account_id=account, error=describe_refusal(error))
        return False
    return True
