"""Second in line: an existing receiver keeps the webhook, and nginx mirrors it to this service."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sandbox import samples
from sandbox.ports import free_port
from tests.nginx import nginx
from tests.service.conftest import ACCOUNT, APP_SECRET, Client, new_user
from tests.service.receiver import Receiver

pytestmark = pytest.mark.needs_program("nginx")

# As in docs/integrate.md.
MIRROR = """
    server {{
        listen 127.0.0.1:{port};
        location = /webhooks/instagram {{
            mirror /identity;
            proxy_pass http://127.0.0.1:{receiver}/webhook;
        }}
        location = /identity {{
            internal;
            proxy_pass {service}/api/social/instagram/webhook;
            proxy_connect_timeout 3s;
            proxy_read_timeout 3s;
        }}
    }}
"""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


async def post(port: int, body: bytes) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"http://127.0.0.1:{port}/webhooks/instagram",
            data=body,
            headers=samples.signed_headers(body, APP_SECRET),
        ) as response,
    ):
        return response.status


def delivery(user: str) -> bytes:
    return samples.delivery(
        samples.entry(ACCOUNT, samples.message(user, ACCOUNT, "Gr\u00fc\u00dfe"))
    )


@pytest.mark.usefixtures("own_service")
async def test_the_same_bytes_reach_both_and_the_signature_holds(
    client: Client, receiver: Receiver, tmp_path: Path
) -> None:
    port, user = free_port(), new_user()
    http = MIRROR.format(port=port, receiver=receiver.port, service=client.url)
    async with nginx(tmp_path, http, port):
        body = delivery(user)
        assert await post(port, body) == 200
        (got,) = await receiver.until_posts(1)
        assert got.body == body
        await client.until_state(user, "resolved")


async def test_the_existing_receiver_goes_on_while_this_service_is_down(
    receiver: Receiver, tmp_path: Path
) -> None:
    port, nobody = free_port(), free_port()
    http = MIRROR.format(port=port, receiver=receiver.port, service=f"http://127.0.0.1:{nobody}")
    async with nginx(tmp_path, http, port):
        assert await post(port, delivery(new_user())) == 200
        await receiver.until_posts(1)
