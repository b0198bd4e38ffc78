import asyncio
from datetime import timedelta

from service.model.calls import PauseReason
from service.store.claims import Claims
from service.store.outcomes import Claim, Settled
from service.store.pauses import MOST_LISTED, Pauses
from service.store.slots import PROBE, Slots

from .tables import (
    ACCOUNT,
    HOUR,
    MINUTE,
    OTHER_ACCOUNT,
    SECOND,
    Tables,
    taken,
    user_id,
)

SCOPE = f"account:{ACCOUNT}"


# What is on


async def test_the_pauses_that_are_on_are_listed_a_probes_too(
    pauses: Pauses, slots: Slots, tables: Tables
) -> None:
    await tables.pause("app", "outage", -SECOND)
    assert await pauses.read() == []
    await slots.reserve(OTHER_ACCOUNT)
    await tables.pause(SCOPE, "throttled", HOUR)
    await tables.execute(
        "INSERT INTO instagram_pauses (scope, reason, until)"
        " VALUES ('account:3', 'no_connection', 'infinity')"
    )
    listed = {pause.scope: pause for pause in await pauses.read()}
    assert set(listed) == {"account:3", SCOPE, "app"}
    assert 0 < listed["app"].left_s <= PROBE.total_seconds()
    assert listed["account:3"].left_s > 10 * 365 * 86400


async def test_however_many_accounts_are_paused_the_apps_pause_is_seen(
    pauses: Pauses, tables: Tables
) -> None:
    """`account:` sorts before `app`, and the list is bounded."""
    await tables.execute(
        "INSERT INTO instagram_pauses (scope, reason, until)"
        " SELECT 'account:' || n, 'throttled', now() + interval '1 hour'"
        " FROM generate_series(1, $1::int + 10) AS n",
        MOST_LISTED,
    )
    await tables.pause("app", "outage", HOUR)
    listed = await pauses.read()
    assert (listed[0].scope, len(listed)) == ("app", MOST_LISTED)


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
