"""Blame lands where it belongs: permissions, dead tokens, missing connections."""

import asyncio
import json

import pytest
import structlog

from service.store.claims import Claims
from service.store.connections import Connections
from service.store.identities import ERASE, Identities
from service.store.outcomes import Claim, Refusal

from .streaks import FIRST_FIVE, PAUSED, RESOLVED, SCOPE, STREAK, deny, failures
from .tables import (
    ACCOUNT,
    DENIED,
    HOUR,
    LOCATION,
    MINUTE,
    OTHER_ACCOUNT,
    PROFILE,
    USER,
    Tables,
    taken,
    user_id,
)

pytestmark = pytest.mark.usefixtures("seven_users")


# Missing permission


async def test_the_first_user_without_permission_is_charged_nothing_and_waits(
    claims: Claims, tables: Tables
) -> None:
    settled = await deny(claims, USER)
    assert (settled.outcome, settled.fail_count) == ("paused", None)
    assert settled.next_attempt_at == (await tables.participant())["due_at"]
    assert await failures(tables) == []
    assert await tables.pauses() == {}
    assert await claims.take(ACCOUNT, USER) == Refusal("not_due")


async def test_a_second_user_confirms_it_and_nobody_is_charged(
    claims: Claims, tables: Tables
) -> None:
    await deny(claims, user_id(1))
    assert await deny(claims, user_id(2)) == PAUSED
    assert await tables.pauses() == {SCOPE: "permission"}
    assert await failures(tables) == []
    assert await tables.column(STREAK, SCOPE) == []
    await tables.run_out()
    for user in (user_id(1), user_id(2)):
        assert (await tables.participant(user))["is_due"]


async def test_the_same_user_again_confirms_nothing_and_waits_longer(
    claims: Claims, tables: Tables
) -> None:
    waits = []
    for _ in range(3):
        await deny(claims, USER)
        row = await tables.row(
            "SELECT p.due_at - s.failed_at AS wait FROM instagram_participants p"
            " JOIN instagram_streaks s USING (ig_user_id)"
        )
        waits.append(row and row["wait"])
        await tables.fall_due()
    assert waits == [MINUTE, 10 * MINUTE, HOUR]
    assert await tables.pauses() == {}


async def test_a_second_user_who_succeeds_charges_the_first(claims: Claims, tables: Tables) -> None:
    await deny(claims, user_id(1))
    with structlog.testing.capture_logs() as lines:
        await claims.resolve(await taken(claims, user_id(2)), PROFILE)
    row, first = await tables.cached(user_id(1)), await tables.participant(user_id(1))
    assert (row["fail_count"], row["reason"]) == (1, "refused")
    assert json.loads(row["last_error"])["code"] == 10
    assert first["due_at"] == row["last_failed_at"] + MINUTE
    (line,) = lines
    assert {k: line[k] for k in ("ig_user_id", "outcome", "reason", "code", "fail_count")} == {
        "ig_user_id": user_id(1),
        "outcome": "failed",
        "reason": "refused",
        "code": 10,
        "fail_count": 1,
    }
    assert await tables.column(STREAK, SCOPE) == []


async def test_a_success_of_another_account_proves_nothing(claims: Claims, tables: Tables) -> None:
    await deny(claims, user_id(1))
    await tables.participate(user_id(9), OTHER_ACCOUNT)
    await claims.resolve(await taken(claims, user_id(9), OTHER_ACCOUNT), PROFILE)
    assert await tables.column(STREAK, SCOPE) == [user_id(1)]
    assert [row[1] for row in await failures(tables)] == [0]


async def test_who_succeeds_after_a_denial_is_not_charged_for_it(
    claims: Claims, tables: Tables
) -> None:
    await deny(claims, USER)
    await tables.fall_due()
    await claims.resolve(await taken(claims), PROFILE)
    assert (await tables.cached())["fail_count"] == 0
    assert await tables.column(STREAK, SCOPE) == []


async def test_once_believed_a_denied_probe_pauses_the_account_again(
    claims: Claims, tables: Tables
) -> None:
    await deny(claims, user_id(1))
    await deny(claims, user_id(2))
    await tables.run_out()
    assert await deny(claims, user_id(3)) == PAUSED
    assert await tables.pauses() == {SCOPE: "permission"}
    assert await failures(tables) == []


