"""Settling what becomes of a user, and who may."""

import asyncio
import itertools
import json
from datetime import timedelta

import pytest

from service.errors import UnstorableError
from service.model.calls import Profile
from service.model.freshness import Rules
from service.store.claims import Claims
from service.store.database import Database
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.outcomes import Claim, Refusal, Settled
from service.store.queries import read_queries

from .tables import (
    ACCOUNT,
    DAY,
    HOUR,
    MINUTE,
    NOT_FOUND,
    NOW,
    OTHER_ACCOUNT,
    PROFILE,
    SECOND,
    TIMEOUT,
    USER,
    Tables,
    taken,
    user_id,
)
from .test_journal import contact

pytestmark = pytest.mark.usefixtures("two_accounts")

LOST = Settled("lost")
_STREAKS = read_queries("streaks")


async def test_a_profile_is_stored_whole_and_frees_every_account(
    claims: Claims, tables: Tables
) -> None:
    await tables.cache_failed(USER, fail_count=3)
    await tables.participate()
    await tables.participate(USER, OTHER_ACCOUNT)
    assert await claims.resolve(await taken(claims), PROFILE) == Settled("resolved")
    row = await tables.cached()
    assert (row["username"], row["name"], row["profile_pic_url"]) == (
        "jane.doe",
        "Jane Doe",
        "https://example.com/jane.jpg",
    )
    assert json.loads(row["raw"]) == {"id": "1"}
    assert (row["fail_count"], row["last_error"]) == (0, None)
    assert row["expires_at"] - row["last_fetched_at"] == timedelta(days=7)
    for account in (ACCOUNT, OTHER_ACCOUNT):
        stored = await tables.participant(USER, account)
        assert (stored["due_at"], stored["lease"]) == (None, None)


async def test_a_profile_replaces_what_was_known_null_included(
    claims: Claims, tables: Tables
) -> None:
    await tables.cache(username="jane.doe", name="Jane", last_fetched_at=-8 * DAY)
    await tables.participate()
    await claims.resolve(await taken(claims), Profile("jane.smith", None, None, "{}"))
    row = await tables.cached()
    assert (row["username"], row["name"], row["profile_pic_url"]) == ("jane.smith", None, None)


@pytest.mark.parametrize(
    ("expires_in", "lives"),
    [(3 * DAY, 3 * DAY), (9 * DAY, 7 * DAY), (MINUTE, 7 * DAY), (-DAY, 7 * DAY)],
)
async def test_an_identity_expires_with_its_picture(
    claims: Claims, tables: Tables, expires_in: timedelta, lives: timedelta
) -> None:
    """Unless the picture outlives the TTL, or lives for less than an hour."""
    await tables.participate()
    now = await tables.value("SELECT date_trunc('second', now())")
    url = f"https://example.com/p.jpg?oe={int((now + expires_in).timestamp()):X}"
    await claims.resolve(await taken(claims), Profile("jane", None, url, "{}"))
    row = await tables.cached()
    expected = now + expires_in if lives == 3 * DAY else row["last_fetched_at"] + lives
    assert row["expires_at"] == expected


async def test_a_failure_keeps_the_good_values(claims: Claims, tables: Tables) -> None:
    good: dict[str, object] = {
        "username": "jane.doe",
        "name": "Jane",
        "profile_pic_url": "https://example.com/p.jpg",
        "raw": '{"id": "1"}',
        "last_fetched_at": -8 * DAY,
    }
    await tables.insert("instagram_user_cache", ig_user_id=USER, **good)
    before = await tables.cached()
    await tables.participate()
    await claims.fail(await taken(claims), NOT_FOUND)
    row = await tables.cached()
    assert [row[column] for column in good] == [before[column] for column in good]
    assert json.loads(row["last_error"]) == {
        "reason": "not_found",
        "code": 100,
        "subcode": 33,
        "message": "No such user",
        "fbtrace_id": "trace-1",
    }


