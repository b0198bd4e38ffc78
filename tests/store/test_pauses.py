import asyncio
import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from service.store.claims import Claim, Claims, Settled
from service.store.database import Database
from service.store.pauses import PROBE, Pauses, Reservation

from .tables import (
    ACCOUNT,
    HOUR,
    MINUTE,
    NOW,
    OTHER_ACCOUNT,
    PROFILE,
    SECOND,
    Tables,
    taken,
    user_id,
)

if TYPE_CHECKING:
    from service.model import PauseReason

SCOPE = f"account:{ACCOUNT}"
INTERVAL_S = 0.02
INTERVAL = timedelta(seconds=INTERVAL_S)
HORIZON = timedelta(seconds=1)


@pytest.fixture
async def slots(tables: Tables) -> Tables:
    """Write down every place that is given, to the microsecond."""
    await tables.execute("""
        CREATE TABLE slots (n serial, next_at timestamptz, given_at timestamptz);
        CREATE FUNCTION note_slot() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO slots (next_at, given_at) VALUES (NEW.next_at, now());
            RETURN NULL;
        END $$;
        CREATE TRIGGER note_slot AFTER INSERT OR UPDATE OF next_at ON instagram_budget
            FOR EACH ROW EXECUTE FUNCTION note_slot();
    """)
    return tables


async def reserve_many(
    replicas: Sequence[Database], each: int, interval_s: float = INTERVAL_S
) -> list[Reservation]:
    return await asyncio.gather(
        *(
            Pauses(database).reserve(ACCOUNT, interval_s)
            for _ in range(each)
            for database in replicas
        )
    )


async def given(slots: Tables) -> list[datetime]:
    return await slots.column("SELECT next_at FROM slots ORDER BY n")


def gaps(moments: Sequence[datetime]) -> list[timedelta]:
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


# The budget


async def test_places_are_an_interval_apart_over_all_replicas(
    replicas: list[Database], slots: Tables
) -> None:
    places = await reserve_many(replicas, each=10)
    assert all(place.wait_s is not None and place.paused_by is None for place in places)
    moments = await given(slots)
    assert len(moments) == len(places)
    assert min(gaps(moments)) >= INTERVAL


async def test_no_place_is_further_ahead_than_the_horizon(
    replicas: list[Database], slots: Tables
) -> None:
    places = await reserve_many(replicas, each=25, interval_s=0.2)
    refused = [place for place in places if place.wait_s is None]
    assert len(refused) > 50
    assert all(place.full_for_s is not None for place in refused)
    assert all(place.wait_s <= 1 for place in places if place.wait_s is not None)
    interval = timedelta(seconds=0.2)
    assert await slots.value("SELECT max(next_at - given_at) FROM slots") <= HORIZON + interval


async def test_a_slow_budget_reserves_one_interval_ahead(pauses: Pauses, slots: Tables) -> None:
    places = [await pauses.reserve(ACCOUNT, 60) for _ in range(3)]
    assert [place.wait_s is not None for place in places] == [True, True, False]
    assert gaps(await given(slots)) == [MINUTE]


async def test_what_was_not_used_is_not_saved_up(replicas: list[Database], slots: Tables) -> None:
    await slots.insert("instagram_budget", scope="app", next_at=-HOUR)
    await reserve_many(replicas, each=5)
    moments = await given(slots)
    assert min(gaps(moments[1:])) >= INTERVAL


async def test_a_slower_pace_holds_on_every_replica(
    replicas: list[Database], slots: Tables
) -> None:
    await Pauses(replicas[0]).set_pace(0.25)
    assert await Pauses(replicas[1]).read_wait() == (0.0, 0.25)
    await reserve_many(replicas, each=2)
    moments = (await given(slots))[1:]
    assert min(gaps(moments)) >= 4 * INTERVAL


async def test_the_pace_lasts_a_minute(pauses: Pauses, slots: Tables) -> None:
    await pauses.set_pace(0.25)
    left = "SELECT paced_until - now() <= interval '1 minute' FROM instagram_budget"
    assert await slots.value(left)
    await slots.execute("UPDATE instagram_budget SET paced_until = now() - interval '1 s'")
    for _ in range(3):
        await pauses.reserve(ACCOUNT, 0.2)
    assert gaps((await given(slots))[2:]) == [timedelta(seconds=0.2)]
    assert (await pauses.read_wait())[1] == 1


