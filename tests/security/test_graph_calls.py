"""Graph calls: where the token is sent, what signs a call, and which paths are valid."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox import samples
from sandbox.graph.simulator import GraphSimulator
from service.errors import AccountFault, NobodysFault
from service.graph.calls import GraphCaller, graph_session
from service.graph.client import GraphClient
from service.model.contacts import ig_id
from tests.system.chaos.rig import ACCOUNTS, Rig, new_user

APP_SECRET, TOKEN = "the app's secret", "EAAsecretTokenOfTheAccount"
USER = "7000000000000001"
NO_IDS = (
    "../me", "1/../2", "1%2F..%2F2", "1?fields=email", "1#", "1 ", "", "1\n", "-1", "1.0", "0x1",
    "1" * 33, "\uff11", "\u0661", "me", "1\0", "//evil.example/1",
)  # fmt: skip


@pytest.fixture
async def simulator() -> AsyncIterator[GraphSimulator]:
    async with GraphSimulator(app_secret=APP_SECRET) as graph:
        yield graph


@pytest.fixture
async def client(simulator: GraphSimulator) -> AsyncIterator[GraphClient]:
    async with graph_session(4) as session:
        yield client_of(session, simulator.url)


def client_of(session: aiohttp.ClientSession, url: str) -> GraphClient:
    hosts = {"facebook": url, "instagram": url}
    return GraphClient(GraphCaller(session, hosts, "v18.0", APP_SECRET, 2.0), lambda *_: None)


async def test_the_token_travels_in_the_header_alone(
    simulator: GraphSimulator, client: GraphClient
) -> None:
    await client.fetch_profile(USER, ACCOUNTS[0], "facebook", TOKEN)
    (call,) = simulator.calls
    assert not call.token_in_url


async def test_the_token_is_signed_with_the_apps_secret(
    simulator: GraphSimulator, client: GraphClient
) -> None:
    await client.fetch_profile(USER, ACCOUNTS[0], "facebook", TOKEN)
    (call,) = simulator.calls
    assert call.proof == "right"


async def test_no_redirect_is_followed(simulator: GraphSimulator, client: GraphClient) -> None:
    simulator.set_answer("redirect")
    with pytest.raises(NobodysFault):
        await client.fetch_profile(USER, ACCOUNTS[0], "facebook", TOKEN)
    assert simulator.world.redirects_followed == 0


async def test_what_is_fetched_reads_no_proxy_and_keeps_no_cookie(
    monkeypatch: pytest.MonkeyPatch, simulator: GraphSimulator
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with graph_session(4) as session:
        client = client_of(session, simulator.url)
        assert (await client.fetch_profile(USER, ACCOUNTS[0], "facebook", TOKEN)).username
        assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)


async def test_a_token_that_graph_repeats_is_not_kept() -> None:
    async def echo(_: web.Request) -> web.Response:
        error = {"message": f"Malformed access token {TOKEN}", "code": 190, "type": "X"}
        return web.json_response({"error": error}, status=400)

    application = web.Application()
    application.router.add_get("/{tail:.*}", echo)
    async with TestServer(application) as server, graph_session(1) as session:
        echoed = client_of(session, str(server.make_url("")).rstrip("/"))
        with pytest.raises(AccountFault) as refused:
            await echoed.fetch_profile(USER, ACCOUNTS[0], "facebook", TOKEN)
    assert refused.value.problem.message == "Malformed access token [token]"


@pytest.mark.parametrize("value", NO_IDS)
def test_what_is_no_id_makes_no_path(value: str) -> None:
    assert ig_id(value) is None


@pytest.mark.asyncio(loop_scope="session")
async def test_what_is_no_id_reaches_neither_graph_nor_the_tables(shared_rig: Rig) -> None:
    good, account = new_user(), ACCOUNTS[0]
    items = [samples.message(user, account) for user in (*NO_IDS, good)]
    body = samples.delivery({"id": account, "time": samples.now_ms(), "messaging": items})
    assert (await shared_rig.deliver(body)).status == 200
    rows = await shared_rig.fetch("SELECT ig_user_id FROM instagram_participants")
    stored = {row["ig_user_id"] for row in rows}
    assert good in stored
    assert not stored & set(NO_IDS)
    keys = {"Authorization": f"Bearer {shared_rig.keys.operator}"}
    for path in ("/users/..%2Fme", "/users/1%3Fx=y", "/users/abc", "/users?ids=1,../me"):
        assert (await shared_rig.ask("GET", path, headers=keys)).status == 400
    asked = {call["igUserId"] for call in await shared_rig.graph_calls()}
    assert all(ig_id(user) for user in asked)
