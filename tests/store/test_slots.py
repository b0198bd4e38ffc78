import asyncio
import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import Any, cast

import pytest
import pytest_asyncio
from hypothesis import given as drawn
from hypothesis import strategies as st

from service.store.claims import Claims
from service.store.database import Database
from service.store.pauses import Pauses
from service.store.queries import read_queries
from service.store.slots import FIRST_READINGS, PROBE, Reservation, ServerClock, Slots
from tests.strategies import in_jumping_time

from .tables import ACCOUNT, HOUR, MINUTE, NOW, OTHER_ACCOUNT, PROFILE, SECOND, Tables, taken

SCOPE = f"account:{ACCOUNT}"
INTERVAL_S = 0.02
INTERVAL = timedelta(seconds=INTERVAL_S)
HORIZON = timedelta(seconds=1)
_BUDGET = read_queries("budget")


@pytest_asyncio.fixture(loop_scope="module")
async def granted(tables: Tables) -> Tables:
    """Write down every slot that is given, to the microsecond."""
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
    """Ask for slots on every replica at once; on each they are asked for together."""
    all_slots = [Slots(database, interval_s) for database in replicas]
    return await asyncio.gather(
        *(slots.reserve(ACCOUNT) for _ in range(each) for slots in all_slots)
    )


async def reserve_raw(database: Database, count: int) -> list[float]:
    """Take slots as the server's times, exactly."""
    rows = await database.fetch(_BUDGET["reserve_together"], INTERVAL, HORIZON, [SCOPE] * count)
    return [row["at_s"] for row in rows]


async def given(granted: Tables) -> list[datetime]:
    return await granted.column("SELECT next_at FROM slots ORDER BY n")


def gaps(moments: Sequence[datetime]) -> list[timedelta]:
    return [later - earlier for earlier, later in itertools.pairwise(moments)]


# The budget


async def test_slots_are_an_interval_apart_over_all_replicas(
    replicas: list[Database], slots: Slots
) -> None:
    await slots.reserve(ACCOUNT)
    taken = await asyncio.gather(
        *(reserve_raw(database, count) for database in replicas for count in (1, 2, 3, 4))
    )
    moments = sorted(itertools.chain.from_iterable(taken))
    assert len(moments) == 10 * len(replicas)
    assert min(b - a for a, b in itertools.pairwise(moments)) >= INTERVAL_S - 1e-6


async def test_who_asks_together_is_served_in_the_order_of_asking(slots: Slots) -> None:
    await slots.reserve(ACCOUNT)  # the first ever makes the row
    taken = await asyncio.gather(*(slots.reserve(ACCOUNT) for _ in range(20)))
    times = [slot.at_s for slot in taken if slot.at_s is not None]
    assert len(times) == 20
    assert times == sorted(times)


async def test_whom_a_pause_concerns_is_judged_apart_from_those_who_ask_together(
    slots: Slots, tables: Tables
) -> None:
    await tables.pause(SCOPE, "permission", HOUR)
    paused, free = await asyncio.gather(slots.reserve(ACCOUNT), slots.reserve(OTHER_ACCOUNT))
    assert (paused.at_s, paused.paused_by) == (None, "permission")
    assert free.at_s is not None


async def test_no_slot_is_further_ahead_than_the_horizon(
    replicas: list[Database], granted: Tables
) -> None:
    slots = await reserve_many(replicas, each=25, interval_s=0.2)
    refused = [slot for slot in slots if slot.at_s is None]
    assert len(refused) > 50
    assert all(slot.full_for_s is not None for slot in refused)
    latest_s = asyncio.get_running_loop().time() + 1
    assert all(slot.at_s <= latest_s for slot in slots if slot.at_s is not None)
    interval = timedelta(seconds=0.2)
    assert await granted.value("SELECT max(next_at - given_at) FROM slots") <= HORIZON + interval


async def test_a_slow_budget_reserves_one_interval_ahead(
    database: Database, granted: Tables
) -> None:
    slow = Slots(database, 60)
    slots = [await slow.reserve(ACCOUNT) for _ in range(3)]
    assert [slot.at_s is not None for slot in slots] == [True, True, False]
    assert gaps(await given(granted)) == [MINUTE]


async def test_what_was_not_used_is_not_saved_up(replicas: list[Database], granted: Tables) -> None:
    await granted.insert("instagram_budget", scope="app", next_at=-HOUR)
    await reserve_many(replicas, each=5)
    moments = await given(granted)
    assert min(gaps(moments[1:])) >= INTERVAL