async def test_a_clock_that_was_set_back_does_not_stop_the_service(
    pauses: Pauses, slots: Tables
) -> None:
    await slots.insert("instagram_budget", scope="app", next_at=3650 * 24 * HOUR)
    place = await pauses.reserve(ACCOUNT, INTERVAL_S)
    assert place.wait_s is not None
    assert place.wait_s <= 1
    ahead = "SELECT next_at - now() <= interval '2 s' FROM instagram_budget"
    assert await slots.value(ahead)


async def test_an_unused_budget_has_no_wait(pauses: Pauses) -> None:
    assert await pauses.read_wait() == (0.0, 1.0)


# Pauses and probes


@pytest.mark.parametrize("scope", ["app", SCOPE])
async def test_a_pause_holds_on_every_replica_at_once(
    replicas: list[Database], tables: Tables, scope: str
) -> None:
    await reserve_many(replicas, each=1)
    await Pauses(replicas[0]).pause(scope, "throttled", 60)
    places = await reserve_many(replicas, each=5)
    assert {(p.wait_s, p.paused_by, p.paused_scope) for p in places} == {(None, "throttled", scope)}
    assert await tables.pauses() == {scope: "throttled"}


async def test_a_pause_of_one_account_is_not_anothers(pauses: Pauses, tables: Tables) -> None:
    await tables.pause(SCOPE, "throttled", HOUR)
    place = await pauses.reserve(OTHER_ACCOUNT, INTERVAL_S)
    assert place.wait_s is not None
    assert not place.is_probe


async def test_of_two_pauses_the_longer_is_named(pauses: Pauses, tables: Tables) -> None:
    await tables.pause("app", "outage", MINUTE)
    await tables.pause(SCOPE, "permission", HOUR)
    assert (await pauses.reserve(ACCOUNT, INTERVAL_S)).paused_by == "permission"


@pytest.mark.parametrize("scopes", [["app"], [SCOPE], ["app", SCOPE]])
async def test_a_pause_that_has_run_out_lets_exactly_one_probe_through(
    replicas: list[Database], tables: Tables, scopes: list[str]
) -> None:
    for scope in scopes:
        await tables.pause(scope, "outage", -SECOND)
    places = await reserve_many(replicas, each=10)
    allowed = [place for place in places if place.wait_s is not None]
    assert [place.is_probe for place in allowed] == [True]
    later = await reserve_many(replicas, each=2)
    assert {(place.wait_s, place.paused_by) for place in later} == {(None, "outage")}


async def test_a_probe_that_never_answers_is_followed_by_another(
    replicas: list[Database], tables: Tables
) -> None:
    await tables.pause("app", "outage", -SECOND)
    for _ in range(3):
        places = await reserve_many(replicas, each=3)
        assert sum(place.wait_s is not None for place in places) == 1
        left = await tables.value("SELECT probing_until - now() FROM instagram_pauses")
        assert NOW < left <= PROBE
        await tables.run_out()


async def test_a_probe_may_have_its_second_try_and_nobody_else_may(
    pauses: Pauses, tables: Tables
) -> None:
    await tables.pause("app", "outage", -SECOND)
    assert (await pauses.reserve(ACCOUNT, INTERVAL_S)).is_probe
    second = await pauses.reserve(ACCOUNT, INTERVAL_S, is_probe=True)
    assert second.wait_s is not None
    assert (await pauses.reserve(ACCOUNT, INTERVAL_S)).paused_by == "outage"


async def test_a_second_try_obeys_a_pause_made_meanwhile(pauses: Pauses, tables: Tables) -> None:
    await tables.pause("app", "outage", -SECOND)
    await pauses.reserve(ACCOUNT, INTERVAL_S)
    await pauses.pause("app", "throttled", 60)
    second = await pauses.reserve(ACCOUNT, INTERVAL_S, is_probe=True)
    assert (second.wait_s, second.paused_by) == (None, "throttled")


