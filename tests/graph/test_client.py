import asyncio
import gzip
import hashlib
import hmac
import json
import math
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from service.errors import AccountFault, AppFault, GraphError, NobodysFault, UserFault
from service.graph.client import (
    MOST_BODY_BYTES,
    POLICY_BLOCK_S,
    GraphClient,
    Usage,
    graph_session,
    read_answer,
    read_error,
    read_usage,
)
from service.model import Profile
from tests.strategies import DEPTHS, JSON_VALUES, mutated_bytes, nested

USER, ACCOUNT, TOKEN = "5550000000000001", "17841400000000007", "EAAmadeupTOKEN"
APP_SECRET = "a made-up app secret"
HOSTS = {"facebook": "https://graph.example", "instagram": "https://ig.graph.example"}
PROFILE = {"id": USER, "username": "jane.doe", "name": "Jane", "profile_pic": "https://p.example"}
ANY_PROFILE_CALL = re.compile(rf"https://(ig\.)?graph\.example/v18\.0/{USER}\?.*")


class Graph:
    """A client of a Graph host whose one answer is set by a test."""

    def __init__(self, session: aiohttp.ClientSession, answers: aioresponses) -> None:
        self.answers = answers
        self.heard: list[tuple[str, Usage]] = []
        self._session = session

    async def fetch(
        self, login: str = "facebook", token: str = TOKEN, timeout_s: float = 5.0
    ) -> Profile:
        client = GraphClient(
            self._session,
            HOSTS,
            "v18.0",
            APP_SECRET,
            timeout_s,
            lambda *heard: self.heard.append(heard),
        )
        return await client.fetch_profile(USER, ACCOUNT, login, token)

    async def fault(self, token: str = TOKEN, timeout_s: float = 5.0, **answer: Any) -> GraphError:  # noqa: ANN401 - what aioresponses takes
        """Answer once, and return what that means."""
        self.answers.get(ANY_PROFILE_CALL, **answer)
        with pytest.raises(GraphError) as raised:
            await self.fetch(token=token, timeout_s=timeout_s)
        return raised.value

    def calls(self) -> list[tuple[URL, dict[str, Any]]]:
        return [
            (url, dict(call.kwargs))
            for (_, url), calls in self.answers.requests.items()
            for call in calls
        ]


@pytest.fixture
def answers() -> Iterator[aioresponses]:
    with aioresponses() as found:
        yield found


@pytest.fixture
async def graph(answers: aioresponses) -> AsyncIterator[Graph]:
    async with graph_session(1) as session:
        yield Graph(session, answers)


def error_body(code: object, subcode: int | None = None, **more: object) -> dict[str, object]:
    error = {"message": "said by Meta", "type": "OAuthException", "code": code, "fbtrace_id": "Tr1"}
    return {"error": error | ({} if subcode is None else {"error_subcode": subcode}) | more}


# The call


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
    assert dict(url.query) == {"fields": "name,username,profile_pic", "appsecret_proof": proof}
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


# The table of errors

USER_IS, NOBODY, ACCOUNT_IS, APP_IS = UserFault, NobodysFault, AccountFault, AppFault
ROWS = [
    ((230,), 400, USER_IS, "consent_required"),
    ((230,), 403, USER_IS, "consent_required"),
    ((9010,), 400, USER_IS, "not_found"),
    ((100, 33), 400, USER_IS, "not_found"),
    ((803,), 404, USER_IS, "not_found"),
    ((551,), 400, USER_IS, "upstream_error"),
    ((100,), 400, APP_IS, "bad_request"),
    ((100, 34), 400, APP_IS, "bad_request"),
    ((2500,), 400, APP_IS, "bad_request"),
    *(((190, sub), 400, ACCOUNT_IS, "token_invalid") for sub in (None, 458, 459, 460, 463, 467)),
    ((190,), 401, ACCOUNT_IS, "token_invalid"),
    ((102,), 400, ACCOUNT_IS, "token_invalid"),
    *(((code,), 403, ACCOUNT_IS, "permission") for code in (10, 200, 229, 231, 299)),
    *(((code,), 400, APP_IS, "throttled") for code in (4, 341)),
    *(((code,), 400, ACCOUNT_IS, "throttled") for code in (17, 32, 613, 80000, 80007, 80014)),
    ((4,), 403, APP_IS, "throttled"),
    ((4,), 429, APP_IS, "throttled"),
    ((551,), 429, ACCOUNT_IS, "throttled"),
    ((230,), 429, ACCOUNT_IS, "throttled"),
    ((368,), 400, ACCOUNT_IS, "throttled"),
    ((1,), 400, NOBODY, "upstream_error"),
    ((1, 99), 500, NOBODY, "upstream_error"),
    ((2,), 500, NOBODY, "upstream_error"),
    ((12345,), 503, NOBODY, "upstream_error"),
    (("x",), 400, NOBODY, "upstream_error"),
    ((None,), 400, NOBODY, "upstream_error"),
]