async def test_a_slower_pace_holds_on_every_replica(
    replicas: list[Database], granted: Tables
) -> None:
    await Pauses(replicas[0]).set_pace(0.25)
    assert await Pauses(replicas[1]).read_wait() == (0.0, 0.25)
    await reserve_many(replicas, each=2)
    moments = (await given(granted))[1:]
    assert min(gaps(moments)) >= 4 * INTERVAL


async def test_the_pace_lasts_a_minute(pauses: Pauses, slots: Slots, granted: Tables) -> None:
    await pauses.set_pace(0.25)
    left = "SELECT paced_until - now() <= interval '1 minute' FROM instagram_budget"
    assert await granted.value(left)
    await granted.execute("UPDATE instagram_budget SET paced_until = now() - interval '1 s'")
    await slots.reserve(ACCOUNT)
    assert (await pauses.read_wait())[1] == 1


async def test_a_clock_that_was_set_back_does_not_stop_the_service(
    slots: Slots, granted: Tables
) -> None:
    await granted.insert("instagram_budget", scope="app", next_at=3650 * 24 * HOUR)
    slot = await slots.reserve(ACCOUNT)
    assert slot.at_s is not None
    assert slot.at_s <= asyncio.get_running_loop().time() + 1
    ahead = "SELECT next_at - now() <= interval '2 s' FROM instagram_budget"
    assert await granted.value(ahead)


async def test_an_unused_budget_has_no_wait(pauses: Pauses) -> None:
    assert await pauses.read_wait() == (0.0, 1.0)


# Pauses and probes


@pytest.mark.parametrize("scope", ["app", SCOPE])
async def test_a_pause_holds_on_every_replica_at_once(
    replicas: list[Database], tables: Tables, scope: str
) -> None:
    await reserve_many(replicas, each=1)
    await Pauses(replicas[0]).pause(scope, "throttled", 60)
    slots = await reserve_many(replicas, each=5)
    assert {(p.at_s, p.paused_by, p.paused_scope) for p in slots} == {(None, "throttled", scope)}
    assert await tables.pauses() == {scope: "throttled"}


async def test_a_pause_of_one_account_is_not_anothers(slots: Slots, tables: Tables) -> None:
    await tables.pause(SCOPE, "throttled", HOUR)
    slot = await slots.reserve(OTHER_ACCOUNT)
    assert slot.at_s is not None
    assert not slot.is_probe


async def test_of_two_pauses_the_longer_is_named(slots: Slots, tables: Tables) -> None:
    await tables.pause("app", "outage", MINUTE)
    await tables.pause(SCOPE, "permission", HOUR)
    assert (await slots.reserve(ACCOUNT)).paused_by == "permission"


@pytest.mark.parametrize("scopes", [["app"], [SCOPE], ["app", SCOPE]])
async def test_a_pause_that_has_run_out_lets_exactly_one_probe_through(
    replicas: list[Database], tables: Tables, scopes: list[str]
) -> None:
    for scope in scopes:
        await tables.pause(scope, "outage", -SECOND)
    slots = await reserve_many(replicas, each=10)
    allowed = [slot for slot in slots if slot.at_s is not None]
    assert [slot.is_probe for slot in allowed] == [True]
    later = await reserve_many(replicas, each=2)
    assert {(slot.at_s, slot.paused_by) for slot in later} == {(None, "outage")}


async def test_a_probe_that_never_answers_is_followed_by_another(
    replicas: list[Database], tables: Tables
) -> None:
    await tables.pause("app", "outage", -SECOND)
    for _ in range(3):
        slots = await reserve_many(replicas, each=3)
        assert sum(slot.at_s is not None for slot in slots) == 1
        left = await tables.value("SELECT probing_until - now() FROM instagram_pauses")
        assert NOW < left <= PROBE
        await tables.run_out()


async def test_a_probe_may_have_its_second_try_and_nobody_else_may(
    slots: Slots, tables: Tables
) -> None:
    await tables.pause("app", "outage", -SECOND)
    assert (await slots.reserve(ACCOUNT)).is_probe
    second = await slots.reserve(ACCOUNT, is_probe=True)
    assert second.at_s is not None
    assert (await slots.reserve(ACCOUNT)).paused_by == "outage"


async def test_a_second_try_obeys_a_pause_made_meanwhile(
    slots: Slots, pauses: Pauses, tables: Tables
) -> None:
    await tables.pause("app", "outage", -SECOND)
    await slots.reserve(ACCOUNT)
    await pauses.pause("app", "throttled", 60)
    second = await slots.reserve(ACCOUNT, is_probe=True)
    assert (second.at_s, second.paused_by) == (None, "throttled")


