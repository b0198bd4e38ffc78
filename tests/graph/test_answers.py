import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import (
    AccountFault,
    AppFault,
    GraphError,
    NobodysFault,
    UnclearFault,
    UserFault,
)
from service.graph.answers import read_error, read_profile
from service.graph.calls import Answer, decode
from service.graph.usage import Usage
from service.model.calls import Profile
from tests.strategies import DEPTHS, JSON_VALUES, mutated_bytes, nested

from .fake import PROFILE, USER, Graph, error_body

USER_IS, NOBODY, ACCOUNT_IS, APP_IS = UserFault, NobodysFault, AccountFault, AppFault
UNCLEAR = UnclearFault
ROWS = [
    ((230,), 400, USER_IS, "consent_required"),
    ((230,), 403, USER_IS, "consent_required"),
    ((9010,), 400, USER_IS, "not_found"),
    ((100, 33), 400, USER_IS, "not_found"),
    ((803,), 404, USER_IS, "not_found"),
    ((551,), 400, USER_IS, "refused"),
    ((424242,), 400, USER_IS, "refused"),
    ((100,), 400, UNCLEAR, "bad_request"),
    ((100, 34), 400, UNCLEAR, "bad_request"),
    ((100, 2018218), 400, UNCLEAR, "bad_request"),
    ((3,), 400, UNCLEAR, "bad_request"),
    ((2500,), 400, UNCLEAR, "bad_request"),
    *(((190, sub), 400, ACCOUNT_IS, "token_invalid") for sub in (None, 458, 459, 460, 463, 467)),
    ((190,), 401, ACCOUNT_IS, "token_invalid"),
    ((102,), 400, ACCOUNT_IS, "token_invalid"),
    *(((code,), 403, UNCLEAR, "permission") for code in (10, 200, 229, 231, 299)),
    *(((code,), 400, APP_IS, "throttled") for code in (4, 341)),
    *(((code,), 400, ACCOUNT_IS, "throttled") for code in (17, 32, 613, 80000, 80007, 80014)),
    ((4,), 403, APP_IS, "throttled"),
    ((4,), 429, APP_IS, "throttled"),
    ((551,), 429, ACCOUNT_IS, "throttled"),
    ((230,), 429, ACCOUNT_IS, "throttled"),
    ((368,), 400, ACCOUNT_IS, "policy_block"),
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


async def test_without_headers_the_wait_is_for_others_to_choose(graph: Graph) -> None:
    fault = await graph.fault(status=400, payload=error_body(4))
    assert isinstance(fault, AppFault)
    assert fault.hold_s is None


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
        {"payload": {"success": True}},
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


@pytest.mark.parametrize("own", [{}, {"id": None}, {"id": USER}, {"id": int(USER)}])
def test_an_answer_without_an_id_is_the_users_own(own: dict[str, object]) -> None:
    answer = Answer(200, {"name": "Jane", "username": "jane.doe"} | own)
    assert read_profile(USER, answer, Usage()).username == "jane.doe"


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
    assert json.loads(profile_in(body).raw)["x"] == kept


def test_a_name_is_kept_as_storable_text() -> None:
    body = f'{{"id":"{USER}","name":"a\\u0000\\ud83d","username":"ä"}}'.encode()
    profile = profile_in(body)
    assert (profile.name, profile.username) == (
        "a" + 2 * "\N{REPLACEMENT CHARACTER}",
        "ä",
    )


@given(st.dictionaries(st.text(), JSON_VALUES))
def test_whatever_graph_says_is_kept_as_json_that_jsonb_takes(said: dict[str, object]) -> None:
    body = json.dumps({"x": said, "id": USER}).encode()
    raw = profile_in(body).raw
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
    assert json.loads(profile_in(json.dumps(answer).encode()).raw) == answer


@given(DEPTHS)
def test_an_answer_nested_deeply_is_kept_or_nobodys_fault(depth: int) -> None:
    assert is_understood(b'{"id":"%s","x":%s}' % (USER.encode(), nested(depth)))


@given(
    st.binary() | mutated_bytes(JSON_VALUES.map(lambda x: json.dumps(PROFILE | {"x": x}).encode()))
)
def test_any_bytes_are_a_profile_or_a_fault(body: bytes) -> None:
    assert is_understood(body)


def profile_in(body: bytes) -> Profile:
    return read_profile(USER, Answer(200, decode(body)), Usage())


def is_understood(body: bytes) -> bool:
    try:
        return isinstance(profile_in(body), Profile)
    except GraphError:
        return True


@pytest.mark.parametrize("blank", ["", " ", "\u200b", None])
def test_a_blank_name_is_none(blank: str | None) -> None:
    body = {"id": USER, "username": blank, "name": blank, "profile_pic": "https://p.test/1"}
    found = read_profile(USER, Answer(200, body), Usage())
    assert (found.username, found.name) == (None, None)
