from collections.abc import AsyncIterator

import pytest

from sandbox.graph.simulator import GraphSimulator
from sandbox.ports import free_port

from .world import SECRET, World


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """Give a world in which the service does not run yet."""
    async with GraphSimulator(app_secret=SECRET) as graph:
        yield World(database_url, graph, free_port())