async def test_the_waits_grow_and_after_five_failures_retries_stop(
    claims: Claims, tables: Tables
) -> None:
    await tables.participate()
    waits: list[timedelta | None] = []
    for fail_count in range(1, 6):
        settled = await claims.fail(await taken(claims), NOT_FOUND)
        row, failed_at = await tables.participant(), (await tables.cached())["last_failed_at"]
        assert (settled.outcome, settled.fail_count) == ("failed", fail_count)
        assert settled.next_attempt_at == row["due_at"]
        waits.append(row["due_at"] and row["due_at"] - failed_at)
        await tables.fall_due()
    assert waits == [MINUTE, 10 * MINUTE, HOUR, 6 * HOUR, None]
    assert await claims.take(ACCOUNT, USER) == Refusal("not_due")


async def test_the_count_of_failures_has_a_cap(claims: Claims, tables: Tables) -> None:
    await tables.cache_failed(USER, fail_count=5)
    await tables.participate(forced=True)
    settled = await claims.fail(await taken(claims), NOT_FOUND)
    assert settled == Settled("failed", 5, None)


async def test_a_failure_holds_for_every_account_of_the_user(
    claims: Claims, tables: Tables
) -> None:
    await tables.participate()
    await tables.participate(USER, OTHER_ACCOUNT)
    settled = await claims.fail(await taken(claims), NOT_FOUND)
    for account in (ACCOUNT, OTHER_ACCOUNT):
        row = await tables.participant(USER, account)
        assert (row["due_at"], row["lease"]) == (settled.next_attempt_at, None)


async def test_a_claim_given_back_is_due_again(claims: Claims, tables: Tables) -> None:
    await tables.participate(forced=True)
    await tables.participate(USER, OTHER_ACCOUNT)
    assert await claims.release(await taken(claims)) == Settled("paused")
    for account in (ACCOUNT, OTHER_ACCOUNT):
        row = await tables.participant(USER, account)
        assert (row["is_due"], row["lease"]) == (True, None)
    assert (await tables.participant())["forced"]
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 0


async def test_a_claim_given_back_with_a_wait_holds_up_its_own_account_only(
    claims: Claims, tables: Tables
) -> None:
    await tables.participate()
    await tables.participate(USER, OTHER_ACCOUNT)
    await claims.release(await taken(claims), HOUR)
    assert await claims.take(ACCOUNT, USER) == Refusal("not_due")
    await taken(claims, USER, OTHER_ACCOUNT)


async def settle_every_way(claims: Claims, claim: Claim) -> list[Settled]:
    return [
        await claims.resolve(claim, PROFILE),
        await claims.fail(claim, NOT_FOUND),
        await claims.fail_upstream(claim, TIMEOUT),
        await claims.suspect(claim, NOT_FOUND),
        await claims.invalidate_token(claim),
    ]


async def test_a_lapsed_claim_that_nobody_took_still_settles(
    claims: Claims, tables: Tables
) -> None:
    await tables.participate()
    claim = await taken(claims)
    await tables.fall_due()
    assert await claims.resolve(claim, PROFILE) == Settled("resolved")


async def test_who_lost_the_claim_can_settle_nothing(
    claims: Claims, many_claims: list[Claims], tables: Tables
) -> None:
    await tables.participate()
    late = await taken(claims)
    await tables.fall_due()
    holder = await taken(many_claims[0])
    before = await tables.participant()
    assert await settle_every_way(claims, late) == [LOST] * 5
    await claims.release(late)
    assert await tables.participant() == before
    assert await tables.pauses() == {}
    assert await many_claims[0].resolve(holder, PROFILE) == Settled("resolved")


async def test_settling_twice_charges_once(claims: Claims, tables: Tables) -> None:
    await tables.participate()
    claim = await taken(claims)
    outcomes = await asyncio.gather(*(claims.fail(claim, NOT_FOUND) for _ in range(2)))
    assert {settled.outcome for settled in outcomes} <= {"failed", "lost"}
    assert (await tables.cached())["fail_count"] == 1


