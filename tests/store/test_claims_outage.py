"""Five users in a row that fail upstream are an outage, and nobody's failure."""

import asyncio

import pytest

from service.store.claims import Claims
from service.store.identities import Identities
from service.store.journal import Journal

from .streaks import (
    FIRST_FIVE,
    PAUSED,
    RESOLVED,
    SCOPE,
    STREAK,
    fail_upstream,
    failures,
    have_an_outage,
)
from .tables import (
    HOUR,
    NOT_FOUND,
    PROFILE,
    TIMEOUT,
    USER,
    Tables,
    taken,
    user_id,
)
from .test_journal import contact

pytestmark = pytest.mark.usefixtures("seven_users")


async def test_four_users_in_a_row_are_charged(claims: Claims, tables: Tables) -> None:
    for user in FIRST_FIVE[:4]:
        settled = await fail_upstream(claims, user)
        assert (settled.outcome, settled.fail_count) == ("failed", 1)
    assert [row[1] for row in await failures(tables)] == [1] * 4
    assert await tables.pauses() == {}


async def test_the_fifth_makes_an_outage_that_gives_all_five_their_failure_back(
    claims: Claims, tables: Tables
) -> None:
    """Also those who had failed before, by exactly one."""
    await tables.cache_failed(user_id(1), fail_count=2, ago=HOUR)
    await tables.cache_failed(user_id(2), fail_count=4, ago=HOUR, reason="consent_required")
    await tables.cache(user_id(3), username="jane", last_fetched_at=-8 * HOUR, expires_at=-HOUR)
    before = await failures(tables)
    await have_an_outage(claims)
    assert await tables.pauses() == {"app": "outage"}
    after = await failures(tables)
    assert after[:3] == before
    assert [row[1:] for row in after[3:]] == [(0, None, None)] * 2
    assert await tables.column(STREAK, "app") == []
    await tables.run_out()
    for user in FIRST_FIVE:
        await taken(claims, user)


async def test_whom_the_fifth_failure_had_stopped_an_outage_starts_again(
    claims: Claims, tables: Tables
) -> None:
    await tables.cache_failed(USER, fail_count=4, ago=HOUR)
    await have_an_outage(claims)
    row = await tables.participant(USER)
    assert row["is_due"]
    assert (await tables.cached(USER))["fail_count"] == 4


async def test_who_was_forced_or_gave_consent_is_fetched_after_the_outage_all_the_same(
    claims: Claims, journal: Journal, tables: Tables
) -> None:
    await tables.cache_failed(USER, fail_count=5, reason="consent_required")
    await journal.write([contact(USER, wrote=True)])
    await have_an_outage(claims)
    await tables.run_out()
    await taken(claims, USER)


async def test_who_fails_twice_in_the_streak_gets_both_failures_back(
    claims: Claims, tables: Tables
) -> None:
    await fail_upstream(claims, USER)
    await tables.fall_due()
    settled = await fail_upstream(claims, USER)
    assert settled.fail_count == 2
    for user in FIRST_FIVE[1:]:
        assert await tables.pauses() == {}
        await fail_upstream(claims, user)
    assert await tables.pauses() == {"app": "outage"}
    assert (await tables.cached(USER))["fail_count"] == 0


async def test_what_is_in_flight_when_the_outage_is_seen_is_charged_to_nobody(
    claims: Claims, tables: Tables
) -> None:
    sixth = await taken(claims, user_id(6))
    await have_an_outage(claims)
    until = await tables.value("SELECT until FROM instagram_pauses")
    assert await claims.fail_upstream(sixth, TIMEOUT) == PAUSED
    assert (await tables.participant(user_id(6)))["is_due"]
    assert await tables.value("SELECT until FROM instagram_pauses") == until
    assert await tables.value("SELECT sum(fail_count) FROM instagram_user_cache") == 0


async def test_five_at_once_on_several_replicas_are_one_outage(
    many_claims: list[Claims], tables: Tables
) -> None:
    holders = [many_claims[n % len(many_claims)] for n in range(7)]
    held = [await taken(holder, user_id(n + 1)) for n, holder in enumerate(holders)]
    outcomes = await asyncio.gather(
        *(holder.fail_upstream(claim, TIMEOUT) for holder, claim in zip(holders, held, strict=True))
    )
    assert sorted(settled.outcome for settled in outcomes) == ["failed"] * 4 + ["paused"] * 3
    assert await tables.value("SELECT sum(fail_count) FROM instagram_user_cache") == 0
    assert await tables.value("SELECT strikes FROM instagram_pauses") == 1


@pytest.mark.parametrize("ends_with_a_profile", [True, False])
async def test_four_and_then_an_answer_are_no_outage(
    claims: Claims, tables: Tables, *, ends_with_a_profile: bool
) -> None:
    for user in FIRST_FIVE[:4]:
        await fail_upstream(claims, user)
    claim = await taken(claims, user_id(5))
    if ends_with_a_profile:
        await claims.resolve(claim, PROFILE)
    else:
        await claims.fail(claim, NOT_FOUND)
    assert await tables.column(STREAK, "app") == []
    charged = await failures(tables)
    await fail_upstream(claims, user_id(6))
    assert await tables.pauses() == {}
    assert [row[1] for row in charged[:4]] == [1] * 4


async def test_one_user_alone_is_no_outage(claims: Claims, tables: Tables) -> None:
    for fail_count in range(1, 6):
        settled = await fail_upstream(claims, USER)
        assert settled.fail_count == fail_count
        await tables.fall_due()
    assert await tables.pauses() == {}


async def test_a_probe_that_fails_lengthens_the_outage_and_one_that_succeeds_ends_it(
    claims: Claims, tables: Tables
) -> None:
    await have_an_outage(claims)
    lengths = []
    for _ in range(7):
        left = "SELECT extract(epoch FROM until - now())::int FROM instagram_pauses"
        lengths.append(await tables.value(left))
        await tables.run_out()
        assert await fail_upstream(claims, user_id(6)) == PAUSED
    assert [round(length / 10) * 10 for length in lengths] == [10, 20, 40, 80, 160, 300, 300]
    assert await tables.value("SELECT sum(fail_count) FROM instagram_user_cache") == 0
    await tables.run_out()
    assert await claims.resolve(await taken(claims, user_id(6)), PROFILE) == RESOLVED
    assert await tables.value("SELECT count(*) FROM instagram_pauses") == 0
    assert (await fail_upstream(claims, user_id(7))).outcome == "failed"


async def test_an_answer_lifts_no_pause_that_is_still_on(claims: Claims, tables: Tables) -> None:
    claim = await taken(claims)
    await tables.pause("app", "throttled", HOUR)
    await tables.pause(SCOPE, "token_invalid", HOUR)
    await claims.resolve(claim, PROFILE)
    assert await tables.pauses() == {"app": "throttled", SCOPE: "token_invalid"}


async def test_a_refund_spares_a_user_who_was_erased(
    claims: Claims, identities: Identities, tables: Tables
) -> None:
    await fail_upstream(claims, USER)
    await identities.erase(USER)
    for user in [*FIRST_FIVE[1:], user_id(6)]:
        await fail_upstream(claims, user)
    assert await tables.pauses() == {"app": "outage"}
    assert USER not in {row[0] for row in await failures(tables)}
