import asyncio
import itertools
import sys

import pytest

from sandbox.graph.world import Thread
from service.commands.meta_import import CALL_EVERY_S, Gate, PausedError
from service.commands.output import Meter
from service.model.freshness import Rules
from service.store.checkup import Checkup
from service.store.conversations import ConversationLimits
from service.store.database import Database
from service.store.pauses import Pauses
from service.store.slots import Slots

from .world import ACCOUNT, LOCATION, World, ago, user

NAMES = """
SELECT c.ig_user_id, c.username, c.source, p.forced AND p.due_at <= now() AS due
FROM instagram_user_cache c JOIN instagram_participants p USING (ig_user_id)
"""
IMPORT = ("participants", "import", "--from-meta", "--location", LOCATION)


async def test_a_locations_conversations_become_participants_inside_the_budget(
    world: World,
) -> None:
    await world.connect()
    listed = [(user(i), ago(hours=2 * i)) for i in range(1, 201)]
    world.graph.set_conversations(ACCOUNT, listed)
    ended = await world.run(*IMPORT, "--days", "10")
    assert ended.code == 0, ended.err
    rows = await world.fetch("SELECT * FROM instagram_participants ORDER BY last_message_at DESC")
    assert {row["ig_user_id"] for row in rows} == {user(i) for i in range(1, 120)}
    assert rows[0]["last_message_at"] == listed[0][1].replace(microsecond=0)
    assert "119 participants stored" in ended.out
    [budget] = await world.fetch("SELECT count(*) FROM instagram_budget")
    assert budget["count"] == 1


async def test_usernames_are_stored_at_once_and_profiles_stay_wanted(world: World) -> None:
    await world.connect()
    listed = [(user(i), ago(hours=i)) for i in range(1, 61)]
    world.graph.set_conversations(ACCOUNT, listed)
    world.graph.set_thread(user(1), ACCOUNT, Thread(username="first.talker"))
    world.graph.set_thread(user(2), ACCOUNT, Thread(hides_username=True))
    await world.fetch(
        "INSERT INTO instagram_user_cache (ig_user_id, username, last_fetched_at, source)"
        " VALUES ($1, 'fresh.profile', now(), 'profile'),"
        " ($2, 'old.profile', now() - interval '8 days', 'profile')",
        user(3),
        user(4),
    )
    ended = await world.run(*IMPORT, "--days", "10")
    assert ended.code == 0, ended.err
    assert "58 users named from the conversations at once" in ended.out
    names = {row["ig_user_id"]: row for row in await world.fetch(NAMES)}
    assert names[user(1)]["username"] == "first.talker"
    assert names[user(1)]["source"] == "conversation"
    assert (names[user(3)]["username"], names[user(3)]["due"]) == ("fresh.profile", False)
    assert names[user(4)]["source"] == "conversation"
    assert user(2) not in names
    assert all(row["due"] for ig_user_id, row in names.items() if ig_user_id != user(3))
    assert len(world.graph.conversations.calls) == 2
    assert world.graph.calls == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("token_expired", f"connections add {ACCOUNT} --location {LOCATION}"),
        ("permission", "instagram_manage_messages"),
        ("policy_block", "has blocked the account's calls"),
        ("redirect", "error of its own"),
        ("http_503", "error of its own"),
        ("html_200", "error of its own"),
    ],
)
async def test_what_meta_refuses_is_said_in_plain_words(
    world: World, answer: str, words: str
) -> None:
    await world.connect()
    world.graph.set_answer(answer, account=ACCOUNT)
    ended = await world.run(*IMPORT)
    assert ended.code == 1
    assert words in ended.err
    assert "Not every conversation was read" in ended.out
    assert world.graph.world.redirects_followed == 0


async def test_a_throttle_pauses_every_replica(world: World) -> None:
    await world.connect()
    world.graph.set_answer("buc_throttle", account=ACCOUNT)
    ended = await world.run(*IMPORT)
    assert ended.code == 1
    assert "calls are paused" in ended.err
    [pause] = await world.fetch("SELECT scope, reason FROM instagram_pauses")
    assert tuple(pause) == (f"account:{ACCOUNT}", "throttled")


async def test_a_location_that_is_unknown_is_said_so(world: World) -> None:
    ended = await world.run(*IMPORT)
    assert ended.code == 2
    assert "connections list" in ended.err


async def test_a_token_that_can_not_be_opened_is_said_so(world: World) -> None:
    await world.connect()
    world.more = {"TOKEN_ENCRYPTION_KEYS": "B" * 43 + "="}
    ended = await world.run(*IMPORT)
    assert ended.code == 1
    assert "TOKEN_ENCRYPTION_KEYS" in ended.err


@pytest.fixture
def meter() -> Meter:
    return Meter("test", sys.stderr)


async def test_calls_of_an_account_keep_their_distance(database_url: str, meter: Meter) -> None:
    async with Database.connect(database_url, pool_size=2) as database:
        gate = Gate(
            ACCOUNT,
            Slots(database, 0.001),
            ConversationLimits(database),
            Pauses(database),
            Checkup(database, Rules()),
            meter,
        )
        loop, starts = asyncio.get_running_loop(), []
        for _ in range(3):
            await gate.allow()
            starts.append(loop.time())
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert min(gaps) >= CALL_EVERY_S * 0.99  # a lower bound: no sleep ends early


async def test_a_long_pause_ends_the_account(database_url: str, meter: Meter) -> None:
    async with Database.connect(database_url, pool_size=2) as database:
        pauses = Pauses(database)
        await pauses.pause(f"account:{ACCOUNT}", "throttled", 3600)
        gate = Gate(
            ACCOUNT,
            Slots(database, 0.001),
            ConversationLimits(database),
            pauses,
            Checkup(database, Rules()),
            meter,
        )
        with pytest.raises(PausedError, match="throttled"):
            await gate.allow()


async def test_a_pause_that_had_run_out_ends_with_a_success(world: World) -> None:
    await world.connect()
    world.graph.set_conversations(ACCOUNT, [(user(i), ago(hours=1)) for i in range(120)])
    await world.fetch(
        "INSERT INTO instagram_pauses (scope, until, reason) VALUES ($1, now(), 'throttled')",
        f"account:{ACCOUNT}",
    )
    ended = await world.run(*IMPORT)
    assert ended.code == 0, ended.err
    assert await world.fetch("SELECT * FROM instagram_pauses") == []
