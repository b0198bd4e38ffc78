"""The parts of the store on a real database, as one replica and as several."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import cast

import asyncpg
import pytest
import pytest_asyncio

from sandbox.postgres.server import EmbeddedPostgres
from service.model.freshness import Rules
from service.store.claims import Claims
from service.store.connections import Connections
from service.store.database import Database
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.pauses import Pauses
from service.store.slots import Slots
from service.vault import Vault
from tests.tables import EMPTY_TABLES

from .tables import ACCOUNT, OTHER_ACCOUNT, Tables, user_id

FOLDER = Path(__file__).parent
LEASE = timedelta(seconds=20)
REPLICAS = 4
# In these files tests change rows only, so those that need no pools of their own share a database.
SHARING = {
    *("test_claims_blame.py", "test_claims_outage.py", "test_claims_settling.py"),
    *("test_claims_unclear.py", "test_connections.py", "test_identities.py"),
    *("test_identities_candidates.py", "test_journal.py", "test_outbox.py", "test_pauses.py"),
    *("test_claims.py", "test_rows_by_hand.py"),
}
OWN_TABLES = "DELETE FROM instagram_budget; DELETE FROM instagram_chores;"


@pytest.fixture
def rules() -> Rules:
    return Rules()


@dataclass(frozen=True)
class Shared:
    """A pool, and a session beside it, on the database of a module's tests."""

    database: Database
    session: asyncpg.Connection


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sessions_of_the_module(database_of_the_module: str) -> AsyncIterator[Shared]:
    async with Database.connect(database_of_the_module) as database:
        session = await asyncpg.connect(database_of_the_module)
        yield Shared(database, session)
        await session.close()


@pytest_asyncio.fixture(loop_scope="module")
async def shared(sessions_of_the_module: Shared) -> Shared:
    """Give the module's sessions, with empty tables."""
    await sessions_of_the_module.session.execute(EMPTY_TABLES + OWN_TABLES)
    return sessions_of_the_module


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a module's tests in one event loop, that of the sessions that they share."""
    for item in items:
        if item.path.parent == FOLDER and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


def _is_sharing(item: pytest.Item) -> bool:
    """Return whether a test leaves the database as it was, apart from rows."""
    named = set(getattr(item, "fixturenames", ()))
    return item.path.name in SHARING and named.isdisjoint({"database_url", "server"})


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Database:
    if _is_sharing(request.node):
        return cast("Shared", request.getfixturevalue("shared")).database
    return cast("Database", request.getfixturevalue("own_database"))


@pytest_asyncio.fixture(loop_scope="module")
async def own_database(database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(database_url) as database:
        yield database


@pytest_asyncio.fixture(loop_scope="module")
async def replicas(database_url: str) -> AsyncIterator[list[Database]]:
    """Several pools on one database, as the processes of several replicas have them."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Database.connect(database_url, pool_size=4))
            for _ in range(REPLICAS)
        ]


@pytest.fixture
def session(request: pytest.FixtureRequest) -> asyncpg.Connection:
    """A connection beside the pools', for what tests do by hand."""
    if _is_sharing(request.node):
        return cast("Shared", request.getfixturevalue("shared")).session
    return cast("asyncpg.Connection", request.getfixturevalue("own_session"))


@pytest_asyncio.fixture(loop_scope="module")
async def own_session(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    session = await asyncpg.connect(database_url)
    yield session
    await session.close()


@pytest_asyncio.fixture(loop_scope="module")
async def other_session(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A second one, to hold locks with."""
    session = await asyncpg.connect(database_url)
    yield session
    await session.close()


@pytest.fixture
def tables(session: asyncpg.Connection) -> Tables:
    return Tables(session)


@pytest_asyncio.fixture(loop_scope="module")
async def two_accounts(tables: Tables) -> None:
    """Connect two accounts of one location, of different logins and with different tokens."""
    await tables.connect(ACCOUNT, access_token="sealed-1", login="instagram")
    await tables.connect(OTHER_ACCOUNT, access_token="sealed-2")


@pytest_asyncio.fixture(loop_scope="module")
async def seven_users(tables: Tables, two_accounts: None) -> None:  # noqa: ARG001 - is arranged before
    """Let seven users have written to the first of two accounts."""
    for number in range(1, 8):
        await tables.participate(user_id(number))


@pytest_asyncio.fixture(loop_scope="module")
async def fragile(server: EmbeddedPostgres) -> AsyncIterator[Database]:
    """Give a pool of a server that the test may break."""
    async with Database.connect(server.dsn(), pool_size=3) as database:
        yield database


@pytest.fixture
def vault() -> Vault:
    return Vault((new_key(1),))


@pytest.fixture
def journal(database: Database, rules: Rules) -> Journal:
    return Journal(database, rules)


@pytest.fixture
def claims(database: Database, rules: Rules) -> Claims:
    return Claims(database, rules, LEASE)


@pytest.fixture
def many_claims(replicas: list[Database], rules: Rules) -> list[Claims]:
    return [Claims(database, rules, LEASE) for database in replicas]


@pytest.fixture
def identities(database: Database, rules: Rules) -> Identities:
    return Identities(database, rules)


@pytest.fixture
def connections(database: Database, vault: Vault) -> Connections:
    return Connections(database, vault)


@pytest.fixture
def pauses(database: Database) -> Pauses:
    return Pauses(database)


@pytest.fixture
def slots(database: Database) -> Slots:
    return Slots(database, interval_s=0.02)


def new_key(number: int) -> str:
    return base64.urlsafe_b64encode(bytes([number]) * 32).decode()