async def test_an_erased_user_stays_erased_whatever_is_in_flight(
    claims: Claims, identities: Identities, tables: Tables
) -> None:
    await tables.participate()
    claim = await taken(claims)
    await identities.erase(USER)
    assert await settle_every_way(claims, claim) == [LOST] * 5
    for table in ("participants", "user_cache", "streaks"):
        assert await tables.value(f"SELECT count(*) FROM instagram_{table}") == 0  # noqa: S608


async def test_who_writes_anew_after_an_erasure_is_not_settled_by_the_old_claim(
    claims: Claims, identities: Identities, journal: Journal, tables: Tables
) -> None:
    await tables.participate()
    claim = await taken(claims)
    await identities.erase(USER)
    await journal.write([contact()])
    assert await claims.resolve(claim, PROFILE) == LOST
    assert (await tables.participant())["is_due"]


async def test_erasures_and_settlements_of_the_same_users_do_not_deadlock(
    many_claims: list[Claims], replicas: list[Database], rules: Rules, tables: Tables
) -> None:
    users = [user_id(n) for n in range(40)]
    for user, account in itertools.product(users, (OTHER_ACCOUNT, ACCOUNT)):
        await tables.participate(user, account)

    async def settle(claims: Claims, user: str) -> None:
        claim = await claims.take(ACCOUNT, user)
        if isinstance(claim, Claim):
            await claims.resolve(claim, PROFILE)

    eraser = Identities(replicas[-1], rules)
    await asyncio.gather(
        *(settle(claims, user) for claims in many_claims[:2] for user in users),
        *(eraser.erase(user) for user in users),
    )
    assert await tables.value("SELECT count(*) FROM instagram_participants") == 0
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 0
    assert await tables.deadlocks() == 0


async def test_an_unstorable_profile_costs_nobody_else_of_its_batch(
    claims: Claims, tables: Tables
) -> None:
    bad = Profile("jane\0", None, None, '{"name": "\\u0000"}')
    for n in range(10):
        await tables.participate(user_id(n))
    held = [await taken(claims, user_id(n)) for n in range(10)]
    outcomes = await asyncio.gather(
        *(claims.resolve(claim, bad if n == 3 else PROFILE) for n, claim in enumerate(held)),
        return_exceptions=True,
    )
    assert isinstance(outcomes.pop(3), UnstorableError)
    assert outcomes == [Settled("resolved")] * 9
    assert (await tables.participant(user_id(3)))["lease"] == held[3].lease


async def test_settled_batches_of_several_replicas_do_not_deadlock(
    many_claims: list[Claims], tables: Tables
) -> None:
    users = [user_id(n) for n in range(120)]
    for user, account in itertools.product(users, (OTHER_ACCOUNT, ACCOUNT)):
        await tables.participate(user, account)
    await tables.pause("app", "outage", -SECOND)

    async def work(claims: Claims, number: int, user: str) -> str:
        claim = await claims.take((ACCOUNT, OTHER_ACCOUNT)[number % 2], user)
        if not isinstance(claim, Claim):
            return claim.verdict
        settle = (claims.resolve(claim, PROFILE), claims.fail(claim, NOT_FOUND))
        settle[number % 3 == 0].close()
        return (await settle[number % 3 != 0]).outcome

    outcomes = await asyncio.gather(
        *(
            work(many_claims[(n + shift) % len(many_claims)], n, user)
            for shift in range(2)
            for n, user in enumerate(users)
        )
    )
    assert outcomes.count("resolved") + outcomes.count("failed") == len(users)
    assert await tables.deadlocks() == 0
    leases = "SELECT count(*) FROM instagram_participants WHERE lease IS NOT NULL"
    assert await tables.value(leases) == 0


async def test_the_lease_is_locked_in_the_order_that_everybody_keeps(tables: Tables) -> None:
    for account in (OTHER_ACCOUNT, ACCOUNT):
        await tables.participate(USER, account, lease=7, due_at=NOW)
    assert await tables.value(_STREAKS["lock_lease"], USER, 7)
    assert not await tables.value(_STREAKS["lock_lease"], USER, 8)
