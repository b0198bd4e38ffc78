"""Failures that may be the user's, the account's or ours, and outages of one account alone."""

import asyncio

import pytest
import pytest_asyncio

from service.model.calls import GraphProblem
from service.store.claims import Claims
from service.store.identities import Identities
from service.store.outcomes import Claim, Refusal, Settled
from service.store.slots import Slots

from .streaks import FIRST_FIVE, PAUSED, SCOPE, STREAK, fail_upstream, failures
from .tables import (
    ACCOUNT,
    BAD_REQUEST,
    DENIED,
    HOUR,
    NOT_FOUND,
    OTHER_ACCOUNT,
    PROFILE,
    SECOND,
    THIRD_ACCOUNT,
    TIMEOUT,
    USER,
    Tables,
    taken,
    user_id,
)

OTHER_SCOPE = f"account:{OTHER_ACCOUNT}"
OTHERS = [user_id(n) for n in range(11, 18)]

pytestmark = pytest.mark.usefixtures("seven_users", "others_users")


@pytest_asyncio.fixture(loop_scope="module")
async def others_users(tables: Tables, two_accounts: None) -> None:  # noqa: ARG001 - is arranged before
    """Let users have written to the other account too."""
    for user in OTHERS:
        await tables.participate(user, OTHER_ACCOUNT)


async def suspect(
    claims: Claims, user: str, account: str = ACCOUNT, problem: GraphProblem = BAD_REQUEST
) -> Settled:
    return await claims.suspect(await taken(claims, user, account), problem)


async def succeed(claims: Claims, user: str, account: str = ACCOUNT) -> Settled:
    return await claims.resolve(await taken(claims, user, account), PROFILE)


async def shown(identities: Identities, user: str) -> tuple[int, str | None]:
    [cached] = await identities.look_up([user])
    return cached.fail_count, cached.pause or cached.unclear_reason or cached.last_reason


async def test_a_bad_request_of_one_user_alone_waits_shows_and_charges_nobody(
    claims: Claims, identities: Identities, tables: Tables
) -> None:
    assert (await suspect(claims, USER)).outcome == "paused"
    assert await claims.take(ACCOUNT, USER) == Refusal("not_due")
    assert await shown(identities, USER) == (0, "bad_request")
    assert await failures(tables) == []
    assert await tables.pauses() == {}


async def test_two_users_in_a_row_pause_the_account_and_no_other(
    claims: Claims, tables: Tables
) -> None:
    await suspect(claims, user_id(1))
    await suspect(claims, user_id(2))
    assert await tables.pauses() == {SCOPE: "bad_request"}
    assert await failures(tables) == []
    await succeed(claims, OTHERS[0], OTHER_ACCOUNT)


async def test_different_reasons_confirm_one_another_in_nothing(
    claims: Claims, tables: Tables
) -> None:
    await suspect(claims, user_id(1))
    await suspect(claims, user_id(2), problem=DENIED)
    assert await tables.pauses() == {}
    await suspect(claims, user_id(3), problem=DENIED)
    assert await tables.pauses() == {SCOPE: "permission"}


async def test_another_users_missing_consent_neither_acquits_nor_convicts(
    claims: Claims, tables: Tables
) -> None:
    await suspect(claims, user_id(1))
    await claims.fail(await taken(claims, user_id(2)), NOT_FOUND)
    assert await tables.column(STREAK, SCOPE) == [user_id(1)]
    await suspect(claims, user_id(3))
    assert await tables.pauses() == {SCOPE: "bad_request"}


async def test_a_success_of_the_same_batch_is_nobodys_guilt(claims: Claims, tables: Tables) -> None:
    await suspect(claims, user_id(1))
    await tables.fall_due()
    held = [await taken(claims, user_id(n)) for n in (1, 2)]
    await asyncio.gather(*(claims.resolve(claim, PROFILE) for claim in held))
    assert [row[1] for row in await failures(tables)] == [0, 0]


async def test_two_accounts_so_paused_pause_the_app(claims: Claims, tables: Tables) -> None:
    for user in (user_id(1), user_id(2)):
        await suspect(claims, user)
    for user in OTHERS[:2]:
        await suspect(claims, user, OTHER_ACCOUNT)
    expected = dict.fromkeys((SCOPE, OTHER_SCOPE, "app"), "bad_request")
    assert await tables.pauses() == expected
    assert await failures(tables) == []
    await tables.run_out()
    assert await suspect(claims, user_id(3)) == PAUSED, "a probe that fails"
    assert await tables.pauses() == {"app": "bad_request"}


async def test_a_success_between_keeps_the_app_going(claims: Claims, tables: Tables) -> None:
    await tables.connect(THIRD_ACCOUNT)
    await tables.participate(user_id(21), THIRD_ACCOUNT)
    for user in (user_id(1), user_id(2)):
        await suspect(claims, user)
    await succeed(claims, user_id(21), THIRD_ACCOUNT)
    for user in OTHERS[:2]:
        await suspect(claims, user, OTHER_ACCOUNT)
    assert await tables.pauses() == {SCOPE: "bad_request", OTHER_SCOPE: "bad_request"}


async def test_a_success_after_a_permission_pause_charges_nobody(
    claims: Claims, tables: Tables
) -> None:
    await suspect(claims, user_id(1))
    await suspect(claims, user_id(2))
    await tables.run_out()
    await succeed(claims, user_id(3))
    assert [row[:2] for row in await failures(tables)] == [(user_id(3), 0)]
    for user in (user_id(1), user_id(2)):
        await taken(claims, user)


