"""Taking users: one flight a user."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from service.store.claims import Claims
from service.store.outcomes import Claim, Refusal, Settled

from .conftest import LEASE
from .tables import (
    ACCOUNT,
    DAY,
    HOUR,
    NOT_FOUND,
    NOW,
    OTHER_ACCOUNT,
    OTHER_USER,
    PROFILE,
    USER,
    Tables,
    taken,
    user_id,
)

pytestmark = pytest.mark.usefixtures("two_accounts")

LOST = Settled("lost")
WRITES = "UPDATE instagram_participants SET last_message_at = now() WHERE ig_user_id = $1"
ERASES = "DELETE FROM instagram_participants WHERE ig_user_id = $1"


async def test_a_claim_carries_what_the_call_needs(claims: Claims, tables: Tables) -> None:
    await tables.participate()
    claim = await taken(claims)
    assert (claim.ig_account_id, claim.ig_user_id) == (ACCOUNT, USER)
    assert (claim.sealed_token, claim.login) == ("sealed-1", "instagram")
    row = await tables.participant()
    assert row["lease"] == claim.lease
    assert not row["is_due"]


async def test_one_of_many_concurrent_claimers_wins(
    many_claims: list[Claims], tables: Tables
) -> None:
    users = [user_id(n) for n in range(50)]
    for user in users:
        await tables.participate(user)
    verdicts = await asyncio.gather(
        *(claims.take(ACCOUNT, user) for claims in many_claims for user in users * 2)
    )
    winners = [verdict.ig_user_id for verdict in verdicts if isinstance(verdict, Claim)]
    assert sorted(winners) == users
    assert await tables.deadlocks() == 0


async def test_one_wins_also_for_a_user_of_two_accounts(
    many_claims: list[Claims], tables: Tables
) -> None:
    users = [user_id(n) for n in range(50)]
    for user, account in itertools.product(users, (OTHER_ACCOUNT, ACCOUNT)):
        await tables.participate(user, account)
    verdicts = await asyncio.gather(
        *(
            claims.take(account, user)
            for claims in many_claims
            for user, account in itertools.product(users, (ACCOUNT, OTHER_ACCOUNT))
        )
    )
    winners = [verdict.ig_user_id for verdict in verdicts if isinstance(verdict, Claim)]
    assert sorted(winners) == users
    assert await tables.deadlocks() == 0


async def test_one_wins_also_where_the_second_account_came_in_meanwhile(
    many_claims: list[Claims], tables: Tables, other_session: asyncpg.Connection
) -> None:
    """The older claimer's statement can't see the newer participant, only its lease."""
    for user in (USER, OTHER_USER):
        await tables.participate(user)
    async with other_session.transaction():
        await other_session.execute(
            "SELECT FROM instagram_participants WHERE ig_user_id = $1 FOR UPDATE", USER
        )
        older = asyncio.gather(
            many_claims[0].take(ACCOUNT, USER), many_claims[0].take(ACCOUNT, OTHER_USER)
        )
        await tables.until_blocked()
        await tables.participate(OTHER_USER, OTHER_ACCOUNT)
        newer = await many_claims[1].take(OTHER_ACCOUNT, OTHER_USER)
    assert isinstance(newer, Claim)
    verdicts = await older
    assert [isinstance(verdict, Claim) for verdict in verdicts] == [True, False]


@asynccontextmanager
async def waiting_claim(
    claims: Claims, tables: Tables, other_session: asyncpg.Connection, change: str
) -> AsyncIterator[asyncio.Task[Claim | Refusal]]:
    """Give a claim that waits until the block ends, when its participant has changed."""
    await tables.participate()
    async with other_session.transaction():
        await other_session.execute(change, USER)
        waiting = asyncio.create_task(claims.take(ACCOUNT, USER))
        await tables.until_blocked()
        yield waiting


async def test_who_was_fetched_and_wrote_while_a_claim_waited_is_fresh(
    claims: Claims, tables: Tables, other_session: asyncpg.Connection
) -> None:
    """The waiting statement can't see the new identity, only that the participant changed."""
    async with waiting_claim(claims, tables, other_session, WRITES) as waiting:
        await tables.cache(username="jane.doe", last_fetched_at=NOW)
    assert await waiting == Refusal("fresh")


