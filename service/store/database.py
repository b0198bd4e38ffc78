"""PostgreSQL: a pool whose every use is bounded in time, and the notices of other replicas."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from service.errors import UnavailableError, UnstorableError
from service.waiting import wait_at_most

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from asyncpg.pool import PoolConnectionProxy

    Session = PoolConnectionProxy[asyncpg.Record]

STATEMENT_TIMEOUT_S = 2.0
SLOW_STATEMENT_S = 10.0  # of operators and of the background
POOL_SIZE = 10
_HEARTBEAT_S = 5.0
_RECONNECT_S = (0.05, 0.2, 0.5, 1.0)
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # used between the server's last word and the end of the line
    ConnectionError,
)
_UNLUCKY = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_FAILED = (asyncpg.PostgresError, *_LOST, OSError, TimeoutError)
_REFUSED_VALUES = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)

log = structlog.get_logger()


class _Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        """Save the round trip after every use: nothing here leaves state in a session."""
        return ""


class Database:
    """Runs statements; raises UnavailableError where Postgres does not answer in time.

    The bound of a statement includes the wait for a connection. A connection that was lost (or a
    deadlock) is tried once more at once, so every statement has to be idempotent.
    """

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool
        self._dropping: set[asyncio.Task[None]] = set()
        self.is_answering = True

    @classmethod
    @asynccontextmanager
    async def connect(cls, dsn: str, pool_size: int = POOL_SIZE) -> AsyncIterator[Database]:
        """Open the pool; raises UnavailableError if the server can't be reached."""
        try:
            async with asyncio.timeout(10):
                pool = await asyncpg.create_pool(
                    dsn,
                    min_size=1,
                    max_size=pool_size,
                    timeout=5,
                    connection_class=_Connection,
                    server_settings=_SESSION,
                )
        except _FAILED as error:
            raise UnavailableError(f"PostgreSQL does not let us in: {_describe(error)}") from error
        database = cls(pool)
        try:
            yield database
        finally:
            await _close(pool)
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
                if isinstance(error, ValueError):  # asyncpg can't encode an argument
                    raise
                await self._pool.expire_connections()  # the others are likely to be lost too
                return await self._fetch(query, args)

    async def _fetch(self, query: str, args: tuple[object, ...]) -> list[asyncpg.Record]:
        async with self._connection() as connection:
            return await connection.fetch(query, *args)

    @asynccontextmanager
    async def transaction(self, timeout_s: float = STATEMENT_TIMEOUT_S) -> AsyncIterator[Session]:
        """Give a connection inside a transaction; the whole block is bounded."""
        async with self._translated(timeout_s), self._connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except (
                Exception
            ):  # not an interruption: that drops the connection, and waits for nobody
                await transaction.rollback()
                raise
            await transaction.commit()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Session]:
        """Take a connection; one that is interrupted is dropped, so that giving back can't hang."""
        connection = await self._pool.acquire()
        try:
            yield connection
        except asyncio.CancelledError:
            dropping = asyncio.create_task(_drop(connection), name="drop a connection")
            self._dropping.add(dropping)
            dropping.add_done_callback(self._dropping.discard)
            raise
        except BaseException:
            await self._pool.release(connection)
            raise
        await self._pool.release(connection)

    @asynccontextmanager
    async def _translated(self, timeout_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except _REFUSED_VALUES as error:
            raise UnstorableError(_describe(error)) from error
        except OverflowError as error:  # a time beyond Python's calendar, in an argument or a row
            raise UnstorableError("a time is out of range") from error
        except _FAILED as error:
            if isinstance(error, ValueError):
                raise UnstorableError(_describe(error)) from error
            self.is_answering = False
            raise UnavailableError(f"PostgreSQL: {_describe(error)}") from error
        self.is_answering = True


class Listener:
    """Hears the notices of every replica, on a connection of its own.

    `on_connected` is called once notices arrive, also after every interruption: some may have
    been missed. `on_disconnected` is called when they may be missed from now on.
    """

    def __init__(
        self,
        dsn: str,
        on_notice: Mapping[str, Callable[[str], None]],
        on_connected: Callable[[], Awaitable[None]],
        on_disconnected: Callable[[], None],
    ) -> None:
        self._dsn = dsn
        self._on_notice = on_notice
        self._on_connected = on_connected
        self._on_disconnected = on_disconnected

    async def run(self) -> None:
        """Listen until cancelled, reconnecting for ever."""
        attempt = 0
        while True:
            try:
                async for _ in self._listen():
                    attempt = 0
            except _FAILED as error:
                if attempt == 0:
                    log.warning("notices interrupted", error=_describe(error))
            except UnavailableError:
                log.debug("notices interrupted")
            finally:
                self._on_disconnected()
            await asyncio.sleep(_RECONNECT_S[min(attempt, len(_RECONNECT_S) - 1)])
            attempt += 1

    async def _listen(self) -> AsyncIterator[None]:
        """Listen on a new connection until it is lost; yields while it is good."""
        lost = asyncio.Event()
        async with asyncio.timeout(5):
            connection = await asyncpg.connect(self._dsn, server_settings=_SESSION)
        try:
            connection.add_termination_listener(lambda _: self._lose(lost))
            async with asyncio.timeout(5):
                for channel in self._on_notice:
                    await connection.add_listener(channel, self._hear)
                await self._on_connected()
            while not lost.is_set():
                yield
                await wait_at_most(lost, _HEARTBEAT_S)
                async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                    await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    def _lose(self, lost: asyncio.Event) -> None:
        self._on_disconnected()
        lost.set()

    def _hear(self, _: object, __: int, channel: str, payload: object) -> None:
        self._on_notice[channel](str(payload))


_SESSION = {
    "application_name": "instagram-identity",
    "jit": "off",
    "statement_timeout": "30s",
    "synchronous_commit": "on",  # an ack rests on it, whatever the server's default
}


async def _drop(connection: Session) -> None:
    """Close a connection in the midst of a statement; the server is told to give that up."""
    with suppress(*_FAILED):
        await connection.close(timeout=STATEMENT_TIMEOUT_S)


async def _close(pool: asyncpg.Pool[Any]) -> None:
    try:
        async with asyncio.timeout(2):
            await pool.close()
    except _FAILED:
        pool.terminate()


def _describe(error: BaseException) -> str:
    """Name a driver's error without the values that its message may quote."""
    return f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".strip()