async def test_a_probe_that_finds_the_budget_full_leaves_its_turn_to_the_next(
    slots: Slots, tables: Tables
) -> None:
    await tables.pause(SCOPE, "throttled", -SECOND)
    await tables.insert("instagram_budget", scope="app", next_at=10 * SECOND)
    full = await slots.reserve(ACCOUNT)
    assert (full.at_s, full.paused_by, full.is_probe) == (None, None, False)
    assert full.full_for_s is not None
    assert full.full_for_s > 0
    await tables.execute("UPDATE instagram_budget SET next_at = now()")
    slot = await slots.reserve(ACCOUNT)
    assert slot.is_probe
    assert slot.at_s is not None


async def test_a_success_ends_the_pause_that_had_run_out(
    claims: Claims, slots: Slots, tables: Tables
) -> None:
    await tables.connect()
    await tables.participate()
    for scope in ("app", SCOPE):
        await tables.pause(scope, "outage", -SECOND)
    claim = await taken(claims)
    assert (await slots.reserve(ACCOUNT)).is_probe
    await claims.resolve(claim, PROFILE)
    slot = await slots.reserve(ACCOUNT)
    assert slot.at_s is not None
    assert not slot.is_probe


# The server's clock


@drawn(
    ahead_s=st.floats(-1e9, 1e9),
    trips=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 2)), min_size=1, max_size=30),
)
def test_the_clocks_estimate_is_within_every_round_trip(
    ahead_s: float, trips: list[tuple[float, float]]
) -> None:
    clock, now_s = ServerClock(), 1000.0
    for there_s, back_s in trips:
        clock.read(now_s + there_s + ahead_s, now_s, now_s + there_s + back_s)
        now_s += there_s + back_s + 1
    quickest_s = min(there_s + back_s for there_s, back_s in trips)
    assert abs(clock.in_loop_s(now_s + ahead_s) - now_s) <= quickest_s + 1e-5


@drawn(st.floats(0.1, 1e6) | st.floats(-1e6, -0.1))
def test_a_clock_that_is_set_is_followed_at_once(step_s: float) -> None:
    clock = ServerClock()
    assert not clock.read(500.0, 100.0, 100.001)
    assert clock.read(501.0 + step_s, 101.0, 101.01)
    assert clock.in_loop_s(501.0 + step_s) == pytest.approx(101.0, abs=0.011)


def test_a_new_replica_means_the_same_moment_as_the_server_from_its_first_slot_on() -> None:
    trips_s = chain([(0.0, 0.3), (0.2, 0.0)], repeat((0.0005, 0.0005)))

    class FarDatabase:
        """PostgreSQL, whose first answers take long; its clock is ahead by 500 s."""

        async def fetch(self, *_: object) -> list[dict[str, object]]:
            there_s, back_s = next(trips_s)
            await asyncio.sleep(there_s)
            clock_s = asyncio.get_running_loop().time() + 500
            await asyncio.sleep(back_s)
            told = dict.fromkeys(("paused_by", "paused_scope", "full_for_s"))
            slot = {"is_plain": True, "is_probe": False, "at_s": 1000.0}
            return [{"clock_s": clock_s, **told, **slot}]

    async def main() -> None:
        slots = Slots(cast("Database", FarDatabase()), INTERVAL_S)
        assert (await slots.reserve(ACCOUNT)).at_s == pytest.approx(500, abs=0.0006)

    in_jumping_time(main())


async def test_after_the_clock_was_set_nothing_is_taken_for_as_long_as_slots_lie_ahead(
    database: Database,
) -> None:
    # the first slot ever takes two readings more
    readings = chain(repeat(0.0, FIRST_READINGS + 2), repeat(3600.0))

    class SteppingDatabase:
        """PostgreSQL, whose clock somebody sets an hour ahead."""

        async def fetch(self, *query: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - passed on
            step_s, rows = next(readings), await database.fetch(*query)
            return [{**row, "clock_s": row["clock_s"] + step_s} for row in rows]

    slots = Slots(cast("Database", SteppingDatabase()), INTERVAL_S)
    assert (await slots.reserve(ACCOUNT)).at_s is not None
    for _ in range(2):
        slot = await slots.reserve(ACCOUNT)
        assert slot.at_s is None
        assert slot.full_for_s is not None
        assert 0 < slot.full_for_s <= HORIZON.total_seconds()
