"""The proxy that tests cut."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.system.chaos.link import Link
from tests.system.chaos.processes import HOST

PATIENCE_S = 10


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with await asyncio.start_server(lambda _, writer: writer.close(), HOST, 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("steps", range(8))
async def test_a_connection_that_comes_while_it_ends_is_closed(port: int, steps: int) -> None:
    with socket.socket() as client:
        async with Link(port).up() as link:
            await asyncio.sleep(0)  # it accepts
            client.connect((HOST, link.port))
            for _ in range(steps):  # of the event loop, each of which ends somewhere else
                await asyncio.sleep(0)
        gc.collect()  # an open socket warns, and a warning fails the test
        client.settimeout(0)
        with suppress(ConnectionResetError):  # closed before it was accepted
            async with asyncio.timeout(PATIENCE_S):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
