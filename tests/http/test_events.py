import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import asyncpg
import pytest
import structlog

from sandbox.graph.simulator import GraphSimulator
from service.app import service
from tests.http.conftest import (
    ACCOUNT,
    API,
    APP_SECRET,
    INBOX_KEY,
    OPERATOR_KEY,
    OTHER,
    PATIENCE_S,
    TOKEN,
    USER,
    Client,
    EventStream,
    MakeSettings,
    Start,
)

STREAMS = "instagram_event_streams"
NAME = """
INSERT INTO instagram_user_cache (ig_user_id, username, last_fetched_at) VALUES ($1, $2, now())
ON CONFLICT (ig_user_id) DO UPDATE SET username = EXCLUDED.username
"""
MANY = """
INSERT INTO instagram_user_cache (ig_user_id, username, name, last_fetched_at)
SELECT (2000000000 + n)::text, 'user.' || n, repeat('long name ', 100), now()
FROM generate_series(1, $1) AS n
ON CONFLICT (ig_user_id) DO UPDATE SET last_fetched_at = now()
"""
CUT_LISTENERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE 'LISTEN%'
"""


@pytest.fixture
def _short_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.events.HEARTBEAT_S", 0.05)


async def name(db: asyncpg.Connection, user: str, username: str) -> None:
    await db.execute(NAME, user, username)


async def test_a_name_that_another_replica_finds_out_reaches_who_watches(start: Start) -> None:
    async with GraphSimulator(app_secret=APP_SECRET) as graph:
        graph.add_account(ACCOUNT, TOKEN)
        graph.set_profile(USER, username="jane.doe", name="Jane Doe")
        watched = await start(graph_base_url=graph.url)
        other = await start(graph_base_url=graph.url)
        await other.connect_account()
        async with watched.events() as stream:
            await other.write(USER)
            identity = await stream.identity()
        assert (identity["displayName"], identity["state"]) == ("@jane.doe", "resolved")
        assert identity == (await other.get(f"/users/{USER}")).json


async def test_a_change_by_hand_is_an_event(client: Client, db: asyncpg.Connection) -> None:
    async with client.events() as stream:
        await name(db, USER, "by.hand")
        assert (await stream.identity())["displayName"] == "@by.hand"
        await name(db, USER, "by.hand.again")
        assert (await stream.identity())["displayName"] == "@by.hand.again"


async def test_ids_narrow_the_stream(client: Client, db: asyncpg.Connection) -> None:
    async with client.events(f"?ids={OTHER},{OTHER}") as stream, client.events() as everybody:
        await name(db, USER, "not.watched")
        await name(db, OTHER, "watched")
        assert (await stream.identity())["displayName"] == "@watched"
        seen = {(await everybody.identity())["igUserId"] for _ in range(2)}
        assert seen == {USER, OTHER}


async def test_an_erased_user_becomes_unknown(client: Client, db: asyncpg.Connection) -> None:
    async with client.events(f"?ids={USER}") as stream:
        await name(db, USER, "jane.doe")
        assert (await stream.identity())["username"] == "jane.doe"
        answer = await client.call("DELETE", f"/users/{USER}", OPERATOR_KEY)
        assert answer.status == 204
        identity = await stream.identity()
        assert (identity["state"], identity["username"]) == ("unknown", None)


async def test_a_participant_without_an_identity_that_goes_is_an_event(
    client: Client, db: asyncpg.Connection
) -> None:
    await client.write(USER)
    async with client.events(f"?ids={USER}") as stream:
        await db.execute("DELETE FROM instagram_participants")
        assert (await stream.identity())["state"] == "unknown"


@pytest.mark.parametrize("table", ["instagram_user_cache", "instagram_participants"])
async def test_a_table_that_is_emptied_at_once_is_a_reload(
    client: Client, db: asyncpg.Connection, table: str
) -> None:
    async with client.events(f"?ids={USER}") as stream:
        await db.execute(f"TRUNCATE {table}")
        assert await stream.event() == ("reload", {})


async def test_a_listener_that_was_away_is_a_reload_and_events_go_on(
    client: Client, db: asyncpg.Connection
) -> None:
    async with client.events() as stream:
        assert len(await db.fetch(CUT_LISTENERS)) == 1
        assert await stream.event() == ("reload", {})
        await name(db, USER, "after.the.gap")
        assert (await stream.identity())["displayName"] == "@after.the.gap"


async def test_a_browser_that_comes_back_is_told_to_reload(client: Client) -> None:
    async with client.events(**{"Last-Event-ID": "opened"}) as stream:
        assert await stream.event() == ("reload", {})


async def test_a_client_that_does_not_read_is_cut_off_and_the_others_are_not(
    client: Client, db: asyncpg.Connection
) -> None:
    users = 2000
    with structlog.testing.capture_logs() as logs:
        async with deaf_client(client), client.events() as stream:
            await client.until_metric(STREAMS, 2)
            await db.execute(MANY, users)
            seen = {(await stream.identity())["igUserId"] for _ in range(users)}
            assert len(seen) == users
            assert await client.metric(STREAMS) == 1
    assert [line["log_level"] for line in logs if "disconnected" in line["event"]] == ["warning"]


@pytest.mark.usefixtures("_short_heartbeats")
async def test_a_quiet_stream_has_heartbeats(client: Client) -> None:
    async with client.events() as stream:
        assert await stream.block() == ": still here\n\n"
        assert await stream.block() == ": still here\n\n"


@pytest.mark.usefixtures("_short_heartbeats")
async def test_a_client_that_goes_is_forgotten(client: Client) -> None:
    async with client.events():
        await client.until_metric(STREAMS, 1)
    await client.until_metric(STREAMS, 0)


async def test_the_stream_is_neither_cached_nor_held_back(client: Client) -> None:
    async with client.events(**{"X-Request-ID": "mine"}) as stream:
        headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Request-ID"] == "mine"
        assert headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("ids", ["", "abc", f"{USER},", "1," * 200 + "1", "1" * 33, "%D9%A1"])
async def test_ids_are_checked_as_in_a_lookup(client: Client, ids: str) -> None:
    answer = await client.get(f"/users/events?ids={ids}")
    assert answer.status == 400
    assert answer.json == (await client.get(f"/users?ids={ids}")).json | {
        "requestId": answer.json["requestId"]
    }


async def test_two_hundred_ids_may_be_watched(client: Client, db: asyncpg.Connection) -> None:
    ids = [f"{USER}{n:03d}" for n in range(200)]
    async with client.events(f"?ids={','.join(ids)}") as stream:
        await name(db, ids[-1], "the.last")
        assert (await stream.identity())["igUserId"] == ids[-1]


async def test_one_stream_too_many_is_refused_until_another_ends(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.identities.events.MOST_SUBSCRIPTIONS", 1)
    async with client.events():
        answer = await client.get("/users/events")
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_grant_opens_a_part_of_the_streams(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.events.MOST_A_GRANT", 1)
    grant, another = await client.grant(60), await client.grant(61)
    async with EventStream(f"{client.url}/users/events?grant={grant}"):
        answer = await client.get(f"/users/events?grant={grant}", key=None)
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0
        async with EventStream(f"{client.url}/users/events?grant={another}"):
            assert await client.metric(STREAMS) == 2
    await client.until_metric(STREAMS, 0)
    async with EventStream(f"{client.url}/users/events?grant={grant}"):
        pass


async def test_an_address_opens_a_part_of_the_streams(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.identities.events.MOST_SUBSCRIPTIONS", 4)
    async with client.events(), client.events(), client.events():
        assert (await client.get("/users/events")).status == 429
        connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        headers = {"Authorization": f"Bearer {INBOX_KEY}"}
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"{client.url}/users/events", headers=headers) as response,
        ):
            assert response.status == 200


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
async def test_a_client_that_goes_frees_its_place_at_once(
    client: Client, monkeypatch: pytest.MonkeyPatch, *, is_reset: bool
) -> None:
    monkeypatch.setattr("service.http.events.HEARTBEAT_S", 3600.0)
    with structlog.testing.capture_logs() as logs:
        async with deaf_client(client, is_reset=is_reset):
            await client.until_metric(STREAMS, 1)
        await client.until_metric(STREAMS, 0)
    assert [line for line in logs if line["log_level"] in ("error", "warning")] == []


async def test_head_opens_no_stream(client: Client) -> None:
    assert (await client.call("HEAD", "/users/events")).status == 400  # no user is called "events"


async def test_a_stream_needs_a_key_or_a_grant(client: Client) -> None:
    assert (await client.get("/users/events", key=None)).status == 401
    assert (await client.get("/users/events", key="not-a-key-of-ours")).status == 401


async def test_a_grant_opens_a_stream_and_ends_it(client: Client, db: asyncpg.Connection) -> None:
    grant = await client.grant(expires_in_s=1)
    async with EventStream(f"{client.url}/users/events?grant={grant}") as stream:
        await name(db, USER, "jane.doe")
        assert (await stream.identity())["displayName"] == "@jane.doe"
        assert await stream.end() == []
    answer = await client.get(f"/users/events?grant={grant}", key=None)
    assert answer.status == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_stopping_waits_for_no_stream(
    make_settings: MakeSettings, db: asyncpg.Connection
) -> None:
    users = 300
    async with AsyncExitStack() as clients, asyncio.timeout(PATIENCE_S):
        session = await clients.enter_async_context(aiohttp.ClientSession())
        async with service(make_settings(shutdown_timeout_seconds=600)) as running:
            client = Client(running, session)
            await client.until_metric("instagram_notices_up", 1)
            await clients.enter_async_context(deaf_client(client))
            stream = await clients.enter_async_context(client.events())
            await client.until_metric(STREAMS, 2)
            await db.execute(MANY, users)
            for _ in range(users):  # by now the deaf one has been sent more than it can take
                await stream.identity()
        assert await stream.end() == []


@asynccontextmanager
async def deaf_client(client: Client, *, is_reset: bool = False) -> AsyncIterator[None]:
    """Open a stream and read no more than its beginning; it may end with a reset."""
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(0)
        if is_reset:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await loop.sock_connect(deaf, ("127.0.0.1", client.running.port))
        head = [f"GET {API}/users/events HTTP/1.1", "Host: x", f"Authorization: Bearer {INBOX_KEY}"]
        await loop.sock_sendall(deaf, "\r\n".join([*head, "", ""]).encode())
        assert b"200 OK" in await loop.sock_recv(deaf, 100)
        yield
