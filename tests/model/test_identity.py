import json
from datetime import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.freshness import (
    CachedIdentity,
    PictureMode,
    Rules,
    is_fresh,
)
from service.model.identity import display_name, identity, is_blank, state, why_not_fresh

from .examples import CACHED, DAY, MOMENTS, NOW, RULES, USER, cached


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
