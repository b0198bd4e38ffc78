"""What every answer says: its request id, no caching, no sniffing, no versions."""

import json

import pytest

from sandbox import samples
from tests.http.conftest import APP_SECRET, INBOX_KEY, OPERATOR_KEY, USER, Client

KEYED = (
    ("GET", f"/users/{USER}", 200),
    ("GET", f"/users?ids={USER}", 200),
    ("POST", "/grants", 200),
    ("GET", "/people", 200),
    ("GET", "/connections", 200),
    ("GET", "/status", 200),
    ("DELETE", f"/users/{USER}", 204),
    ("POST", f"/users/{USER}/refresh", 404),
    ("POST", "/messages/backfill?locationId=none", 404),
    ("GET", "/nowhere", 404),
    ("PUT", "/grants", 405),
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def client(shared_client: Client) -> Client:
    """Share one service: nothing that it serves is changed."""
    return shared_client


@pytest.mark.parametrize(("method", "path", "status"), KEYED)
async def test_no_answer_to_a_key_may_be_kept(
    client: Client, method: str, path: str, status: int
) -> None:
    for key, expected in ((OPERATOR_KEY, status), ("not-a-key-of-ours", None)):
        answer = await client.call(method, path, key)
        assert answer.status == expected or (expected is None and answer.status >= 400)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Request-ID"]
        assert answer.headers["Server"] == "instagram-identity"
        if answer.status >= 400:
            answer.assert_problem(answer.status)
        if answer.status != 204:
            assert answer.body.endswith(b"}\n")


async def test_a_picture_is_the_browsers_own(client: Client) -> None:
    answer = await client.get(f"/users/{USER}/picture")
    assert answer.headers["Cache-Control"].startswith("private")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_an_acknowledgement_names_no_versions(client: Client) -> None:
    body = b'{"object":"instagram"}'
    signed = samples.signed_headers(body, APP_SECRET)
    answer = await client.call("POST", "/webhook", None, data=body, headers=signed)
    assert (answer.status, answer.body) == (200, b"EVENT_RECEIVED")
    assert answer.headers["Server"] == "instagram-identity"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/grants", {"expiresIn": 60}),
        ("PUT", "/connections/1", {"locationId": "l", "accessToken": "t"}),
        ("POST", "/users/erase", {"igUserIds": ["1"]}),
    ],
)
async def test_an_unknown_field_in_a_body_is_refused(
    client: Client, method: str, path: str, body: dict[str, object]
) -> None:
    wrong = body | {"\x1b[2J\u202e" + "x" * 10_000: 1}
    answer = await client.call(method, path, OPERATOR_KEY, data=json.dumps(wrong))
    detail = answer.assert_problem(400)["detail"]
    assert "unknown field" in detail
    assert detail.isprintable()
    assert len(detail) < 300
    assert (await client.call(method, path, INBOX_KEY, data=b"{}")).status in (200, 403)
