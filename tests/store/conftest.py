"""The parts of the store on a database of the test's own, as one replica and as several."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import asyncpg
import pytest

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

from .tables import ACCOUNT, OTHER_ACCOUNT, Tables, user_id

LEASE = timedelta(seconds=20)
REPLICAS = 4


@pytest.fixture
def rules() -> Rules:
    return Rules()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(database_url) as database:
        yield database


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[list[Database]]:
    """Several pools on one database, as the processes of several replicas have them."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Database.connect(database_url, pool_size=4))
            for _ in range(REPLICAS)
        ]


@pytest.fixture
async def session(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection beside the pools', for what tests do by hand."""
    session = await asyncpg.connect(database_url)
    yield session
    await session.close()


@pytest.fixture
async def other_session(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A second one, to hold locks with."""
    session = await asyncpg.connect(database_url)
    yield session
    await session.close()


@pytest.fixture
def tables(session: asyncpg.Connection) -> Tables:
    return Tables(session)


@pytest.fixture
async def two_accounts(tables: Tables) -> None:
    """Connect two accounts of one location, of different logins and with different tokens."""
    await tables.connect(ACCOUNT, access_token="sealed-1", login="instagram")
    await tables.connect(OTHER_ACCOUNT, access_token="sealed-2")


@pytest.fixture
async def seven_users(tables: Tables, two_accounts: None) -> None:  # noqa: ARG001 - is arranged before
    """Let seven users have written to the first of two accounts."""
    for number in range(1, 8):
        await tables.participate(user_id(number))


@pytest.fixture
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
