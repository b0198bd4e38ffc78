import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.graph.usage import CONVERSATION_POOLS, Usage, read_usage
from tests.strategies import JSON_VALUES


@pytest.mark.parametrize(
    ("said", "hold_s"),
    [("120", 120), ("1e9", 86_400), ("0", None), ("-5", None), ("nan", None), ("soon", None)],
)
def test_a_wait_that_meta_asks_for_is_a_day_at_most(said: str, hold_s: float | None) -> None:
    assert read_usage({"Retry-After": said}).regain_s == hold_s


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


def test_an_account_is_slowed_by_the_rows_of_its_own_kind_of_call() -> None:
    """One header may hold rows of several pools, under the Page's id and the account's."""
    rows = {
        "1": [{"type": "messenger", "call_count": 99, "estimated_time_to_regain_access": 7}],
        "2": [{"type": "instagram", "call_count": 40}, {"type": "pages", "call_count": 98}],
        "3": [{"type": "instagram", "call_count": 80, "estimated_time_to_regain_access": 0}],
    }
    headers = {"X-Business-Use-Case-Usage": json.dumps(rows)}
    profile = read_usage(headers)
    assert (profile.account, profile.regain_s, profile.throttled_s) == (80, None, 420)
    conversation = read_usage(headers, CONVERSATION_POOLS)
    assert (conversation.account, conversation.regain_s) == (99, 420)
