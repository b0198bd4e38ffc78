import asyncio
import gzip
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import aiohttp
import pytest

from service.errors import AccountFault, NobodysFault
from service.graph.calls import MOST_BODY_BYTES, GraphCaller, graph_session
from service.graph.client import GraphClient
from service.graph.usage import Usage

from .fake import (
    ACCOUNT,
    ANY_PROFILE_CALL,
    APP_SECRET,
    HOSTS,
    PROFILE,
    TOKEN,
    USER,
    Graph,
    error_body,
)


async def test_a_profile_is_what_graph_answers(graph: Graph) -> None:
    graph.answers.get(ANY_PROFILE_CALL, payload=PROFILE | {"follower_count": 3})
    profile = await graph.fetch()
    assert (profile.username, profile.name) == ("jane.doe", "Jane")
    assert profile.profile_pic_url == "https://p.example"
    assert json.loads(profile.raw) == PROFILE | {"follower_count": 3}


@pytest.mark.parametrize("login", HOSTS)
async def test_the_call_is_as_the_contract_has_it(graph: Graph, login: str) -> None:
    graph.answers.get(ANY_PROFILE_CALL, payload=PROFILE)
    await graph.fetch(login)
    ((url, how),) = graph.calls()
    assert str(url.with_query(None)) == f"{HOSTS[login]}/v18.0/{USER}"
    proof = hmac.new(APP_SECRET.encode(), TOKEN.encode(), hashlib.sha256).hexdigest()
    proven = {"appsecret_proof": proof} if login == "facebook" else {}
    assert dict(url.query) == {"fields": "name,username,profile_pic"} | proven
    assert how["headers"] == {"Authorization": f"Bearer {TOKEN}"}
    assert how["allow_redirects"] is False
    assert TOKEN not in str(url)


@pytest.mark.parametrize("empty", [{"id": USER}, PROFILE | {"name": None, "profile_pic": None}])
async def test_a_name_and_a_picture_may_be_missing(graph: Graph, empty: dict[str, str]) -> None:
    graph.answers.get(ANY_PROFILE_CALL, payload=empty)
    profile = await graph.fetch()
    assert (profile.name, profile.profile_pic_url) == (None, None)


@pytest.mark.parametrize("odd", [5, True, ["a"], {"a": 1}])
async def test_a_name_that_is_no_text_counts_as_none(graph: Graph, odd: object) -> None:
    graph.answers.get(ANY_PROFILE_CALL, payload=PROFILE | {"name": odd})
    assert (await graph.fetch()).name is None


async def test_every_answers_usage_is_heard_with_its_account(graph: Graph) -> None:
    headers = {"X-App-Usage": '{"call_count":28,"total_time":80,"total_cputime":5}'}
    await graph.fault(status=400, payload=error_body(230), headers=headers)
    assert graph.heard == [(ACCOUNT, Usage(app=80))]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(graph: Graph, status: int) -> None:
    fault = await graph.fault(status=status, headers={"Location": f"{HOSTS['instagram']}/x"})
    assert (type(fault), fault.problem.reason) == (NobodysFault, "upstream_error")
    assert len(graph.calls()) == 1


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientPayloadError(),
        aiohttp.ClientConnectionError(f"to {TOKEN}"),
        ValueError(f"in {TOKEN}"),
    ],
)
async def test_a_lost_connection_is_nobodys_fault(graph: Graph, error: Exception) -> None:
    fault = await graph.fault(exception=error)
    assert (type(fault), fault.problem.reason) == (NobodysFault, "upstream_error")
    assert TOKEN not in repr(fault.problem)


async def test_an_answer_that_does_not_come_in_time_is_nobodys_fault(graph: Graph) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    fault = await graph.fault(callback=never, timeout_s=0.01)
    assert (type(fault), fault.problem.reason) == (NobodysFault, "timeout")


