import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import (
    CachedIdentity,
    Contact,
    PictureMode,
    Rules,
    display_name,
    event_time,
    expires_at,
    expiry,
    identity,
    ig_id,
    is_blank,
    is_fresh,
    is_stopped,
    merge_contacts,
    next_fetch,
    picture_expiry,
    retry_wait,
    state,
    why_not_fresh,
)
from tests.strategies import JSON_VALUES, USERS

USER = "1254459154682919"
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
RULES = Rules()
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
CACHED = st.builds(
    CachedIdentity,
    ig_user_id=st.just(USER),
    last_fetched_at=st.none() | MOMENTS,
    expires_at=st.none() | MOMENTS,
    fail_count=st.integers(0, 7),
    last_failed_at=st.none() | MOMENTS,
    last_reason=st.none() | st.sampled_from(["consent_required", "not_found", "timeout"]),
    is_participant=st.booleans(),
    pause=st.none() | st.sampled_from(["throttled", "token_invalid"]),
)


def cached(**fields: object) -> CachedIdentity:
    return msgspec.structs.replace(CachedIdentity(USER), **fields)


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


@pytest.mark.parametrize(
    ("username", "name", "shown"),
    [
        ("jane.doe", "Jane Doe", "@jane.doe"),
        (None, "Jane Doe", "Jane Doe"),
        ("", "Jane Doe", "Jane Doe"),
        ("  \t", "Jane Doe", "Jane Doe"),
        ("\u200b\u200d", "Jane Doe", "Jane Doe"),
        (None, None, "@user_682919"),
        (None, " \N{NO-BREAK SPACE}\ufeff\u2060", "@user_682919"),
        (None, "\N{GRINNING FACE}", "\N{GRINNING FACE}"),
        (None, "\u200bJane", "\u200bJane"),
    ],
)
def test_the_display_name_is_the_username_else_the_name_else_the_last_digits(
    username: str | None, name: str | None, shown: str
) -> None:
    assert display_name(USER, username, name) == shown


def test_a_short_id_is_shown_whole() -> None:
    assert display_name("42", None, None) == "@user_42"


@pytest.mark.parametrize(
    "text",
    [
        "\N{HANGUL FILLER}",
        "\N{HALFWIDTH HANGUL FILLER}",
        "\N{BRAILLE PATTERN BLANK}",
        "\N{VARIATION SELECTOR-16}",
        "\N{COMBINING GRAPHEME JOINER}",
    ],
    ids=ascii,
)
def test_letters_that_show_nothing_are_blank(text: str) -> None:
    assert is_blank(text)


@given(st.none() | st.text(), st.none() | st.text())
def test_a_display_name_is_never_blank(username: str | None, name: str | None) -> None:
    assert not is_blank(display_name(USER, username, name))


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


@pytest.mark.parametrize(
    ("picture_lasts", "lasts"),
    [
        (None, 7 * DAY),
        (3 * DAY, 3 * DAY),
        (HOUR, HOUR),
        (HOUR - timedelta(seconds=1), 7 * DAY),
        (-DAY, 7 * DAY),
        (30 * DAY, 7 * DAY),
    ],
)
def test_an_identity_expires_with_its_picture_if_that_lasts_an_hour(
    picture_lasts: timedelta | None, lasts: timedelta
) -> None:
    picture = None if picture_lasts is None else NOW + picture_lasts
    assert expiry(NOW, picture, RULES.ttl) == NOW + lasts


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


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (cached(), "unknown"),
        (cached(is_participant=True), "pending"),
        (cached(is_participant=True, fail_count=4), "pending"),
        (cached(is_participant=True, fail_count=5), "failed"),
        (cached(is_participant=True, last_fetched_at=NOW - 99 * DAY, fail_count=5), "resolved"),
        (cached(last_fetched_at=NOW), "resolved"),
    ],
)
def test_the_state_tells_what_became_of_a_user(row: CachedIdentity, expected: str) -> None:
    assert state(row, RULES) == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (cached(), None),
        (cached(is_participant=True), None),
        (cached(fail_count=1, last_reason="not_found"), "not_found"),
        (cached(fail_count=1, last_reason="timeout", pause="throttled"), "throttled"),
        (cached(last_fetched_at=NOW, last_reason="timeout", pause="throttled"), None),
        (cached(last_fetched_at=NOW - 8 * DAY, pause="token_invalid"), "token_invalid"),
    ],
)
def test_the_reason_tells_why_there_is_no_fresh_identity(
    row: CachedIdentity, reason: str | None
) -> None:
    assert why_not_fresh(row, NOW, RULES) == reason


@given(CACHED, MOMENTS)
def test_only_what_was_fetched_can_be_stale_and_only_what_is_not_fresh_has_a_reason(
    row: CachedIdentity, now: datetime
) -> None:
    seen = identity(row, now, RULES)
    assert seen.stale == (row.last_fetched_at is not None and not is_fresh(row, now, RULES))
    assert (seen.state == "resolved") == (row.last_fetched_at is not None)
    assert seen.reason is None or not is_fresh(row, now, RULES)


def test_an_identity_is_written_as_the_contract_has_it() -> None:
    row = cached(username="jane.doe", name="Jane Doe", last_fetched_at=NOW)
    assert json.loads(msgspec.json.encode(identity(row, NOW, RULES))) == {
        "igUserId": USER,
        "displayName": "@jane.doe",
        "username": "jane.doe",
        "name": "Jane Doe",
        "profilePicUrl": None,
        "state": "resolved",
        "stale": False,
        "lastFetchedAt": "2026-11-22T10:00:00Z",
        "failCount": 0,
        "lastFailedAt": None,
        "reason": None,
        "source": "profile",
        "isPlaceholder": False,
        "pictureUrl": None,
    }


def test_a_name_from_a_conversation_says_why_there_is_no_picture() -> None:
    row = cached(username="jane", last_fetched_at=NOW, last_reason="consent_required")
    named = identity(msgspec.structs.replace(row, source="conversation"), NOW, RULES)
    assert (named.source, named.reason) == ("conversation", "consent_required")
    assert (identity(row, NOW, RULES).source, identity(row, NOW, RULES).reason) == ("profile", None)


def test_a_user_without_a_name_is_shown_by_a_placeholder() -> None:
    nameless = identity(cached(username=" ", last_fetched_at=NOW), NOW, RULES)
    assert (nameless.is_placeholder, nameless.source) == (True, None)


@pytest.mark.parametrize(
    ("mode", "url", "sha256", "expected"),
    [
        ("copy", "https://p.test/1", "ab" * 32, "?v=abababab"),
        ("copy", "https://p.test/1", None, None),
        ("link", "https://p.test/1", "ab" * 32, ""),
        ("link", "https://p.test/1?oe=1", None, None),
        ("link", None, "ab" * 32, None),
        ("off", "https://p.test/1", "ab" * 32, None),
    ],
)
def test_the_pictures_address_is_ours(
    mode: PictureMode, url: str | None, sha256: str | None, expected: str | None
) -> None:
    row = cached(profile_pic_url=url, picture_sha256=sha256)
    shown = identity(row, NOW, Rules(pictures=mode)).picture_url
    path = f"/api/social/instagram/users/{USER}/picture"
    assert shown == (None if expected is None else path + expected)
