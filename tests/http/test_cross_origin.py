"""Pages of other origins can read the routes that a grant opens, and nothing else."""

import pytest

from tests.http.conftest import OPERATOR_KEY, USER, Client

ORIGIN = {"Origin": "https://inbox.example"}
READABLE = (f"/users/{USER}", f"/users?ids={USER}", f"/users/{USER}/picture", "/users/events")
ASKS = ORIGIN | {"Access-Control-Request-Method": "GET"}
CLOSED = (
    *("/grants", "/people", "/connections", "/connections/1", "/status", "/messages/backfill"),
    *("/webhook", f"/users/{USER}/refresh", "/users/erase/1"),
)


def address(path: str, grant: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}grant={grant}"


pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def client(shared_client: Client) -> Client:
    """Share one service: nothing that it serves is changed."""
    return shared_client


@pytest.mark.parametrize("path", READABLE[:3])
async def test_a_page_of_any_origin_reads_with_a_grant(client: Client, path: str) -> None:
    answer = await client.get(address(path, await client.grant()), key=None, headers=ORIGIN)
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("path", READABLE)
async def test_it_reads_refusals_too(client: Client, path: str) -> None:
    answer = await client.get(address(path, "wrong"), key=None, headers=ORIGIN)
    answer.assert_problem(401)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", READABLE)
async def test_a_preflight_needs_no_key_and_allows_reading_alone(client: Client, path: str) -> None:
    asks = ASKS | {"Access-Control-Request-Headers": "if-none-match"}
    answer = await client.call("OPTIONS", path, None, headers=asks)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert "If-None-Match" in answer.headers["Access-Control-Allow-Headers"]
    assert "Authorization" not in answer.headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize("path", CLOSED)
async def test_no_other_route_is_readable(client: Client, path: str) -> None:
    for method, headers in (("OPTIONS", ASKS), ("GET", ORIGIN), ("POST", ORIGIN)):
        answer = await client.call(method, path, OPERATOR_KEY, headers=headers)
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
        assert answer.status >= 400 or method != "OPTIONS"


async def test_the_root_leads_to_the_console(client: Client) -> None:
    root = client.url.removesuffix("/api/social/instagram")
    async with client.session.get(f"{root}/") as response:
        assert response.status == 200
        assert response.url.path == "/console"
        assert "X-Request-ID" in response.history[0].headers