async def test_a_denial_under_an_old_token_says_nothing_of_the_new_one(
    claims: Claims, connections: Connections, tables: Tables
) -> None:
    await deny(claims, user_id(1))
    late = await taken(claims, user_id(2))
    await connections.put(ACCOUNT, LOCATION, "a new token", "facebook", [])
    assert await claims.suspect(late, DENIED) == PAUSED
    assert await tables.column(STREAK, SCOPE) == []
    assert await tables.pauses() == {}
    for user in (user_id(1), user_id(2)):
        await taken(claims, user)


async def test_a_suspect_erased_meanwhile_is_not_charged(
    claims: Claims, identities: Identities, tables: Tables
) -> None:
    await deny(claims, user_id(1))
    await identities.erase(user_id(1))
    await claims.resolve(await taken(claims, user_id(2)), PROFILE)
    assert [row[0] for row in await failures(tables)] == [user_id(2)]


async def test_a_suspect_being_erased_is_not_charged_either(claims: Claims, tables: Tables) -> None:
    """The charge waits for the erasure instead of reviving the user."""
    await deny(claims, user_id(1))
    claim = await taken(claims, user_id(2))
    async with tables.session.transaction():
        for statement in ERASE:
            await tables.execute(statement, [user_id(1)])
        settling = asyncio.create_task(claims.resolve(claim, PROFILE))
        await tables.until_blocked()
    assert await settling == RESOLVED
    assert [row[0] for row in await failures(tables)] == [user_id(2)]


# A dead token


async def test_a_dead_token_pauses_its_account_and_charges_nobody(
    claims: Claims, tables: Tables
) -> None:
    assert await claims.invalidate_token(await taken(claims)) == PAUSED
    assert await tables.pauses() == {SCOPE: "token_invalid"}
    assert await failures(tables) == []
    status = "SELECT token_status FROM instagram_connections ORDER BY ig_account_id"
    assert await tables.column(status) == ["invalid", "active"]
    assert await claims.take(ACCOUNT, user_id(2)) == Refusal("token_invalid")
    await tables.participate(user_id(9), OTHER_ACCOUNT)
    await taken(claims, user_id(9), OTHER_ACCOUNT)


async def test_a_token_replaced_meanwhile_is_not_the_dead_one(
    claims: Claims, connections: Connections, tables: Tables
) -> None:
    claim = await taken(claims)
    await connections.put(ACCOUNT, LOCATION, "a new token", "facebook", [])
    assert await claims.invalidate_token(claim) == PAUSED
    assert await tables.pauses() == {}
    await taken(claims)


@pytest.mark.parametrize("reason", ["token_invalid", "permission", "bad_request", "outage"])
async def test_a_renewed_token_frees_the_accounts_users_at_once(
    claims: Claims, connections: Connections, tables: Tables, reason: str
) -> None:
    await claims.invalidate_token(await taken(claims))
    await tables.execute("UPDATE instagram_pauses SET reason = $1", reason)
    await connections.put(ACCOUNT, LOCATION, "a new token", "facebook", [])
    for user in FIRST_FIVE:
        await taken(claims, user)


@pytest.mark.parametrize("reason", ["throttled", "policy_block"])
async def test_a_renewed_token_ends_no_pause_that_it_does_not_cure(
    connections: Connections, tables: Tables, reason: str
) -> None:
    await tables.pause(SCOPE, reason, HOUR)
    await tables.pause("app", reason, HOUR)
    await connections.put(ACCOUNT, LOCATION, "a new token", "facebook", [])
    assert await tables.pauses() == {SCOPE: reason, "app": reason}


# No connection


async def test_an_account_without_a_connection_is_not_called_until_it_gets_one(
    claims: Claims, connections: Connections, tables: Tables
) -> None:
    await tables.participate(user_id(9), "3")
    assert await claims.take("3", user_id(9)) == Refusal("no_connection")
    assert await tables.pauses() == {}
    await connections.put("3", LOCATION, "a token", "facebook", [])
    await taken(claims, user_id(9), "3")


async def test_a_pause_until_changed_does_not_run_out(claims: Claims, tables: Tables) -> None:
    await claims.invalidate_token(await taken(claims))
    assert await tables.value("SELECT until = 'infinity' FROM instagram_pauses")
    await claims.pause(Claim(ACCOUNT, user_id(2), 1, "", "facebook"), SCOPE, "throttled", 1)
    assert await tables.pauses() == {SCOPE: "token_invalid"}
    assert await tables.value("SELECT until = 'infinity' FROM instagram_pauses")
