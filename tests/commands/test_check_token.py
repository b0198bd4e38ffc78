from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.commands.doctor.token import (
    judge_permissions,
    judge_token,
    judge_token_fault,
    judge_version,
)
from service.errors import AppFault, GraphError, NobodysFault, UserFault
from service.model.calls import GraphProblem
from service.store.checkup import CheckedConnection

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
FACEBOOK = [
    "instagram_basic",
    "instagram_manage_messages",
    "pages_manage_metadata",
    "pages_read_engagement",
    "pages_show_list",
]


def connection(login: str = "facebook", aliases: tuple[str, ...] = ()) -> CheckedConnection:
    more = ("active", NOW, None, None, 1)
    return CheckedConnection("178414", list(aliases), "loc_1", login, "sealed", *more)


def token(**fields: object) -> dict[str, Any]:
    return {"is_valid": True, "type": "PAGE", "expires_at": 0, "scopes": FACEBOOK} | fields


def after(days: float) -> int:
    return int((NOW + timedelta(days=days)).timestamp())


@pytest.mark.parametrize(
    ("fields", "severities", "words"),
    [
        ({}, ["ok"], "has no end"),
        ({"expires_at": after(30)}, ["ok"], "ends on 22 December 2026"),
        ({"expires_at": after(3)}, ["warning"], "ends in 3 days"),
        ({"data_access_expires_at": after(3)}, ["ok", "warning"], "ends on 25 November 2026"),
        ({"data_access_expires_at": after(-3)}, ["ok", "warning"], "ended on 19 November 2026"),
        ({"expires_at": 10**30, "type": 7}, ["ok"], "has no end"),
        ({"is_valid": False}, ["broken"], "no longer accepts it"),
        ({"is_valid": False, "error": {"subcode": 460}}, ["broken"], "changed the password"),
        ({"is_valid": False, "error": {"subcode": "x"}}, ["broken"], "no longer accepts it"),
        ({"is_valid": None}, ["broken"], "dead"),
    ],
)
def test_a_tokens_validity_and_end(
    fields: dict[str, object], severities: list[str], words: str
) -> None:
    findings = judge_token(connection(), token(**fields), NOW)
    assert [finding.severity for finding in findings] == severities
    assert words in findings[-1].text


def test_a_dead_token_names_the_command_that_cures_it() -> None:
    [finding] = judge_token(connection(), {"is_valid": False}, NOW)
    assert "connections add 178414 --location loc_1" in (finding.advice or "")


@pytest.mark.parametrize(
    ("login", "scopes", "severity", "words"),
    [
        ("facebook", FACEBOOK, "ok", "all 5"),
        ("facebook", FACEBOOK[:4], "warning", "lacks pages_show_list."),
        ("facebook", FACEBOOK[2:], "broken", "no name can be fetched"),
        ("facebook", None, "broken", "instagram_basic"),
        ("instagram", ["instagram_business_basic"], "broken", "instagram_business_manage_messages"),
        ("instagram", FACEBOOK[:2], "ok", "all 2"),
    ],
)
def test_missing_permissions_are_named(
    login: str, scopes: object, severity: str, words: str
) -> None:
    [finding] = judge_permissions(connection(login), token(scopes=scopes))
    assert finding.severity == severity
    assert words in finding.text


def test_a_permission_for_another_account_is_warned_of() -> None:
    granular = [{"scope": "instagram_manage_messages", "target_ids": ["555"]}, "odd"]
    debug = token(granular_scopes=granular)
    assert [f.severity for f in judge_permissions(connection(), debug)] == ["ok", "warning"]
    assert [f.severity for f in judge_permissions(connection("facebook", ("555",)), debug)] == [
        "ok"
    ]


@pytest.mark.parametrize(
    ("fault", "severity", "words"),
    [
        (AppFault(GraphProblem("token_invalid", 190, 463)), "broken", "expired"),
        (NobodysFault(GraphProblem("timeout")), "warning", "did not answer in time"),
        (AppFault(GraphProblem("throttled", 4)), "warning", "limit"),
        (AppFault(GraphProblem("bad_request", 100, None, "\x1b[2J")), "broken", "�[2J"),
    ],
)
def test_an_inspection_that_failed(fault: GraphError, severity: str, words: str) -> None:
    finding = judge_token_fault(connection(), fault, as_app=False)
    assert finding.severity == severity
    assert words in finding.text


def test_an_app_that_may_not_inspect_is_not_a_dead_token() -> None:
    fault = AppFault(GraphProblem("token_invalid", 190))
    finding = judge_token_fault(connection(), fault, as_app=True)
    assert "dead" not in finding.text
    assert "META_APP_ID" in (finding.advice or "")


def test_an_instagram_token_may_not_be_inspectable() -> None:
    fault = UserFault(GraphProblem("not_found", 100, 33))
    assert judge_token_fault(connection("instagram"), fault, as_app=False).severity == "note"


def test_an_expired_version_is_a_note_that_says_what_it_means() -> None:
    old = judge_version("v18.0", "v21.0")
    assert old.severity == "note"
    assert "since 26 January 2026: Meta answers as v21.0" in old.text
    assert judge_version("v21.0", "v21.0").severity == "ok"
    assert judge_version("v9.0", "v21.0").severity == "note"