@pytest.mark.parametrize(("codes", "status", "whose", "reason"), ROWS)
async def test_each_code_is_blamed_where_it_belongs(
    graph: Graph, codes: tuple[object, ...], status: int, whose: type[GraphError], reason: str
) -> None:
    fault = await graph.fault(status=status, payload=error_body(*codes))  # type: ignore[arg-type]
    assert (type(fault), fault.problem.reason) == (whose, reason)
    assert (fault.problem.message, fault.problem.fbtrace_id) == ("said by Meta", "Tr1")


async def test_the_codes_are_kept_for_an_operator(graph: Graph) -> None:
    problem = (await graph.fault(status=400, payload=error_body("190", 463))).problem
    assert (problem.code, problem.subcode) == (190, 463)


@pytest.mark.parametrize("code", [230, 9010, 190, 10, 368, 100, 2500, 551])
async def test_what_is_transient_is_nobodys_fault(graph: Graph, code: int) -> None:
    fault = await graph.fault(status=400, payload=error_body(code, is_transient=True))
    assert type(fault) is NobodysFault


@pytest.mark.parametrize(("code", "whose"), [(4, AppFault), (613, AccountFault)])
async def test_a_throttle_wins_over_is_transient(
    graph: Graph, code: int, whose: type[GraphError]
) -> None:
    fault = await graph.fault(status=400, payload=error_body(code, is_transient=True))
    assert type(fault) is whose


async def test_an_error_under_a_200_is_an_error(graph: Graph) -> None:
    assert type(await graph.fault(status=200, payload=error_body(230))) is UserFault


@given(
    st.sampled_from([row for row in ROWS if row[1] < 429]),
    st.integers(300, 428),
    st.text(),
    st.sampled_from(["OAuthException", "IGApiException", None]),
)
def test_neither_message_nor_type_nor_status_decides(
    row: tuple[Any, ...], status: int, message: str, kind: str | None
) -> None:
    codes, _, whose, reason = row
    error = error_body(*codes, message=message, type=kind)["error"]
    fault = read_error(status, error, Usage())
    assert (type(fault), fault.problem.reason) == (whose, reason)


@given(st.integers(100, 599), JSON_VALUES, JSON_VALUES, JSON_VALUES)
def test_any_error_object_means_something(
    status: int, code: object, subcode: object, message: object
) -> None:
    error = {"code": code, "error_subcode": subcode, "message": message, "fbtrace_id": message}
    assert isinstance(read_error(status, error, Usage()), GraphError)
    assert isinstance(read_error(status, code, Usage()), GraphError)


# How long to stay away


async def test_a_throttled_account_waits_as_long_as_meta_says(graph: Graph) -> None:
    row = {"type": "messenger", "call_count": 100, "estimated_time_to_regain_access": 19}
    headers = {"X-Business-Use-Case-Usage": json.dumps({"1": [row]})}
    fault = await graph.fault(status=400, payload=error_body(80002), headers=headers)
    assert isinstance(fault, AccountFault)
    assert fault.hold_s == 19 * 60


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>slow down</html>"])
async def test_a_429_of_any_body_throttles_the_account(graph: Graph, body: bytes) -> None:
    fault = await graph.fault(status=429, body=body, headers={"Retry-After": "30"})
    assert isinstance(fault, AccountFault)
    assert (fault.problem.reason, fault.hold_s) == ("throttled", 30)


