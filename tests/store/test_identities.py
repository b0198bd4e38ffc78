"""Identities looked up, scheduled, forced and counted."""

import asyncio
from datetime import UTC, datetime

import pytest

from service.model.freshness import FOREVER, Rules
from service.model.identity import identity
from service.store.claims import Claims
from service.store.identities import DueUser, Identities
from service.store.outcomes import Refusal, Settled
from service.store.slots import Slots

from .tables import (
    ACCOUNT,
    DAY,
    HOUR,
    MINUTE,
    OTHER_ACCOUNT,
    OTHER_USER,
    PROFILE,
    SECOND,
    THIRD_ACCOUNT,
    USER,
    Tables,
    taken,
    user_id,
)

pytestmark = pytest.mark.usefixtures("two_accounts")

SCOPE = f"account:{ACCOUNT}"
HELD = "SELECT count(*) FROM instagram_user_cache"


async def state_and_reason(identities: Identities, ig_user_id: str = USER) -> tuple[str, object]:
    (cached,) = await identities.look_up([ig_user_id])
    seen = identity(cached, cached.read_at, Rules())
    return seen.state, seen.reason


# Looking up


async def test_identities_come_in_the_order_asked_repeats_kept(
    identities: Identities, tables: Tables
) -> None:
    await tables.cache(USER, username="jane", last_fetched_at=-DAY)
    await tables.cache(OTHER_USER, username="john", last_fetched_at=-DAY)
    asked = [OTHER_USER, "404", USER, OTHER_USER, "404"]
    found = await identities.look_up(asked)
    assert [cached.ig_user_id for cached in found] == asked
    assert [cached.username for cached in found] == ["john", None, "jane", "john", None]
    assert [c.username for c in await identities.watch(asked)] == [c.username for c in found]


async def test_concurrent_lookups_get_each_their_own(
    identities: Identities, tables: Tables
) -> None:
    for n in range(20):
        await tables.cache(user_id(n), username=f"user{n}")
    found = await asyncio.gather(
        *(identities.look_up([user_id(n % 20), user_id((n + 1) % 20)]) for n in range(200))
    )
    assert [[c.username for c in pair] for pair in found] == [
        [f"user{n % 20}", f"user{(n + 1) % 20}"] for n in range(200)
    ]


async def test_nothing_asked_is_nothing_found(identities: Identities) -> None:
    assert await identities.look_up([]) == []


async def test_a_user_never_heard_of_is_unknown(identities: Identities) -> None:
    assert await state_and_reason(identities) == ("unknown", None)


