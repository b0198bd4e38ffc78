import asyncio
from collections.abc import AsyncIterator
from functools import partial
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from sandbox.postgres.server import EmbeddedPostgres
from service.errors import UnavailableError
from service.store.database import Database
from service.store.listener import Listener
from service.store.session import connect

from .tables import HOUR, PATIENCE_S, USER, Tables

CHANNELS = (
    "instagram_identities",
    "instagram_gone",
    "instagram_connections",
    "instagram_pauses",
)
OURS = "application_name = 'instagram-identity' AND datname = current_database()"
TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"  # noqa: S608


class Ear:
    """Notes what a listener hears."""

    def __init__(self, dsn: str, database: Database) -> None:
        self.heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.connections: asyncio.Queue[None] = asyncio.Queue()
        self.is_connected = False
        self.proofs: asyncio.Queue[None] = asyncio.Queue()
        self.listener = Listener(
            dsn,
            database.notify,
            {channel: partial(self._hear, channel) for channel in CHANNELS},
            self._connected,
            self._disconnected,
            self._prove,
            heard_within_s=PATIENCE_S,
        )

    def _hear(self, channel: str, payload: str) -> None:
        self.heard.put_nowait((channel, payload))

    async def _connected(self) -> None:
        self.is_connected = True
        self.connections.put_nowait(None)

    def _disconnected(self) -> None:
        self.is_connected = False

    def _prove(self) -> None:
        self.is_connected = True
        self.proofs.put_nowait(None)

    async def until_connected(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.connections.get()

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.heard.get()


@pytest_asyncio.fixture(loop_scope="module")
async def ear(database_url: str, database: Database) -> AsyncIterator[Ear]:
    ear = Ear(database_url, database)
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


async def test_a_listener_tries_on_while_what_it_is_to_read_is_away(
    database_url: str, database: Database
) -> None:
    ear = Ear(database_url, database)
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
    ear = Ear(server.dsn(), fragile)
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


async def test_a_session_that_hears_nothing_is_replaced(
    database_url: str, database: Database
) -> None:
    """As at the far end of a dead line: everything is sent, and nothing arrives."""
    ear = Ear(database_url, database)
    ear.listener._heard_within_s = 0.1
    ear.listener._prove_every_s = 0.01
    running = asyncio.create_task(ear.listener.run())
    await ear.until_connected()
    delivered = ear.listener._notify

    async def send_nothing(_: str, __: str) -> None:
        ear.listener._notify = delivered

    ear.listener._notify = send_nothing
    await ear.until_connected()
    running.cancel()
    await asyncio.wait([running])


async def test_while_nothing_can_be_sent_memory_is_doubted_and_then_trusted_as_it_is(
    database_url: str, database: Database
) -> None:
    """Notices arrive in order: what is heard at last shows that none before it was missed."""
    ear = Ear(database_url, database)
    ear.listener._prove_every_s = 0.01
    running = asyncio.create_task(ear.listener.run())
    await ear.until_connected()
    delivered, was_trusted = ear.listener._notify, asyncio.Queue[bool]()

    async def fail(_: str, __: str) -> None:
        was_trusted.put_nowait(ear.is_connected)
        raise UnavailableError("saturated")

    ear.listener._notify = fail
    async with asyncio.timeout(PATIENCE_S):
        while await was_trusted.get():
            pass
    ear.listener._notify = delivered
    while not ear.proofs.empty():
        ear.proofs.get_nowait()
    await asyncio.wait_for(ear.proofs.get(), PATIENCE_S)
    assert ear.is_connected
    assert ear.connections.empty()
    running.cancel()
    await asyncio.wait([running])


async def test_a_server_that_takes_no_writes_is_tried_until_it_does(
    ear: Ear, tables: Tables, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that still leads to a server that was demoted: the listener goes on."""
    refused: asyncio.Queue[Exception] = asyncio.Queue()

    async def connect_noting(url: str) -> asyncpg.Connection:
        try:
            return await connect(url)
        except Exception as error:
            refused.put_nowait(error)
            raise

    monkeypatch.setattr("service.store.listener.connect", connect_noting)
    name = urlsplit(database_url).path[1:]
    await tables.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await tables.execute(TERMINATE)
    async with asyncio.timeout(PATIENCE_S):
        assert "is read-only" in str(await refused.get())
        await refused.get()
    await tables.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await ear.until_connected()
