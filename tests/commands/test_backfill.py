import asyncio
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from service.commands.api import ApiError, BackfilledUser, BackfillRound, UnreachableError
from service.commands.backfill import Backfilling
from service.commands.backfill_report import Ending
from service.commands.output import CommandError, Meter

from .world import ACCOUNT, LOCATION, PATIENCE_S, World, user

COMMAND = ("backfill", "--location", LOCATION)


async def test_it_goes_on_until_nobody_is_left_and_tells_the_reasons(world: World) -> None:
    await world.connect()
    await world.participants([user(i) for i in range(60)])
    for number in (3, 50, 59):
        world.graph.set_answer("consent_required", user=user(number))
    world.graph.set_answer("not_found", user=user(7))
    async with world.serving():
        ended = await world.run(*COMMAND)
        again = await world.run(*COMMAND, "--json")
    assert ended.code == 1
    assert "56 resolved, 4 failed, 0 left" in ended.out
    assert "3 users  consent_required: Meta has no consent" in ended.out
    assert "4 people have no fresh name: 4 wait for a retry until" in ended.out
    assert f"backfill --location {LOCATION} --days 7 --include-failed" in ended.out
    assert "of 60 done" in ended.err
    assert again.code == 1
    report = json.loads(again.out)
    assert (report["ended"], report["resolved"], report["remaining"]) == ("some_left", 0, 0)
    assert (report["waiting"], report["stopped"], report["paused"]) == (4, 0, 0)
    assert len(world.graph.calls) == 60


async def test_everybody_who_waits_or_has_stopped_is_tried_once_if_asked_for(world: World) -> None:
    """More than one round, with users that fail again: the run ends and counts those left."""
    world.more = {"CONVERSATION_NAMES": "false"}  # two calls a second take half a minute
    await world.connect()
    await world.participants([user(i) for i in range(70)])
    await world.fetch(
        "INSERT INTO instagram_user_cache (ig_user_id, fail_count, last_failed_at)"
        " SELECT ig_user_id, 1 + (row_number() OVER ())::int % 5, now()"
        " FROM instagram_participants"
    )
    await world.fetch("UPDATE instagram_participants SET due_at = NULL")
    for number in range(60):
        world.graph.set_answer("not_found", user=user(number))
    async with world.serving():
        left = await world.run(*COMMAND)
        assert left.code == 1
        assert "70 people have no fresh name: 56 wait for a retry until" in left.out
        assert "14 have stopped" in left.out
        assert len(world.graph.calls) == 0
        ended = await world.run(*COMMAND, "--include-failed")
    assert len(world.graph.calls) == 70
    assert ended.code == 1
    assert "10 resolved, 60 failed, 0 left" in ended.out
    assert "60 people have no fresh name" in ended.out