# Outages of one account


async def test_one_accounts_five_pause_that_account_while_others_are_active(
    claims: Claims, tables: Tables
) -> None:
    assert [(await fail_upstream(claims, user)).outcome for user in FIRST_FIVE][-1] == "paused"
    assert await tables.pauses() == {SCOPE: "outage"}
    assert await tables.value("SELECT max(fail_count) FROM instagram_user_cache") == 0
    assert (await claims.fail_upstream(await late(claims, tables), TIMEOUT)) == PAUSED
    await succeed(claims, OTHERS[0], OTHER_ACCOUNT)
    await tables.run_out()
    await succeed(claims, user_id(7))
    assert await tables.value("SELECT count(*) FROM instagram_pauses") == 0


async def late(claims: Claims, tables: Tables) -> Claim:
    await tables.execute("UPDATE instagram_pauses SET until = now()")
    return await taken(claims, user_id(6))


async def test_successes_of_another_account_do_not_let_an_accounts_users_run_out_of_tries(
    claims: Claims, tables: Tables
) -> None:
    for user, other in zip(FIRST_FIVE, OTHERS, strict=False):
        await fail_upstream(claims, user)
        await succeed(claims, other, OTHER_ACCOUNT)
    assert await tables.pauses() == {SCOPE: "outage"}
    assert await tables.value("SELECT max(fail_count) FROM instagram_user_cache") == 0


async def test_five_users_of_two_accounts_are_an_outage_of_the_app(
    claims: Claims, tables: Tables
) -> None:
    for user in FIRST_FIVE[:4]:
        await fail_upstream(claims, user)
    claim = await taken(claims, OTHERS[0], OTHER_ACCOUNT)
    assert await claims.fail_upstream(claim, TIMEOUT) == PAUSED
    assert await tables.pauses() == {"app": "outage"}
    assert await tables.value("SELECT max(fail_count) FROM instagram_user_cache") == 0
    assert await tables.value("SELECT count(*) FROM instagram_streaks") == 0


async def test_two_accounts_in_an_outage_are_the_apps(claims: Claims, tables: Tables) -> None:
    for user in FIRST_FIVE:
        await fail_upstream(claims, user)
    for user in OTHERS[:5]:
        await claims.fail_upstream(await taken(claims, user, OTHER_ACCOUNT), TIMEOUT)
    assert (await tables.pauses())["app"] == "outage"


# Who probes


async def test_a_probe_goes_to_another_user_than_the_failure_that_caused_the_pause(
    claims: Claims, slots: Slots, tables: Tables
) -> None:
    await suspect(claims, user_id(1))
    await suspect(claims, user_id(2))
    await tables.run_out()
    refused = await slots.reserve(ACCOUNT, user_id(2))
    assert (refused.at_s, refused.paused_by) == (None, "bad_request")
    assert (await slots.reserve(ACCOUNT, user_id(3))).is_probe


async def test_a_probe_of_the_app_goes_to_another_account(
    claims: Claims, slots: Slots, tables: Tables
) -> None:
    await claims.pause(await taken(claims), "app", "throttled", 60)
    await tables.run_out()
    assert (await slots.reserve(ACCOUNT, user_id(2))).paused_scope == "app"
    assert (await slots.reserve(OTHER_ACCOUNT, OTHERS[0])).is_probe


@pytest.mark.parametrize("others", ["none is due", "paused", "long over"])
async def test_where_nobody_else_may_probe_the_cause_does(
    claims: Claims, slots: Slots, tables: Tables, others: str
) -> None:
    await claims.pause(await taken(claims), "app", "throttled", 60)
    await tables.run_out()
    if others == "none is due":
        await tables.execute(
            "UPDATE instagram_participants SET due_at = NULL WHERE ig_user_id <> $1", USER
        )
    elif others == "paused":
        await tables.pause(OTHER_SCOPE, "token_invalid", HOUR)
        await tables.execute(
            "UPDATE instagram_participants SET due_at = NULL"
            " WHERE ig_user_id <> $1 AND ig_account_id = $2",
            USER,
            ACCOUNT,
        )
    else:
        await tables.execute("UPDATE instagram_pauses SET until = $1", await ago(tables))
    assert (await slots.reserve(ACCOUNT, USER)).is_probe


async def ago(tables: Tables) -> object:
    return await tables.value("SELECT now() - $1::interval", 16 * SECOND)


async def test_an_operators_call_may_probe_for_any_account(
    claims: Claims, slots: Slots, tables: Tables
) -> None:
    await claims.pause(await taken(claims), "app", "throttled", 60)
    await tables.run_out()
    assert (await slots.reserve(ACCOUNT)).is_probe


@pytest.mark.parametrize("is_erased_first", [True, False])
async def test_a_pause_forgets_an_erased_user(
    claims: Claims, identities: Identities, tables: Tables, *, is_erased_first: bool
) -> None:
    claim = await taken(claims)
    if is_erased_first:
        await identities.erase(USER)
    await claims.pause(claim, SCOPE, "throttled", 60)
    if not is_erased_first:
        assert await tables.value("SELECT caused_by_user FROM instagram_pauses") == USER
        await identities.erase(USER)
    assert await tables.pauses() == {SCOPE: "throttled"}
    assert await tables.value("SELECT caused_by_user FROM instagram_pauses") is None
