"""Several real processes of the service on one database."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

import pytest

from tests.service.conftest import (
    ServiceProcess,
    Spawn,
    _quiet_logs,
    environment,
    spawn,
)
from tests.service.conftest import own_db as db
from tests.service.conftest import own_graph as graph

__all__ = ["_quiet_logs", "db", "environment", "graph", "spawn"]  # fixtures of the whole service


class SpawnAll(Protocol):
    def __call__(self, count: int = 3, **environment: str) -> Awaitable[list[ServiceProcess]]: ...


@pytest.fixture
def replicas(spawn: Spawn) -> SpawnAll:
    """Start processes that share a database, with one connection in it."""

    async def spawn_all(count: int = 3, **environment: str) -> list[ServiceProcess]:
        started = await asyncio.gather(*(spawn(**environment) for _ in range(count)))
        await started[0].client.connect()
        return list(started)

    return spawn_all
