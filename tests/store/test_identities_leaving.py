"""What a sweep finds, and what an erasure leaves."""

import asyncio

import asyncpg
import pytest

from service.store.claims import Claims
from service.store.identities import ERASE, DueUser, Identities
from service.store.outcomes import Claim, Settled

from .tables import (
    ACCOUNT,
    HOUR,
    MINUTE,
    NOW,
    OTHER_ACCOUNT,
    OTHER_USER,
    PROFILE,
    THIRD_ACCOUNT,
    USER,
    Tables,
    taken,
    user_id,
)

pytestmark = pytest.mark.usefixtures("two_accounts")

SCOPE = f"account:{ACCOUNT}"
HELD = "SELECT count(*) FROM instagram_user_cache"


# Sweeping


async def sweep(identities: Identities, a_account: int = 100, at_most: int = 100) -> set[str]:
    return {user.ig_user_id for user in await identities.find_due(a_account, at_most, NOW)}


async def test_a_sweep_finds_what_fell_due(identities: Identities, tables: Tables) -> None:
    await tables.participate(user_id(1), due_at=-MINUTE)
    await tables.participate(user_id(2), due_at=-MINUTE, lease=7)  # lapsed
    await tables.participate(user_id(3), due_at=MINUTE)
    await tables.participate(user_id(4), due_at=MINUTE, lease=7)
    await tables.participate(user_id(5), due_at=None)
    assert await sweep(identities) == {user_id(1), user_id(2)}


async def test_what_fell_due_just_now_is_left_a_moment(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(user_id(1), due_at=-HOUR)
    await tables.participate(user_id(2))
    assert await identities.find_due(100, 100, MINUTE) == [DueUser(ACCOUNT, user_id(1))]


async def test_a_sweep_passes_over_whom_nobody_may_call(
    identities: Identities, tables: Tables
) -> None:
    await tables.connect(THIRD_ACCOUNT, token_status="invalid")
    for user, account in enumerate((ACCOUNT, OTHER_ACCOUNT, THIRD_ACCOUNT, "4")):
        await tables.participate(user_id(user), account)
    await tables.pause(SCOPE, "throttled", HOUR)
    assert await sweep(identities) == {user_id(1)}
    await tables.run_out()
    assert await sweep(identities) == {user_id(0), user_id(1)}
    await tables.pause("app", "outage", HOUR)
    assert await sweep(identities) == set()


async def test_a_sweep_takes_no_account_for_another(identities: Identities, tables: Tables) -> None:
    for n in range(30):
        await tables.participate(user_id(n), due_at=-n * MINUTE)
    await tables.participate(user_id(99), OTHER_ACCOUNT)
    found = await sweep(identities, a_account=5)
    assert found == {user_id(99), *(user_id(n) for n in range(25, 30))}  # the longest overdue
    assert len(await sweep(identities, at_most=3)) == 3


# Erasing


@pytest.mark.parametrize("table", ["participants", "user_cache", "streaks"])
async def test_an_erasure_leaves_nothing_of_the_user_and_all_of_the_others(
    identities: Identities, tables: Tables, table: str
) -> None:
    for user in (USER, OTHER_USER):
        await tables.participate(user)
        await tables.participate(user, OTHER_ACCOUNT)
        await tables.cache(user, username="somebody")
        await tables.insert("instagram_streaks", scope="app", ig_user_id=user, error="{}")
    await identities.erase(USER)
    await identities.erase("404")
    left = f"SELECT DISTINCT ig_user_id FROM instagram_{table}"  # noqa: S608
    assert await tables.column(left) == [OTHER_USER]


async def test_an_erasure_that_comes_first_leaves_a_settlement_nothing(
    claims: Claims, tables: Tables, other_session: asyncpg.Connection
) -> None:
    await tables.participate()
    claim = await taken(claims)
    async with other_session.transaction():
        for statement in ERASE:
            await other_session.execute(statement, [USER])
        settling = asyncio.create_task(claims.resolve(claim, PROFILE))
        await tables.until_blocked()
    assert await settling == Settled("lost")
    assert await tables.value(HELD) == 0


async def test_an_erasure_that_comes_second_erases_what_was_settled(
    claims: Claims, identities: Identities, tables: Tables, other_session: asyncpg.Connection
) -> None:
    await tables.participate()
    await tables.cache()
    claim = await taken(claims)
    async with other_session.transaction():
        await other_session.execute("SELECT FROM instagram_user_cache FOR UPDATE")
        settling = asyncio.create_task(claims.resolve(claim, PROFILE))
        await tables.until_blocked()
        erasing = asyncio.create_task(identities.erase(USER))
        await tables.until_blocked(2)
    assert await settling == Settled("resolved")
    await erasing
    assert await tables.value(HELD) == 0


async def test_an_erasure_wins_against_a_claim(
    claims: Claims, identities: Identities, tables: Tables
) -> None:
    await tables.participate()
    _, verdict = await asyncio.gather(identities.erase(USER), claims.take(ACCOUNT, USER))
    if isinstance(verdict, Claim):
        assert await claims.resolve(verdict, PROFILE) == Settled("lost")
    assert await tables.value(HELD) == 0
