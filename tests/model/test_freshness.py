from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.freshness import (
    CachedIdentity,
    expires_at,
    is_fresh,
    is_stopped,
    picture_expiry,
    retry_wait,
)

from .examples import CACHED, DAY, HOUR, MINUTE, MOMENTS, NOW, RULES, cached
from .next_fetch import next_fetch


def test_a_pictures_expiry_is_its_oe_parameter_in_hex() -> None:
    url = "https://scontent.example/p.jpg?stp=x&oe=6B02DFA0&_nc_sid=1"
    assert picture_expiry(url) == datetime.fromtimestamp(0x6B02DFA0, UTC)


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "https://a.example/p.jpg",
        "https://a.example/?oe=",
        "https://a.example/?oe=xyz",
        "https://a.example/?oe=-1",
        "https://a.example/?oe=0x1F",
        "https://a.example/?oe=" + "F" * 12,
        "https://a.example/?oe=" + "F" * 500,
        "https://[/?oe=6B02DFA0",
        "https://a.example/\ud800?oe=%FF",
    ],
)
def test_a_picture_without_a_readable_expiry_has_none(url: str | None) -> None:
    assert picture_expiry(url) is None


@given(st.text() | st.text().map(lambda text: f"https://a.example/?oe={text}"))
def test_any_text_is_survived_as_a_picture_url(url: str) -> None:
    found = picture_expiry(url)
    assert found is None or found.tzinfo is UTC


def test_an_identity_without_an_expiry_lasts_its_ttl() -> None:
    row = cached(last_fetched_at=NOW)
    assert expires_at(row, RULES) == NOW + 7 * DAY
    assert is_fresh(row, NOW + 7 * DAY - MINUTE, RULES)
    assert not is_fresh(row, NOW + 7 * DAY, RULES)


def test_a_stored_expiry_counts_more_than_the_ttl() -> None:
    row = cached(last_fetched_at=NOW, expires_at=NOW + HOUR)
    assert is_fresh(row, NOW + MINUTE, RULES)
    assert not is_fresh(row, NOW + HOUR, RULES)


def test_what_was_never_fetched_is_not_fresh() -> None:
    assert not is_fresh(cached(expires_at=NOW + DAY), NOW, RULES)


@pytest.mark.parametrize(
    ("fail_count", "wait"),
    [(1, MINUTE), (2, 10 * MINUTE), (3, HOUR), (4, 6 * HOUR), (5, 6 * HOUR), (99, 6 * HOUR)],
)
def test_the_wait_grows_from_failure_to_failure(fail_count: int, wait: timedelta) -> None:
    assert retry_wait(fail_count, RULES) == wait


@pytest.mark.parametrize(
    ("row", "wrote", "due"),
    [
        (cached(), False, NOW),
        (cached(last_fetched_at=NOW - DAY), True, None),
        (cached(last_fetched_at=NOW - 8 * DAY), False, NOW),
        (cached(fail_count=1, last_failed_at=NOW, last_reason="timeout"), True, NOW + MINUTE),
        (cached(fail_count=4, last_failed_at=NOW, last_reason="not_found"), True, NOW + 6 * HOUR),
        (cached(fail_count=5, last_failed_at=NOW - DAY, last_reason="not_found"), True, None),
        (cached(fail_count=2), False, NOW),
        (
            cached(fail_count=1, last_failed_at=NOW, last_reason="consent_required"),
            True,
            NOW + MINUTE,
        ),
        (
            cached(fail_count=3, last_failed_at=NOW, last_reason="consent_required"),
            True,
            NOW + 10 * MINUTE,
        ),
        (
            cached(fail_count=3, last_failed_at=NOW - 11 * MINUTE, last_reason="consent_required"),
            True,
            NOW,
        ),
        (
            cached(fail_count=5, last_failed_at=NOW, last_reason="consent_required"),
            True,
            NOW + 10 * MINUTE,
        ),
        (
            cached(fail_count=5, last_failed_at=NOW - HOUR, last_reason="consent_required"),
            True,
            NOW,
        ),
        (cached(fail_count=5, last_failed_at=NOW, last_reason="consent_required"), False, None),
        (
            cached(fail_count=1, last_failed_at=NOW, last_reason="consent_required"),
            False,
            NOW + MINUTE,
        ),
    ],
)
def test_when_a_user_is_to_be_fetched(
    row: CachedIdentity, due: datetime | None, *, wrote: bool
) -> None:
    assert next_fetch(row, NOW, RULES, wrote=wrote) == due


@given(row=CACHED, now=MOMENTS, wrote=st.booleans())
def test_fresh_users_are_not_fetched_and_all_others_are_unless_stopped(
    row: CachedIdentity, now: datetime, *, wrote: bool
) -> None:
    due = next_fetch(row, now, RULES, wrote=wrote)
    consents = wrote and row.last_reason == "consent_required"
    is_out = is_fresh(row, now, RULES) or (is_stopped(row, RULES) and not consents)
    assert (due is None) == is_out