async def test_a_participant_that_was_not_fetched_yet_is_pending(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate()
    assert await state_and_reason(identities) == ("pending", None)
    await tables.cache_failed(USER, fail_count=1, reason="timeout")
    assert await state_and_reason(identities) == ("pending", "timeout")


async def test_who_was_never_fetched_and_is_stopped_has_failed(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(due_at=None)
    await tables.cache_failed(USER, fail_count=5, reason="consent_required")
    await tables.pause("app", "outage", HOUR)  # which is not why
    assert await state_and_reason(identities) == ("failed", "consent_required")


async def test_a_stale_identity_says_what_holds_its_refresh_up(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(due_at=None)
    await tables.cache(
        last_fetched_at=-8 * DAY,
        fail_count=1,
        last_failed_at=-MINUTE,
        last_error='{"reason": "upstream_error"}',
    )
    assert await state_and_reason(identities) == ("resolved", "upstream_error")
    await tables.pause(SCOPE, "throttled", HOUR)
    assert await state_and_reason(identities) == ("resolved", "throttled")


@pytest.mark.parametrize(
    ("scope", "stored", "shown"),
    [
        (SCOPE, "token_invalid", "token_invalid"),
        (SCOPE, "permission", "permission"),
        (SCOPE, "no_connection", "no_connection"),
        (SCOPE, "throttled", "throttled"),
        ("app", "throttled", "throttled"),
        ("app", "outage", "outage"),
        ("app", "bad_request", "bad_request"),
    ],
)
async def test_a_pause_is_the_reason_while_it_is_on(
    identities: Identities, slots: Slots, tables: Tables, scope: str, stored: str, shown: str
) -> None:
    await tables.participate()
    await tables.pause(scope, stored, HOUR)
    assert await state_and_reason(identities) == ("pending", shown)
    await tables.run_out()
    assert await state_and_reason(identities) == ("pending", None)
    await slots.reserve(ACCOUNT)  # the probe, which holds the others up
    assert await state_and_reason(identities) == ("pending", shown)


async def test_a_fresh_identity_has_no_reason(identities: Identities, tables: Tables) -> None:
    await tables.participate()
    await tables.cache(last_fetched_at=-DAY)
    await tables.pause("app", "outage", HOUR)
    assert await state_and_reason(identities) == ("resolved", None)
    (watched,) = await identities.watch([USER])
    assert watched.pause == "outage"


async def test_an_account_without_a_connection_is_a_reason_by_itself(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(USER, THIRD_ACCOUNT)
    assert await state_and_reason(identities) == ("pending", "no_connection")


async def test_a_dead_token_is_a_reason_by_itself(identities: Identities, tables: Tables) -> None:
    await tables.participate()
    await tables.execute("UPDATE instagram_connections SET token_status = 'invalid'")
    assert await state_and_reason(identities) == ("pending", "token_invalid")


async def test_one_account_that_may_be_called_is_enough(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(USER, ACCOUNT)
    await tables.participate(USER, OTHER_ACCOUNT, last_message_at=-DAY)
    await tables.pause(SCOPE, "token_invalid", HOUR)
    assert await state_and_reason(identities) == ("pending", None)
    await tables.pause(f"account:{OTHER_ACCOUNT}", "permission", HOUR)
    assert await state_and_reason(identities) == ("pending", "token_invalid")  # the latest message


# Scheduling


async def test_only_what_is_not_scheduled_yet_is_made_due(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(user_id(1), due_at=None)
    await tables.participate(user_id(2), due_at=HOUR)
    await tables.participate(user_id(3), due_at=MINUTE, lease=7)
    before = [await tables.participant(user_id(n)) for n in (2, 3)]
    due = await identities.schedule_stale([user_id(n) for n in (3, 2, 1, 1, 404)])
    assert due == [DueUser(ACCOUNT, user_id(1))]
    assert [await tables.participant(user_id(n)) for n in (2, 3)] == before


async def test_a_force_makes_everybody_due_and_claimable(
    identities: Identities, claims: Claims, tables: Tables
) -> None:
    await tables.participate(USER, due_at=None)
    await tables.cache(USER, last_fetched_at=-DAY)
    await tables.participate(OTHER_USER, due_at=None)
    await tables.cache_failed(OTHER_USER, fail_count=5)
    forced = await identities.force([OTHER_USER, USER, USER, "404"], include_fresh=True)
    assert forced.hints == [DueUser(ACCOUNT, user) for user in (USER, OTHER_USER)] or (
        forced.hints == [DueUser(ACCOUNT, user) for user in (OTHER_USER, USER)]
    )
    assert forced.known == {USER, OTHER_USER}
    assert forced.forced_at <= await tables.value("SELECT now()")
    for hint in forced.hints:
        await taken(claims, hint.ig_user_id)


async def test_a_force_hints_at_an_account_that_may_be_called(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(USER, ACCOUNT)
    await tables.participate(USER, OTHER_ACCOUNT, last_message_at=-DAY)
    await tables.participate(OTHER_USER, ACCOUNT)
    await tables.pause(SCOPE, "throttled", HOUR)
    forced = await identities.force([USER, OTHER_USER], include_fresh=True)
    assert forced.hints == [DueUser(OTHER_ACCOUNT, USER)]
    assert forced.known == {USER, OTHER_USER}


async def test_a_force_leaves_a_call_in_flight_alone(
    identities: Identities, claims: Claims, tables: Tables
) -> None:
    await tables.participate()
    claim = await taken(claims)
    await identities.force([USER], include_fresh=True)
    assert await claims.take(ACCOUNT, USER) == Refusal("not_due")
    assert await claims.resolve(claim, PROFILE) == Settled("resolved")


async def test_forcing_nobody_is_harmless(identities: Identities) -> None:
    forced = await identities.force(["404"], include_fresh=True)
    assert (forced.hints, forced.known, forced.forced_at) == ([], set(), FOREVER)


async def test_clearing_failures_starts_a_stopped_user_again(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(due_at=None)
    await tables.cache_failed(USER, fail_count=5)
    await identities.clear_failures(USER)
    assert await identities.schedule_stale([USER]) == [DueUser(ACCOUNT, USER)]


async def test_a_location_is_known_by_its_connections(identities: Identities) -> None:
    assert await identities.has_location("loc_1")
    assert not await identities.has_location("loc_404")


async def test_the_clock_is_the_databases(identities: Identities, tables: Tables) -> None:
    (cached,) = await identities.look_up([USER])
    assert cached.read_at <= await tables.value("SELECT now()")
    assert cached.read_at.tzinfo is not None
    assert cached.read_at > datetime(2020, 1, 1, tzinfo=UTC) + SECOND
