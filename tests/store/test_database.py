import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from service.errors import UnavailableError, UnstorableError
from service.sandbox.postgres import EmbeddedPostgres
from service.store.database import Database, Listener

from .tables import HOUR, PATIENCE_S, USER, Tables, user_id

CHANNELS = (
    "instagram_identities",
    "instagram_gone",
    "instagram_connections",
    "instagram_pauses",
)
OURS = "application_name = 'instagram-identity' AND datname = current_database()"
TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"  # noqa: S608


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """One cluster for the tests that break a server: initdb is slow."""
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder, "postgres")


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """A server that the test may break."""
    with EmbeddedPostgres(data_dir, durable=False) as server:
        yield server


@pytest.fixture
async def fragile(server: EmbeddedPostgres) -> AsyncIterator[Database]:
    async with Database.connect(server.dsn(), pool_size=3) as database:
        yield database


async def one(database: Database) -> object:
    return (await database.fetch("SELECT 1"))[0][0]


async def fetch(database: Database, query: str) -> object:
    return await database.fetch(query)


async def one_in_a_transaction(database: Database, query: str = "SELECT 1") -> object:
    async with database.transaction() as connection:
        return await connection.fetchval(query)


# A server that is away


async def test_a_frozen_server_fails_all_who_wait_and_heals_when_thawed(
    server: EmbeddedPostgres, fragile: Database
) -> None:
    """Those who hold a connection, who wait for one, and who open one; and then nobody."""
    await asyncio.gather(*(one(fragile) for _ in range(2)))
    server.freeze()
    try:
        async with asyncio.timeout(PATIENCE_S):
            outcomes = await asyncio.gather(
                *(one(fragile) for _ in range(50)),
                *(one_in_a_transaction(fragile) for _ in range(50)),
                return_exceptions=True,
            )
    finally:
        server.thaw()
    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
    assert not fragile.is_answering
    assert await asyncio.gather(*(one(fragile) for _ in range(20))) == [1] * 20
    assert await one_in_a_transaction(fragile) == 1
    assert fragile.is_answering


async def test_a_server_that_freezes_within_transactions_fails_them_too(
    server: EmbeddedPostgres, fragile: Database
) -> None:
    begun = asyncio.Barrier(4)

    async def work() -> None:
        async with fragile.transaction() as connection:
            await begun.wait()
            await begun.wait()
            await connection.execute("SELECT 1")

    working = [asyncio.create_task(work()) for _ in range(3)]
    await begun.wait()
    server.freeze()
    try:
        await begun.wait()
        async with asyncio.timeout(PATIENCE_S):
            outcomes = await asyncio.gather(*working, return_exceptions=True)
    finally:
        server.thaw()
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3
    assert await one(fragile) == 1