async def test_a_probe_that_finds_the_budget_full_leaves_its_turn_to_the_next(
    pauses: Pauses, tables: Tables
) -> None:
    await tables.pause(SCOPE, "throttled", -SECOND)
    await tables.insert("instagram_budget", scope="app", next_at=10 * SECOND)
    full = await pauses.reserve(ACCOUNT, INTERVAL_S)
    assert (full.wait_s, full.paused_by, full.is_probe) == (None, None, False)
    assert full.full_for_s is not None
    assert full.full_for_s > 0
    await tables.execute("UPDATE instagram_budget SET next_at = now()")
    place = await pauses.reserve(ACCOUNT, INTERVAL_S)
    assert place.is_probe
    assert place.wait_s is not None


async def test_a_success_ends_the_pause_that_had_run_out(
    claims: Claims, pauses: Pauses, tables: Tables
) -> None:
    await tables.connect()
    await tables.participate()
    for scope in ("app", SCOPE):
        await tables.pause(scope, "outage", -SECOND)
    claim = await taken(claims)
    assert (await pauses.reserve(ACCOUNT, INTERVAL_S)).is_probe
    await claims.resolve(claim, PROFILE)
    place = await pauses.reserve(ACCOUNT, INTERVAL_S)
    assert place.wait_s is not None
    assert not place.is_probe


async def test_the_pauses_that_are_on_are_listed_a_probes_too(
    pauses: Pauses, tables: Tables
) -> None:
    await tables.pause("app", "outage", -SECOND)
    assert await pauses.read() == []
    await pauses.reserve(OTHER_ACCOUNT, INTERVAL_S)
    await tables.pause(SCOPE, "throttled", HOUR)
    await tables.execute(
        "INSERT INTO instagram_pauses (scope, reason, until)"
        " VALUES ('account:3', 'no_connection', 'infinity')"
    )
    listed = {pause.scope: pause for pause in await pauses.read()}
    assert set(listed) == {"account:3", SCOPE, "app"}
    assert 0 < listed["app"].left_s <= PROBE.total_seconds()
    assert listed["account:3"].left_s > 10 * 365 * 86400


# How long a pause is


async def pause_length(tables: Tables, scope: str = "app") -> timedelta:
    length = await tables.value(
        "SELECT date_trunc('minute', until - now() + interval '30 s') FROM instagram_pauses"
        " WHERE scope = $1",
        scope,
    )
    assert isinstance(length, timedelta)
    return length


async def test_throttling_pauses_for_as_long_as_meta_says(claims: Claims, tables: Tables) -> None:
    await tables.connect()
    await tables.participate()
    settled = await claims.pause(await taken(claims), "app", "throttled", 7 * 60.0)
    assert settled == Settled("paused")
    assert await pause_length(tables) == 7 * MINUTE
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 0
    assert (await tables.participant())["is_due"]


async def test_else_the_pause_doubles_from_a_minute_to_an_hour(
    pauses: Pauses, tables: Tables
) -> None:
    lengths = []
    for _ in range(8):
        await pauses.pause(SCOPE, "throttled", None)
        lengths.append(await pause_length(tables, SCOPE))
        await tables.run_out()
    assert [length // MINUTE for length in lengths] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_storm_of_calls_in_flight_is_one_strike(
    many_claims: list[Claims], tables: Tables
) -> None:
    await tables.connect()
    held: list[tuple[Claims, Claim]] = []
    for number in range(1, 8):
        holder = many_claims[number % len(many_claims)]
        await tables.participate(user_id(number))
        held.append((holder, await taken(holder, user_id(number))))
    await asyncio.gather(*(holder.pause(claim, "app", "throttled", None) for holder, claim in held))
    assert await pause_length(tables) == MINUTE
    assert await tables.value("SELECT strikes FROM instagram_pauses") == 1


async def test_a_pause_that_is_on_is_never_shortened(pauses: Pauses, tables: Tables) -> None:
    await pauses.pause("app", "throttled", 3600)
    weaker: list[tuple[PauseReason, float | None]] = [
        ("throttled", 60),
        ("throttled", None),
        ("outage", None),
    ]
    for reason, hold_s in weaker:
        await pauses.pause("app", reason, hold_s)
        assert await pause_length(tables) == HOUR
        assert await tables.pauses() == {"app": "throttled"}


async def test_another_reason_begins_to_count_anew(pauses: Pauses, tables: Tables) -> None:
    for _ in range(4):
        await pauses.pause("app", "throttled", None)
        await tables.run_out()
    await pauses.pause("app", "bad_request", None)
    assert await pause_length(tables) == MINUTE