def http(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 " + status, length, *headers, b"", body])


TOO_MUCH = b'{"id":"%s","x":"%s"}' % (USER.encode(), b"x" * MOST_BODY_BYTES)
BOMB = gzip.compress(b'{"id":"%s","x":"%s"}' % (USER.encode(), b"x" * (32 << 20)))


@pytest.mark.parametrize(
    ("answer", "ending", "reason"),
    [
        (http(TOO_MUCH), "close", "upstream_error"),
        (http(BOMB, b"Content-Encoding: gzip"), "close", "upstream_error"),
        (http(b"{}", b"Content-Encoding: gzip"), "close", "upstream_error"),
        (
            http(b"{}", b"Location: /v18.0/elsewhere", status=b"302 Found"),
            "close",
            "upstream_error",
        ),
        (http(json.dumps(PROFILE).encode())[:-5], "close", "upstream_error"),
        (http(json.dumps(PROFILE).encode())[:-5], "abort", "upstream_error"),
        (http(json.dumps(PROFILE).encode())[:-5], "stall", "timeout"),
        (http(b"{}")[:20], "stall", "timeout"),
        (b"", "stall", "timeout"),
        (b"", "abort", "upstream_error"),
        (b"", "close", "upstream_error"),
        (b"\x15\x03\x01 this is not HTTP\r\n\r\n", "close", "upstream_error"),
        (http(b"{}", b"X-App-Usage: " + b"9" * 20_000), "close", "upstream_error"),
    ],
    ids=lambda given: repr(given)[:50],
)
async def test_what_goes_wrong_on_a_real_connection_is_nobodys_fault(
    answer: bytes, ending: str, reason: str
) -> None:
    async with server_that_sends(answer, ending) as (host, _), graph_session(1) as session:
        with pytest.raises(NobodysFault) as raised:
            await client_of(session, host).fetch_profile(USER, ACCOUNT, "facebook", TOKEN)
    assert raised.value.problem.reason == reason


async def test_a_call_on_a_kept_connection_that_breaks_is_not_sent_again() -> None:
    answer = http(json.dumps(PROFILE).encode())
    at_the_next = server_that_sends(answer, "close at the next")
    async with at_the_next as (host, calls), graph_session(1) as session:
        client = client_of(session, host)
        await client.fetch_profile(USER, ACCOUNT, "facebook", TOKEN)
        with pytest.raises(NobodysFault):
            await client.fetch_profile(USER, ACCOUNT, "facebook", TOKEN)
    assert len(calls) == 2


def client_of(session: aiohttp.ClientSession, host: str) -> GraphClient:
    caller = GraphCaller(session, {"facebook": host}, "v18.0", APP_SECRET, 0.5)
    return GraphClient(caller, lambda *_: None)


@asynccontextmanager
async def server_that_sends(answer: bytes, ending: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Listen where every connection's first call gets these bytes and then this ending.

    Gives the address, and the calls that came.
    """
    calls: list[bytes] = []
    connections: list[asyncio.Task[None] | None] = []

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            calls.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if ending == "stall":
                await reader.read()
            if ending == "close at the next":
                calls.append(await reader.readuntil(b"\r\n\r\n"))
        if ending == "abort":
            writer.transport.abort()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(send, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", calls
    await asyncio.gather(*filter(None, connections))


async def test_a_caller_that_gives_up_is_not_told_of_a_fault(graph: Graph) -> None:
    called = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        called.set()
        await asyncio.Event().wait()

    graph.answers.get(ANY_PROFILE_CALL, callback=never)
    call = asyncio.create_task(graph.fetch())
    await called.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("token", [TOKEN, "EAA|with/slash", 'EAA"quoted', "EAA-with-ä"])
@pytest.mark.parametrize("write", [str, quote, lambda token: json.dumps(token)[1:-1]])
async def test_a_token_that_graph_repeats_is_redacted(
    graph: Graph, token: str, write: Callable[[str], str]
) -> None:
    said = json.dumps(error_body(190, message=f"Malformed access token {write(token)}"))
    fault = await graph.fault(token=token, status=400, body=said.replace("/", "\\/"))
    assert fault.problem.message == "Malformed access token [token]"


async def test_a_token_that_every_character_escapes_is_redacted(graph: Graph) -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in TOKEN)
    body = json.dumps(PROFILE | {"username": "X"}).replace("X", escaped)
    graph.answers.get(ANY_PROFILE_CALL, body=body)
    assert (await graph.fetch()).username == "[token]"


async def test_secrets_are_redacted_in_values_and_keys_of_a_profile(graph: Graph) -> None:
    proof = hmac.new(APP_SECRET.encode(), TOKEN.encode(), hashlib.sha256).hexdigest()
    more = {"next": f"https://x/?token={TOKEN}&p={proof}", TOKEN: [{APP_SECRET: proof}]}
    graph.answers.get(ANY_PROFILE_CALL, payload=PROFILE | more)
    raw = (await graph.fetch()).raw
    assert not [secret for secret in (TOKEN, proof, APP_SECRET) if secret in raw]


async def test_the_token_that_is_asked_about_is_redacted() -> None:
    about = "EAA|of/another"
    body = json.dumps({"data": {"error": {"message": f"bad token {quote(about, safe='')}"}}})
    answer = http(body.encode(), b"facebook-api-version: v1 " + about.encode())
    async with server_that_sends(answer, "close") as (host, _), graph_session(1) as session:
        caller = GraphCaller(session, {"facebook": host}, "v18.0", APP_SECRET, 0.5)
        told = await caller.get("facebook", "debug_token", TOKEN, {"input_token": about})
    assert told.body == {"data": {"error": {"message": "bad token [token]"}}}
    assert told.version == "v1 [token]"


@pytest.mark.parametrize("token", ["", "EAA\nmore", "EAA\r\nX: y", "EAA\0"])
async def test_a_token_that_no_header_can_hold_is_its_accounts_fault(
    graph: Graph, token: str
) -> None:
    with pytest.raises(AccountFault) as raised:
        await graph.fetch(token=token)
    assert raised.value.problem.reason == "token_invalid"
    assert graph.calls() == []
