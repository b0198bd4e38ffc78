"""A pool of PostgreSQL sessions; every use has a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from service.errors import UnavailableError, UnstorableError
from service.store.refusals import describe_refusal, without_values
from service.store.session import CONNECT_FAILURES, MOST_IDLE_S, create_pool

Session: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

STATEMENT_TIMEOUT_S = 2.0
SLOW_STATEMENT_S = 10.0  # for operators' and background statements
POOL_SIZE = 10
_DURABLY = "SET LOCAL synchronous_commit = on"  # if the session's setting cannot be changed
_IS_READ_ONLY = "SELECT current_setting('transaction_read_only')"
_OPENED_WITHIN_S = 60.0  # there can be several hosts, each of which can hang
# After one of these errors the session, and all others opened before, must be replaced.
_LOST = (
    asyncpg.ReadOnlySQLTransactionError,  # the server was demoted: a failover
    asyncpg.InvalidSQLStatementNameError,  # a pooler switched to another server session
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # used after the server closed the session
    ConnectionError,
)
_UNLUCKY = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_FAILED = (*CONNECT_FAILURES, *_LOST)
# a type, constraint or trigger, possibly another application's, refuses a value or row
REFUSED_VALUES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.RaiseError)


class Database:
    """Runs statements; raises UnavailableError if PostgreSQL does not answer in time.

    A statement's time limit includes the wait for a session. After a lost session or a deadlock
    the statement is retried once, so every statement must be idempotent.
    """

    def __init__(self, pool: asyncpg.Pool[Any], *, commits_lazily: bool = False) -> None:
        self._pool = pool
        self._commits_lazily = commits_lazily
        self._dropping: set[asyncio.Task[None]] = set()
        self.is_answering = True

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, url: str, pool_size: int = POOL_SIZE, most_idle_s: float = MOST_IDLE_S
    ) -> AsyncIterator[Database]:
        """Open the pool; raises UnavailableError if no writable server is reachable."""
        try:
            async with asyncio.timeout(_OPENED_WITHIN_S):
                opened = await create_pool(url, pool_size, most_idle_s)
        except TimeoutError:
            raise UnavailableError(
                f"Cannot connect to PostgreSQL: not ready within {_OPENED_WITHIN_S:g} s"
            ) from None
        database = cls(opened.pool, commits_lazily=opened.commits_lazily)
        try:
            yield database
        finally:
            await _close(opened.pool)
            await asyncio.gather(*database._dropping)

    async def fetch(
        self, query: str, *args: object, timeout_s: float = STATEMENT_TIMEOUT_S
    ) -> list[asyncpg.Record]:
        """Run one statement and return its rows."""
        async with self._translated(timeout_s):
            try:
                return await self._fetch(query, args)
            except _UNLUCKY:
                return await self._fetch(query, args)
            except _LOST as error:
                if _is_unencodable(error):
                    raise
                return await self._fetch(query, args)

    async def check_writable(self, timeout_s: float = STATEMENT_TIMEOUT_S) -> None:
        """Raise UnavailableError unless the server answers and accepts writes."""
        [row] = await self.fetch(_IS_READ_ONLY, timeout_s=timeout_s)
        if row[0] == "on":
            await self._pool.expire_connections()
            self.is_answering = False
            raise UnavailableError(
                "PostgreSQL is read-only: a standby, or a server that was demoted"
            )

    async def notify(self, channel: str, payload: str) -> None:
        """Send a notice to every replica; returns once it is committed."""
        await self.fetch("SELECT pg_notify($1, $2)", channel, payload)

    async def _fetch(self, query: str, args: tuple[object, ...]) -> list[asyncpg.Record]:
        async with self._connection() as connection:
            if not self._commits_lazily:
                return await connection.fetch(query, *args)
            async with connection.transaction():
                await connection.execute(_DURABLY)
                return await connection.fetch(query, *args)

    @asynccontextmanager
    async def transaction(self, timeout_s: float = STATEMENT_TIMEOUT_S) -> AsyncIterator[Session]:
        """Open a transaction on a session; the whole block has a time limit."""
        async with self._translated(timeout_s), self._connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                if self._commits_lazily:
                    await connection.execute(_DURABLY)
                yield connection
            except (
                Exception
            ):  # except after a cancellation, which drops the session without waiting
                await transaction.rollback()
                raise
            await transaction.commit()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Session]:
        """Take a session; a cancelled one is dropped, so that returning it cannot hang."""
        connection = await self._pool.acquire()
        try:
            yield connection
        except asyncio.CancelledError:
            dropping = asyncio.create_task(_drop(connection), name="drop a connection")
            self._dropping.add(dropping)
            dropping.add_done_callback(self._dropping.discard)
            raise
        except BaseException as error:
            if isinstance(error, _LOST) and not _is_unencodable(error):
                await self._pool.expire_connections()
            await self._pool.release(connection)
            raise
        await self._pool.release(connection)

    @asynccontextmanager
    async def _translated(self, timeout_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except REFUSED_VALUES as error:
            raise UnstorableError(describe_refusal(error)) from without_values(error)
        except OverflowError as error:  # a time outside Python's range, in an argument or a row
            raise UnstorableError("a time is out of range") from error
        except _FAILED as error:
            if _is_unencodable(error):
                raise UnstorableError(describe(error)) from without_values(error)
            self.is_answering = False
            raise UnavailableError(f"PostgreSQL: {describe(error)}") from without_values(error)
        self.is_answering = True


async def _drop(connection: Session) -> None:
    """Close a session during a statement, and cancel the statement on the server."""
    with suppress(*_FAILED):
        await connection.close(timeout=STATEMENT_TIMEOUT_S)


async def _close(pool: asyncpg.Pool[Any]) -> None:
    try:
        async with asyncio.timeout(2):
            await pool.close()
    except _FAILED:
        pool.terminate()


def _is_unencodable(error: BaseException) -> bool:
    """Return whether asyncpg could not encode an argument."""
    is_of_the_driver = isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)
    return is_of_the_driver and not isinstance(error, asyncpg.ClientConfigurationError)


def describe(error: BaseException) -> str:
    """Describe a driver's error without its message, which can quote values."""
    return f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".strip()