@pytest.mark.parametrize(
    ("said", "hold_s"),
    [("120", 120), ("1e9", 86_400), ("0", None), ("-5", None), ("nan", None), ("soon", None)],
)
def test_a_wait_that_meta_asks_for_is_a_day_at_most(said: str, hold_s: float | None) -> None:
    assert read_usage({"Retry-After": said}).regain_s == hold_s


async def test_without_headers_the_wait_is_for_others_to_choose(graph: Graph) -> None:
    fault = await graph.fault(status=400, payload=error_body(4))
    assert isinstance(fault, AppFault)
    assert fault.hold_s is None


async def test_a_block_for_policy_is_a_long_pause(graph: Graph) -> None:
    fault = await graph.fault(status=400, payload=error_body(368))
    assert isinstance(fault, AccountFault)
    assert fault.hold_s == POLICY_BLOCK_S >= 3600


async def test_every_answers_usage_is_heard_with_its_account(graph: Graph) -> None:
    headers = {"X-App-Usage": '{"call_count":28,"total_time":80,"total_cputime":5}'}
    await graph.fault(status=400, payload=error_body(230), headers=headers)
    assert graph.heard == [(ACCOUNT, Usage(app=80))]


def test_the_usage_is_the_highest_of_all_that_is_said() -> None:
    rows = [{"call_count": 10, "total_cputime": 91.5}, {"total_time": 30}, "x"]
    headers = {
        "X-App-Usage": '{"call_count": 12}',
        "X-Business-Use-Case-Usage": json.dumps({"1": rows, "2": [{"call_count": 95}], "3": 5}),
    }
    assert read_usage(headers) == Usage(app=12, account=95)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "[]",
        "5",
        "{",
        '{"call_count":"90"}',
        '{"call_count":true}',
        '{"call_count":-5}',
        '{"call_count":NaN}',
        '{"call_count":1e999}',
        '{"call_count":' + "9" * 400 + "}",
        '{"a":[{"call_count":null}]}',
        "[" * 5000,
        "\udcff",
    ],
)
def test_a_header_that_cannot_be_read_says_nothing(value: str) -> None:
    names = ("X-App-Usage", "X-Business-Use-Case-Usage")
    assert read_usage(dict.fromkeys(names, value)) == Usage()


@given(JSON_VALUES | st.dictionaries(st.just("call_count"), JSON_VALUES), st.text(max_size=9))
def test_any_header_gives_finite_figures(said: object, retry_after: str) -> None:
    value = json.dumps(said)
    usage = read_usage(
        {
            "X-App-Usage": value,
            "X-Business-Use-Case-Usage": json.dumps({"1": [said]}),
            "Retry-After": retry_after,
        }
    )
    assert math.isfinite((usage.app or 0) + usage.account + (usage.regain_s or 0))
    assert usage.regain_s is None or 0 < usage.regain_s <= 86_400


# Answers that are none


@pytest.mark.parametrize(
    "answer",
    [
        {"body": b""},
        {"body": b"<html>Sorry</html>", "content_type": "text/html"},
        {"body": b"[]"},
        {"body": b"null"},
        {"body": b'{"id":"555'},
        {"body": b"\xff\xfe{}"},
        {"body": b"<html>bad gateway</html>", "status": 502},
        {"payload": {}},
        {"payload": PROFILE | {"id": "5550000000000002"}},
        {"payload": {key: PROFILE[key] for key in ("name", "username")}},
        {"payload": PROFILE, "status": 500},
        {"payload": PROFILE, "status": 204},
        {"payload": {"error": None} | PROFILE},
        {"payload": {"error": "no"}},
    ],
    ids=lambda answer: repr(answer)[:60],
)
async def test_an_answer_that_is_no_profile_is_nobodys_fault(
    graph: Graph, answer: dict[str, Any]
) -> None:
    fault = await graph.fault(**answer)
    assert (type(fault), fault.problem.reason) == (NobodysFault, "upstream_error")


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
    return GraphClient(session, {"facebook": host}, "v18.0", APP_SECRET, 0.5, lambda *_: None)


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


