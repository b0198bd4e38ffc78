"""Keys and roles: who may use which route."""

import pytest

from tests.service.conftest import (
    ACCOUNT,
    API,
    INBOX_KEY,
    LOCATION,
    OPERATOR_KEY,
    Client,
    Start,
)

INBOX_ROUTES = (("GET", "/users/1"), ("GET", "/users?ids=1,2"))
OPERATOR_ROUTES = (
    ("POST", "/users/1/refresh"),
    ("DELETE", "/users/1"),
    ("POST", f"/messages/backfill?locationId={LOCATION}"),
    ("GET", "/connections"),
    ("PUT", f"/connections/{ACCOUNT}"),
    ("DELETE", f"/connections/{ACCOUNT}"),
    ("GET", "/status"),
)


async def test_without_a_key_every_route_is_401(client: Client) -> None:
    for method, path in (*INBOX_ROUTES, *OPERATOR_ROUTES):
        answer = await client.call(method, API + path)
        answer.assert_problem(401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await client.connection())["igAccountId"] == ACCOUNT


async def test_a_wrong_key_is_401(client: Client) -> None:
    for key in ("wrong", INBOX_KEY[:-1], INBOX_KEY + "x", INBOX_KEY.upper(), f"{INBOX_KEY},x"):
        (await client.call("GET", f"{API}/users/1", key=key)).assert_problem(401)
        (await client.call("GET", f"{API}/status", key=key)).assert_problem(401)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {INBOX_KEY}",
        INBOX_KEY,
        f"Bearer{INBOX_KEY}",
        "Bearer é\xff",
    ],
)
async def test_a_header_that_is_no_bearer_key_is_401(client: Client, header: str) -> None:
    answer = await client.call("GET", f"{API}/users/1", headers={"Authorization": header})
    answer.assert_problem(401)


async def test_the_schemes_name_has_no_case(client: Client) -> None:
    headers = {"Authorization": f"bearer {INBOX_KEY}"}
    assert (await client.call("GET", f"{API}/users/1", headers=headers)).status == 200


async def test_an_inbox_key_opens_the_inbox_and_nothing_else(client: Client) -> None:
    for method, path in INBOX_ROUTES:
        assert (await client.inbox(path, method)).status == 200
    for method, path in OPERATOR_ROUTES:
        (await client.inbox(path, method)).assert_problem(403)
    assert (await client.connection())["igAccountId"] == ACCOUNT


async def test_an_operators_key_opens_the_inbox_too(client: Client) -> None:
    for method, path in INBOX_ROUTES:
        assert (await client.operator(method, path)).status == 200


async def test_each_key_of_a_list_opens(start: Start) -> None:
    client = await start(
        inbox_api_keys=f"{INBOX_KEY}, another-inbox-key-1",
        operator_api_keys="a" * 16 + "," + "b" * 16,
    )
    for key in (INBOX_KEY, "another-inbox-key-1", "a" * 16, "b" * 16):
        assert (await client.call("GET", f"{API}/users/1", key=key)).status == 200
    (await client.call("GET", f"{API}/users/1", key=OPERATOR_KEY)).assert_problem(401)


@pytest.mark.usefixtures("own_service")
async def test_after_twenty_wrong_keys_only_right_ones_pass(client: Client) -> None:
    for _ in range(20):
        (await client.call("GET", f"{API}/users/1", key="wrong")).assert_problem(401)
        assert (await client.inbox("/users/1")).status == 200
    for path in ("/users/1", "/status"):
        answer = await client.call("GET", API + path, key="wrong")
        answer.assert_problem(429)
        assert int(answer.headers["Retry-After"]) > 0
    assert (await client.inbox("/users/1")).status == 200
    assert (await client.operator("GET", "/status")).status == 200
    (await client.inbox("/status")).assert_problem(403)


async def test_meta_needs_no_key(client: Client) -> None:
    (await client.call("GET", f"{API}/webhook")).assert_problem(403)
    (await client.call("POST", f"{API}/webhook", data=b"{}")).assert_problem(401)
