"""When a token is renewed, and what to warn of."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from service.judgement.token_rules import (
    FACEBOOK_SCOPES,
    INSTAGRAM_SCOPES,
    TokenState,
    is_renewable,
    missing_scopes,
    warnings,
)

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)
INSTAGRAM = TokenState(
    "17841400000000001",
    "loc 1",
    "instagram",
    stored_at=NOW - 40 * DAY,
    username="the.shop",
    expires_at=NOW + 20 * DAY,
)
FACEBOOK = msgspec.structs.replace(INSTAGRAM, login="facebook", expires_at=None)


def changed(state: TokenState, **fields: object) -> TokenState:
    return msgspec.structs.replace(state, **fields)


@pytest.mark.parametrize(
    ("fields", "renewable"),
    [
        ({}, True),
        ({"expires_at": NOW + 30 * DAY}, True),
        ({"expires_at": NOW + 31 * DAY}, False),
        ({"expires_at": NOW}, False),  # an ended one can't be renewed
        ({"expires_at": None}, True),  # its end is learned by renewing it
        ({"stored_at": NOW - timedelta(hours=23)}, False),
        ({"stored_at": NOW - timedelta(hours=24)}, True),
        ({"is_dead": True}, False),
        ({"is_plain": True}, False),
        ({"login": "facebook"}, False),
    ],
)
def test_an_instagram_token_of_ours_is_renewed_in_its_last_30_days(
    fields: dict[str, object], *, renewable: bool
) -> None:
    assert is_renewable(changed(INSTAGRAM, **fields), NOW, seals=False) is renewable


def test_a_plain_token_is_renewed_where_plain_tokens_are_sealed() -> None:
    assert is_renewable(changed(INSTAGRAM, is_plain=True), NOW, seals=True)


@pytest.mark.parametrize(("days", "warned"), [(15, False), (14, True), (1, True), (-1, True)])
def test_a_token_that_ends_within_14_days_is_warned_of(days: int, *, warned: bool) -> None:
    found = warnings(changed(FACEBOOK, expires_at=NOW + days * DAY), NOW, seals=False)
    assert bool(found) is warned
    if found:
        assert found[0].kind == "ends"
        assert "@the.shop (17841400000000001)" in found[0].sentence
        assert found[0].ends_at == NOW + days * DAY
        assert found[0].command == (
            "python -m service connections add 17841400000000001 --location 'loc 1'"
        )


def test_data_access_that_ends_is_warned_of_with_its_date() -> None:
    (found,) = warnings(changed(FACEBOOK, data_access_expires_at=NOW + 3 * DAY), NOW, seals=False)
    assert found.kind == "data_access_ends"
    assert "ends on 29 November 2026" in found.sentence


def test_a_plain_token_that_ends_is_its_owners_to_renew() -> None:
    ends = changed(INSTAGRAM, is_plain=True, expires_at=NOW + DAY)
    (found,) = warnings(ends, NOW, seals=False)
    assert "SEAL_TOKENS" in found.advice


def test_a_dead_token_is_the_one_thing_to_say() -> None:
    dead = changed(FACEBOOK, is_dead=True, expires_at=NOW - DAY, check_error="x")
    assert [warning.kind for warning in warnings(dead, NOW, seals=False)] == ["dead"]


def test_a_failed_check_says_what_meta_said() -> None:
    (found,) = warnings(changed(FACEBOOK, check_error="timeout"), NOW, seals=False)
    assert found.sentence.endswith("could not be checked: timeout.")


def test_missing_scopes_are_named_by_login() -> None:
    assert missing_scopes("facebook", FACEBOOK_SCOPES[1:]) == ["instagram_basic"]
    assert missing_scopes("instagram", INSTAGRAM_SCOPES) == []
    assert missing_scopes("instagram", ()) == list(INSTAGRAM_SCOPES)
    assert missing_scopes("facebook", None) == []
    (found,) = warnings(changed(FACEBOOK, scopes=FACEBOOK_SCOPES[1:]), NOW, seals=False)
    assert "without which no name can be fetched" in found.sentence
