"""A real NATS server, and what an intake needs around it."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from service.metrics import Metrics
from service.model.contacts import Contact
from service.model.freshness import Rules
from service.queue import TurnQueue
from service.receiving.intake.arrivals import Arrivals
from service.receiving.intake.known import Known
from service.store.database import Database
from service.store.journal import Journal
from tests.service.conftest import (
    ACCOUNT,
    _quiet_logs,
    environment,
    new_user,
    settings,
    spawn,
    start,
)
from tests.service.conftest import own_db as db
from tests.service.conftest import own_graph as graph
from tests.system.chaos.nodes import Cluster, Node, lone_node
from tests.until import until

__all__ = ["_quiet_logs", "db", "environment", "graph", "settings", "spawn", "start"]


def contact(user: str = "", account: str = ACCOUNT) -> Contact:
    now = datetime.now(UTC)
    return Contact(account, user or new_user(), now, now, wrote=True)


@pytest.fixture
async def broker() -> AsyncIterator[Node]:
    """Give a broker of the test's own."""
    async with lone_node() as node:
        yield node


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Give three nodes of the test's own."""
    with tempfile.TemporaryDirectory(prefix="nats-") as folder:
        cluster = Cluster(Path(folder))
        try:
            await cluster.start()
            yield cluster
        finally:
            await cluster.stop()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(database_url) as database:
        yield database


@pytest.fixture
def queue() -> TurnQueue:
    return TurnQueue(1000, lambda _: False)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def arrivals(database: Database, known: Known, queue: TurnQueue) -> Arrivals:
    return Arrivals(Journal(database, Rules()), known, queue, Metrics())


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def stored_users(db: asyncpg.Connection) -> set[str]:
    rows = await db.fetch("SELECT ig_user_id FROM instagram_participants")
    return {row["ig_user_id"] for row in rows}


async def until_stored(db: asyncpg.Connection, *users: str) -> None:
    """Wait until all of these users are participants."""

    async def are_stored() -> bool:
        return set(users) <= await stored_users(db)

    await until(are_stored)