async def test_a_server_that_was_restarted_is_used_again(
    server: EmbeddedPostgres, fragile: Database
) -> None:
    await asyncio.gather(*(one(fragile) for _ in range(3)))
    server.kill()
    outcomes = await asyncio.gather(
        *(one(fragile) for _ in range(5)), one_in_a_transaction(fragile), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
    server.start()
    assert await asyncio.gather(*(one(fragile) for _ in range(10))) == [1] * 10
    assert fragile.is_answering


async def test_a_server_that_is_not_there_is_named_at_the_start(server: EmbeddedPostgres) -> None:
    dsn = server.dsn()
    server.stop()
    with pytest.raises(UnavailableError, match="does not let us in"):
        async with Database.connect(dsn):
            pass


async def test_the_end_of_a_pool_does_not_wait_for_a_frozen_server(
    server: EmbeddedPostgres,
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        try:
            async with Database.connect(server.dsn()) as database:
                assert await one(database) == 1
                server.freeze()
        finally:
            server.thaw()


async def test_a_wrong_password_does_not_appear_in_the_error(server: EmbeddedPostgres) -> None:
    dsn = f"postgresql://postgres:a-secret-password@127.0.0.1:{server.port}/postgres"
    with pytest.raises(UnavailableError) as refused:
        async with Database.connect(dsn):
            pass
    assert "a-secret-password" not in str(refused.value)


# Connections that break


async def test_broken_connections_are_nobodys_business(database: Database, tables: Tables) -> None:
    await asyncio.gather(*(one(database) for _ in range(10)))
    await tables.execute(TERMINATE)
    assert await asyncio.gather(*(one(database) for _ in range(30))) == [1] * 30


async def test_a_deadlock_is_tried_again(
    database: Database, tables: Tables, other_session: asyncpg.Connection
) -> None:
    for n in (1, 2):
        await tables.cache(user_id(n))
    touch = "UPDATE instagram_user_cache SET name = 'theirs' WHERE ig_user_id = $1"
    both = """
        WITH first AS (SELECT FROM instagram_user_cache WHERE ig_user_id = $1 FOR UPDATE),
        gate AS (SELECT pg_advisory_xact_lock(1) FROM first)
        UPDATE instagram_user_cache SET name = 'ours'
        WHERE ig_user_id = $2 AND (SELECT count(*) FROM gate) = 1 RETURNING name
    """
    await other_session.execute("SET deadlock_timeout = '60s'")  # so that we are the victim
    async with other_session.transaction():
        await other_session.execute(touch, user_id(2))
        async with tables.session.transaction():
            await tables.value("SELECT pg_advisory_xact_lock(1)")
            ours = asyncio.create_task(
                database.fetch(both, user_id(1), user_id(2), timeout_s=PATIENCE_S)
            )
            await tables.until_blocked()
            theirs = asyncio.create_task(other_session.execute(touch, user_id(1)))
            await tables.until_blocked(2)
        await theirs
    assert [row["name"] for row in await ours] == ["ours"]
    assert await tables.deadlocks() == 1


async def test_who_gives_up_leaks_no_connection(database: Database, tables: Tables) -> None:
    """Neither here nor on the server, which is told to give up as well."""
    asleep = (
        f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}"  # noqa: S608
        " AND query LIKE '%pg_sleep%' AND state = 'active'"
    )
    for _ in range(3):
        sleepers = [
            asyncio.create_task(run(database, "SELECT pg_sleep(60)"))
            for run in [fetch] * 15 + [one_in_a_transaction] * 15
        ]
        await tables.until(f"SELECT ({asleep}) = 10")
        for sleeper in sleepers:
            sleeper.cancel()
        await asyncio.wait(sleepers)
        assert all(sleeper.cancelled() for sleeper in sleepers)
    assert await asyncio.gather(*(one(database) for _ in range(30))) == [1] * 30
    await tables.until(f"SELECT ({asleep}) = 0")


# Statements that Postgres refuses


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("SELECT $1::text", "a\0b"),
        ("SELECT $1::text", "\ud800"),
        ("SELECT $1::jsonb", '{"a": "\\u0000"}'),
        ("SELECT $1::jsonb", '{"a": "\\ud800"}'),
        ("SELECT $1::jsonb", '{"a": 1e400000}'),
        ("SELECT $1::jsonb", "{"),
        ("SELECT $1::bigint", 2**63),
        ("INSERT INTO instagram_participants VALUES ('1', $1)", "no digits"),
        ("INSERT INTO instagram_participants VALUES ('1', $1)", None),
    ],
)
async def test_a_value_that_cannot_be_stored_is_told_apart_from_a_server_that_is_away(
    database: Database, query: str, value: object
) -> None:
    for run in (database.fetch(query, value), refuse_in_a_transaction(database, query, value)):
        with pytest.raises(UnstorableError) as refused:
            await run
        assert str(value) not in str(refused.value)
    assert database.is_answering
    assert await one(database) == 1


async def refuse_in_a_transaction(database: Database, query: str, value: object) -> None:
    async with database.transaction() as connection:
        await connection.execute(query, value)


async def test_what_fails_in_a_transaction_leaves_nothing(
    database: Database, tables: Tables
) -> None:
    with pytest.raises(UnstorableError):
        await insert_and(database, "SELECT '{'::jsonb")
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 0


async def test_an_error_of_the_caller_passes_through_a_transaction_and_undoes_it(
    database: Database, tables: Tables
) -> None:
    with pytest.raises(LookupError):
        await insert_and(database, LookupError())
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 0


async def insert_and(database: Database, then: str | Exception) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO instagram_user_cache (ig_user_id) VALUES ('1')")
        if isinstance(then, Exception):
            raise then
        await connection.execute(then)


# Notices


