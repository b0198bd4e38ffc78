import socket
from collections.abc import AsyncIterator

import pytest

from sandbox.graph.simulator import GraphSimulator

from .world import SECRET, World


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture
async def world(database_url: str, free_port: int) -> AsyncIterator[World]:
    """Give a world in which the service does not run yet."""
    async with GraphSimulator(app_secret=SECRET) as graph:
        yield World(database_url, graph, free_port)