@pytest.mark.parametrize(("change", "verdict"), [(WRITES, "taken"), (ERASES, "erased")])
async def test_who_changed_while_a_claim_waited_is_judged_as_now(
    claims: Claims,
    tables: Tables,
    other_session: asyncpg.Connection,
    change: str,
    verdict: str,
) -> None:
    async with waiting_claim(claims, tables, other_session, change) as waiting:
        pass
    judged = await waiting
    assert (judged.verdict if isinstance(judged, Refusal) else "taken") == verdict


async def test_who_asks_twice_in_one_batch_gets_one_claim(claims: Claims, tables: Tables) -> None:
    await tables.participate()
    first, second = await asyncio.gather(claims.take(ACCOUNT, USER), claims.take(ACCOUNT, USER))
    assert isinstance(first, Claim)
    assert second == Refusal("in_flight")


async def test_nobody_takes_whom_another_account_holds(claims: Claims, tables: Tables) -> None:
    await tables.participate()
    await taken(claims)
    await tables.participate(USER, OTHER_ACCOUNT)
    assert await claims.take(OTHER_ACCOUNT, USER) == Refusal("in_flight")


async def test_a_user_nobody_knows_is_no_claim(claims: Claims) -> None:
    assert await claims.take(ACCOUNT, USER) == Refusal("erased")


async def test_a_user_who_waits_is_left_to_wait(claims: Claims, tables: Tables) -> None:
    await tables.participate(due_at=HOUR)
    before = await tables.participant()
    assert await claims.take(ACCOUNT, USER) == Refusal("not_due")
    assert await tables.participant() == before


async def test_a_hint_of_a_fresh_or_stopped_user_is_cleaned_away(
    claims: Claims, tables: Tables
) -> None:
    await tables.participate(USER)
    await tables.cache(USER, last_fetched_at=-DAY)
    await tables.participate(OTHER_USER)
    await tables.cache_failed(OTHER_USER, fail_count=5)
    assert await claims.take(ACCOUNT, USER) == Refusal("fresh")
    assert await claims.take(ACCOUNT, OTHER_USER) == Refusal("stopped")
    for user in (USER, OTHER_USER):
        row = await tables.participant(user)
        assert (row["due_at"], row["lease"]) == (None, None)


async def test_who_is_forced_is_taken_fresh_or_stopped(claims: Claims, tables: Tables) -> None:
    await tables.participate(USER, forced=True)
    await tables.cache(USER, last_fetched_at=-DAY)
    await tables.participate(OTHER_USER, forced=True)
    await tables.cache_failed(OTHER_USER, fail_count=5)
    await claims.resolve(await taken(claims, USER), PROFILE)
    await claims.fail(await taken(claims, OTHER_USER), NOT_FOUND)
    for user in (USER, OTHER_USER):
        row = await tables.participant(user)
        assert (row["forced"], row["due_at"]) == (False, None)


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        ("app", "outage"),
        (f"account:{ACCOUNT}", "throttled"),
        (f"account:{ACCOUNT}", "token_invalid"),
    ],
)
async def test_nobody_is_taken_while_paused_and_everybody_after(
    claims: Claims, tables: Tables, scope: str, reason: str
) -> None:
    await tables.participate()
    await tables.pause(scope, reason, HOUR)
    assert await claims.take(ACCOUNT, USER) == Refusal(reason)
    assert (await tables.participant())["is_due"]
    await tables.run_out()
    await taken(claims)


async def test_without_a_connection_or_with_a_dead_token_nobody_is_taken(
    claims: Claims, tables: Tables
) -> None:
    await tables.connect("3", token_status="invalid")
    await tables.participate(USER, "3")
    await tables.participate(OTHER_USER, "4")
    assert await claims.take("3", USER) == Refusal("token_invalid")
    assert await claims.take("4", OTHER_USER) == Refusal("no_connection")
    assert (await tables.participant(OTHER_USER, "4"))["is_due"]


async def test_a_claim_lapses_by_itself(
    claims: Claims, many_claims: list[Claims], tables: Tables
) -> None:
    await tables.participate()
    lost = await taken(claims)
    row = await tables.participant()
    assert row["due_at"] - await tables.value("SELECT now()") <= LEASE
    assert await many_claims[0].take(ACCOUNT, USER) == Refusal("not_due")
    await tables.fall_due()
    again = await taken(many_claims[0])
    assert again.lease != lost.lease