async def test_ctrl_c_keeps_what_is_done_and_a_second_run_goes_on(world: World) -> None:
    world.more = {"GRAPH_CALLS_PER_SECOND": "100"}
    await world.connect()
    await world.participants([user(i) for i in range(70)])
    async with world.serving():
        async with world.running(*COMMAND, "--json") as process:
            await world.graph.wait_for_calls(51, timeout_s=PATIENCE_S)
            world.graph.hold()  # so that the second round does not end
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            report = json.loads(await process.stdout.read())
            assert await process.wait() == 130
        assert (report["ended"], report["resolved"]) == ("interrupted", 50)
        world.graph.release()
        ended = await world.run(*COMMAND, "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["ended"] == "done"
    asked = [call.ig_user_id for call in world.graph.calls]
    assert len(set(asked)) == 70
    assert len(set(asked[:50])) == 50
    assert not set(asked[:50]) & set(asked[50:])


async def test_a_paused_account_stops_it_and_says_why(world: World) -> None:
    await world.connect()
    await world.participants([user(i) for i in range(60)])
    world.graph.set_answer("token_expired", account=ACCOUNT)
    async with world.serving():
        ended = await world.run(*COMMAND)
    assert ended.code == 1
    assert "token_invalid: Meta refuses the account's access token" in ended.out
    assert f"doctor --location {LOCATION}" in ended.out


@pytest.mark.parametrize(
    ("more", "location", "words"),
    [
        ({}, "nowhere", "connections list"),
        ({"OPERATOR_API_KEYS": "some-other-key-than-its"}, LOCATION, "OPERATOR_API_KEYS"),
        ({"OPERATOR_API_KEYS": "inbox-key-of-tests"}, LOCATION, "is an inbox key"),
    ],
)
async def test_what_the_service_refuses_is_said_in_plain_words(
    world: World, more: dict[str, str], location: str, words: str
) -> None:
    await world.connect()
    async with world.serving():
        world.more = more
        ended = await world.run("backfill", "--location", location)
        as_json = await world.run("backfill", "--location", location, "--json")
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert as_json.code == 2
    assert words in json.loads(as_json.out)["error"]


async def test_a_service_that_is_down_is_said_so_with_the_setting(world: World) -> None:
    ended = await world.run(*COMMAND)
    assert ended.code == 2
    assert f"does not answer at {world.url}" in ended.err
    assert "SERVICE_URL" in ended.err


async def test_missing_settings_are_named(world: World) -> None:
    world.more = {"OPERATOR_API_KEYS": "short", "SERVICE_URL": "ftp://x"}
    ended = await world.run(*COMMAND)
    assert ended.code == 2
    assert "OPERATOR_API_KEYS" in ended.err
    assert "SERVICE_URL" in ended.err


@dataclass
class Script:
    """A service that answers each round as told, an error by raising it."""

    rounds: Iterator[BackfillRound | CommandError]
    slept: list[float] = field(default_factory=list)

    async def backfill(self, *_: object, **__: object) -> BackfillRound:
        answer = next(self.rounds)
        if isinstance(answer, CommandError):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.slept.append(seconds)


def a_round(remaining: int, **outcomes: str) -> BackfillRound:
    results = [BackfilledUser(name, outcome, "timeout") for name, outcome in outcomes.items()]
    return BackfillRound(remaining + len(results), remaining, results)


async def run(*rounds: BackfillRound | CommandError) -> tuple[Backfilling, Ending, Script]:
    script = Script(iter(rounds))
    work = Backfilling(script, LOCATION, 7, include_failed=True, sleep=script.sleep)
    return work, await work.run(Meter("test", sys.stderr)), script


async def test_who_fails_again_and_again_does_not_keep_it_going() -> None:
    failing = a_round(3, a="failed", b="failed"), a_round(3, a="failed"), a_round(3, b="failed")
    work, ended, _ = await run(*failing)
    assert ended == "no_progress"
    assert work.report(ended).failed == 2


async def test_who_is_resolved_in_the_end_has_not_failed() -> None:
    work, ended, _ = await run(a_round(1, a="failed"), a_round(0, a="resolved", b="resolved"))
    report = work.report(ended)
    assert (ended, report.resolved, report.failed) == ("done", 2, 0)


async def test_what_is_only_queued_is_asked_for_again() -> None:
    work, ended, _ = await run(
        a_round(0, a="resolved", b="queued"), a_round(0, b="queued"), a_round(0, b="resolved")
    )
    assert ended == "no_progress"
    assert work.report(ended).queued_by_reason == {"timeout": 1}


async def test_a_service_that_restarts_meanwhile_is_waited_for() -> None:
    away = UnreachableError("It does not answer.", "Start it."), ApiError("no database", 503, 4)
    _, ended, script = await run(a_round(1, a="resolved"), *away, a_round(0, b="resolved"))
    assert (ended, script.slept) == ("done", [1.0, 4.0])


async def test_a_refusal_in_the_middle_ends_it() -> None:
    with pytest.raises(ApiError, match="no"):
        await run(a_round(1, a="resolved"), ApiError("no", 401))
