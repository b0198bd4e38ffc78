"""A caching proxy in front, as somebody sets one up who keeps every 200 for a while."""

from pathlib import Path

import pytest

from sandbox.ports import free_port
from tests.http.conftest import OPERATOR_KEY, USER, Client
from tests.nginx import nginx

pytestmark = pytest.mark.needs_program("nginx")

CACHING = """
    proxy_cache_path {folder}/cache keys_zone=all:1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{service};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_cache all;
            proxy_cache_valid 200 10m;
            add_header X-Cache $upstream_cache_status always;
        }}
    }}
"""
KEYED = (f"/users/{USER}", f"/users?ids={USER}", "/connections", "/status", "/people")


async def test_no_keyed_or_granted_answer_is_handed_to_somebody_else(
    client: Client, tmp_path: Path
) -> None:
    port = free_port()
    http = CACHING.format(folder=tmp_path, port=port, service=client.running.port)
    prefix = f"http://127.0.0.1:{port}/api/social/instagram"
    granted = f"{prefix}/users/{USER}?grant={await client.grant(1)}"
    async with nginx(tmp_path, http, port):
        for path in KEYED:
            headers = {"Authorization": f"Bearer {OPERATOR_KEY}"}
            for _ in range(2):
                async with client.session.get(prefix + path, headers=headers) as response:
                    assert (response.status, response.headers["X-Cache"]) == (200, "MISS")
            async with client.session.get(prefix + path) as response:
                assert response.status == 401
        for _ in range(2):
            async with client.session.get(granted) as response:
                assert (response.status, response.headers["X-Cache"]) == (200, "MISS")