class Ear:
    """Notes what a listener hears."""

    def __init__(self, dsn: str) -> None:
        self.heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.connections: asyncio.Queue[None] = asyncio.Queue()
        self.is_connected = False
        self.listener = Listener(
            dsn,
            {channel: partial(self._hear, channel) for channel in CHANNELS},
            self._connected,
            self._disconnected,
        )

    def _hear(self, channel: str, payload: str) -> None:
        self.heard.put_nowait((channel, payload))

    async def _connected(self) -> None:
        self.is_connected = True
        self.connections.put_nowait(None)

    def _disconnected(self) -> None:
        self.is_connected = False

    async def until_connected(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.connections.get()

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.heard.get()


@pytest.fixture
async def ear(database_url: str) -> AsyncIterator[Ear]:
    ear = Ear(database_url)
    running = asyncio.create_task(ear.listener.run())
    await ear.until_connected()
    yield ear
    running.cancel()
    await asyncio.wait([running])
    assert not ear.is_connected


async def test_every_change_of_an_identity_by_hand_is_heard(ear: Ear, tables: Tables) -> None:
    await tables.cache(USER)
    assert await ear.next() == ("instagram_identities", f"{USER} 0")
    await tables.execute(
        "UPDATE instagram_user_cache SET last_fetched_at = to_timestamp(1000),"
        " expires_at = to_timestamp(2000.9)"
    )
    assert await ear.next() == ("instagram_identities", f"{USER} 2000")
    await tables.execute("UPDATE instagram_user_cache SET expires_at = 'infinity'")
    assert await ear.next() == ("instagram_identities", f"{USER} 0")
    await tables.execute("DELETE FROM instagram_user_cache")
    assert await ear.next() == ("instagram_identities", f"{USER} 0")
    await tables.execute("TRUNCATE instagram_user_cache")
    assert await ear.next() == ("instagram_identities", "*")


async def test_whoever_is_deleted_by_hand_is_heard(ear: Ear, tables: Tables) -> None:
    await tables.participate(USER)
    await tables.execute("UPDATE instagram_participants SET due_at = now()")
    await tables.execute("DELETE FROM instagram_participants")
    assert await ear.next() == ("instagram_gone", USER)
    await tables.execute("TRUNCATE instagram_participants")
    assert await ear.next() == ("instagram_gone", "*")


@pytest.mark.parametrize("table", ["instagram_user_cache", "instagram_participants"])
async def test_a_thousand_changes_at_once_fit_into_the_notices(
    ear: Ear, tables: Tables, table: str
) -> None:
    users = {f"{n:032}" for n in range(1000)}
    columns = "(ig_user_id)" if table == "instagram_user_cache" else "(ig_account_id, ig_user_id)"
    values = "u" if table == "instagram_user_cache" else "'1', u"
    await tables.execute(
        f"INSERT INTO {table} {columns} SELECT {values} FROM unnest($1::text[]) u",  # noqa: S608
        list(users),
    )
    await tables.execute(f"DELETE FROM {table}")  # noqa: S608
    heard: list[str] = []
    expected = 2000 if table == "instagram_user_cache" else 1000
    while len(heard) < expected:
        heard += [line.split()[0] for line in (await ear.next())[1].splitlines()]
    assert set(heard) == users


@pytest.mark.parametrize("table", ["instagram_connections", "instagram_pauses"])
async def test_every_change_of_a_connection_or_pause_by_hand_is_heard(
    ear: Ear, tables: Tables, table: str
) -> None:
    if table == "instagram_connections":
        await tables.connect()
    else:
        await tables.insert(table, scope="app", reason="outage", until=HOUR)
    assert await ear.next() == (table, "")
    changes = {
        "instagram_connections": "UPDATE instagram_connections SET location_id = 'loc_2'",
        "instagram_pauses": "UPDATE instagram_pauses SET reason = 'throttled'",
    }
    for statement in (changes[table], f"DELETE FROM {table}", f"TRUNCATE {table}"):  # noqa: S608
        await tables.execute(statement)
        assert await ear.next() == (table, "")


async def test_a_statement_that_changes_nothing_is_no_news(ear: Ear, tables: Tables) -> None:
    for table in ("user_cache", "participants", "connections", "pauses"):
        await tables.execute(f"DELETE FROM instagram_{table}")  # noqa: S608
    await tables.connect()
    assert await ear.next() == ("instagram_connections", "")
    assert ear.heard.empty()


async def test_a_cut_connection_is_made_anew_and_said_so(ear: Ear, tables: Tables) -> None:
    for _ in range(3):
        assert ear.is_connected
        await tables.execute(TERMINATE)
        await ear.until_connected()
    await tables.cache(USER)
    assert await ear.next() == ("instagram_identities", f"{USER} 0")


async def test_a_listener_tries_on_while_what_it_is_to_read_is_away(database_url: str) -> None:
    ear = Ear(database_url)
    tries = 0

    async def connected() -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise UnavailableError("away")
        ear.connections.put_nowait(None)

    ear.listener._on_connected = connected
    running = asyncio.create_task(ear.listener.run())
    await ear.until_connected()
    running.cancel()
    await asyncio.wait([running])
    assert tries == 3


async def test_a_listener_hears_again_after_a_restart(
    server: EmbeddedPostgres, fragile: Database
) -> None:
    ear = Ear(server.dsn())
    running = asyncio.create_task(ear.listener.run())
    await ear.until_connected()
    server.kill()
    async with asyncio.timeout(PATIENCE_S):
        while ear.is_connected:  # noqa: ASYNC110 - a callback of a Protocol
            await asyncio.sleep(0.005)
    server.start()
    await ear.until_connected()
    await fragile.fetch("SELECT pg_notify('instagram_gone', 'x')")
    assert await ear.next() == ("instagram_gone", "x")
    running.cancel()
    await asyncio.wait([running])