# What is kept


@pytest.mark.parametrize("token", [TOKEN, "EAA|with/slash", 'EAA"quoted', "EAA-ä"])
async def test_a_token_that_graph_repeats_is_redacted(graph: Graph, token: str) -> None:
    said = json.dumps(error_body(190, message=f"Malformed access token {token}"))
    fault = await graph.fault(token=token, status=400, body=said.replace("/", "\\/"))
    assert fault.problem.message == "Malformed access token [token]"


async def test_a_token_in_a_profile_is_redacted(graph: Graph) -> None:
    graph.answers.get(ANY_PROFILE_CALL, payload=PROFILE | {"next": f"https://x/?token={TOKEN}"})
    assert TOKEN not in (await graph.fetch()).raw


@pytest.mark.parametrize(
    ("literal", "kept"),
    [
        (r'"a\u0000b"', "a\N{REPLACEMENT CHARACTER}b"),
        (r'"\ud83d cut"', "\N{REPLACEMENT CHARACTER} cut"),
        (r'"\ud83d\ude00"', "\N{GRINNING FACE}"),
        (r'"\ufeffbom"', "\ufeffbom"),
        ("1e400000", None),
        ("-1e999", None),
        ("NaN", None),
        ("[Infinity, 1.5]", [None, 1.5]),
        (r'{"a\u0000": 1}', {"a\N{REPLACEMENT CHARACTER}": 1}),
        ("12345678901234567890123", 12345678901234567890123),
    ],
)
def test_what_jsonb_cannot_hold_is_replaced(literal: str, kept: object) -> None:
    body = f'{{"id":"{USER}","x":{literal}}}'.encode()
    assert json.loads(read_answer(USER, 200, body, Usage()).raw)["x"] == kept


def test_a_name_is_kept_as_storable_text() -> None:
    body = f'{{"id":"{USER}","name":"a\\u0000\\ud83d","username":"ä"}}'.encode()
    profile = read_answer(USER, 200, body, Usage())
    assert (profile.name, profile.username) == (
        "a" + 2 * "\N{REPLACEMENT CHARACTER}",
        "ä",
    )


@given(st.dictionaries(st.text(), JSON_VALUES))
def test_whatever_graph_says_is_kept_as_json_that_jsonb_takes(said: dict[str, object]) -> None:
    body = json.dumps({"x": said, "id": USER}).encode()
    raw = read_answer(USER, 200, body, Usage()).raw
    raw.encode()
    assert "\\u0000" not in raw.replace("\\\\", "")
    assert isinstance(json.loads(raw, parse_constant=pytest.fail), dict)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_characters="\0", codec="utf-8")),
        st.integers() | st.booleans(),
    )
)
def test_what_jsonb_can_hold_is_kept_as_it_is(said: dict[str, object]) -> None:
    answer = {key: value for key, value in said.items() if key != "error"} | {"id": USER}
    assert json.loads(read_answer(USER, 200, json.dumps(answer).encode(), Usage()).raw) == answer


@given(DEPTHS)
def test_an_answer_nested_deeply_is_kept_or_nobodys_fault(depth: int) -> None:
    assert is_understood(b'{"id":"%s","x":%s}' % (USER.encode(), nested(depth)))


@given(
    st.binary() | mutated_bytes(JSON_VALUES.map(lambda x: json.dumps(PROFILE | {"x": x}).encode()))
)
def test_any_bytes_are_a_profile_or_a_fault(body: bytes) -> None:
    assert is_understood(body)


def is_understood(body: bytes) -> bool:
    try:
        return isinstance(read_answer(USER, 200, body, Usage()), Profile)
    except GraphError:
        return True
