"""Who is let in by a broker that asks for a user and a password."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.errors import RefusedError
from service.receiving.intake.broker import Broker
from tests.system.chaos.nodes import Node

PASSWORD = "p@ss,w#rd/?%[1]:"
ENCODED = "".join(f"%{byte:02X}" for byte in PASSWORD.encode())


@pytest.fixture
async def guarded() -> AsyncIterator[Node]:
    with tempfile.TemporaryDirectory(prefix="nats-") as folder:
        node = Node(Path(folder), "--user", "svc", "--pass", PASSWORD)
        try:
            await node.start()
            yield node
        finally:
            await node.stop()


async def test_a_password_may_hold_any_character_that_is_percent_encoded(guarded: Node) -> None:
    broker = Broker(guarded.url.replace("//", f"//svc:{ENCODED}@"))
    try:
        await broker.prepare()
        assert broker.is_connected
    finally:
        await broker.close()


async def test_a_wrong_password_is_said_at_once_without_its_value(guarded: Node) -> None:
    broker = Broker(guarded.url.replace("//", "//svc:hunter2@"))
    with pytest.raises(RefusedError) as refused:
        await broker.prepare()
    assert str(refused.value) == "Cannot connect to NATS: the user or the password is wrong"
