from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.contacts import Contact, event_time, ig_id, merge_contacts
from tests.strategies import JSON_VALUES, USERS

from .examples import DAY, MOMENTS, NOW, USER


def contact(user: str = USER, at: datetime = NOW, *, wrote: bool = True) -> Contact:
    return Contact("17841400000000007", user, at, at, wrote)


@pytest.mark.parametrize(
    ("value", "digits"),
    [
        ("1", "1"),
        ("1" * 32, "1" * 32),
        ("007", "007"),
        (0, "0"),
        (10**32 - 1, "9" * 32),
        ("", None),
        ("1" * 33, None),
        (10**32, None),
        (-1, None),
        (True, None),
        (1.0, None),
        ("12 ", None),
        ("12\n", None),
        ("٣", None),
        ("²", None),
        (None, None),
        (["1"], None),
    ],
)
def test_an_id_is_1_to_32_ascii_digits_or_a_json_integer_of_them(
    value: object, digits: str | None
) -> None:
    assert ig_id(value) == digits


@pytest.mark.parametrize(
    "value",
    [1_795_341_600_000, "1795341600000", 1_795_341_600, "1795341600", 1_795_341_600.9],
)
def test_a_time_is_milliseconds_or_seconds_as_a_number_or_text(value: object) -> None:
    assert event_time(value, NOW + DAY) == NOW


def test_milliseconds_are_kept() -> None:
    assert event_time(1_795_341_599_250, NOW) == NOW - timedelta(milliseconds=750)


@pytest.mark.parametrize(
    "value",
    [None, True, "", "soon", "1e5", [], {}, 0, -5, "-5", 10**30, "9" * 5000, float("nan"), 1e400],
)
def test_a_time_that_cannot_be_read_is_the_time_of_receipt(value: object) -> None:
    assert event_time(value, NOW) == NOW


def test_a_time_in_the_future_is_now() -> None:
    assert event_time((NOW + DAY).timestamp() * 1000, NOW) == NOW


@given(JSON_VALUES | st.integers() | st.floats() | st.integers().map(str))
def test_any_value_gives_a_time_that_is_not_in_the_future(value: object) -> None:
    said_at = event_time(value, NOW)
    assert said_at <= NOW
    assert said_at.tzinfo is UTC


@given(st.lists(st.builds(contact, USERS, MOMENTS, wrote=st.booleans())))
def test_merging_keeps_each_participant_once_with_all_that_was_said(found: list[Contact]) -> None:
    merged = merge_contacts(found)
    assert [c.key for c in merged] == list(dict.fromkeys(c.key for c in found))
    for one in merged:
        own = [c for c in found if c.key == one.key]
        assert one.first_at == min(c.first_at for c in own)
        assert one.last_at == max(c.last_at for c in own)
        assert one.wrote == any(c.wrote for c in own)
