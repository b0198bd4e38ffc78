"""Backfill: who is a candidate, what the report says, and what stays queued."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import service.resolving.on_request
from sandbox.graph.simulator import GraphSimulator
from tests.answers import Answer
from tests.service.conftest import (
    ACCOUNT,
    LOCATION,
    OTHER_ACCOUNT,
    OTHER_LOCATION,
    OTHER_TOKEN,
    Client,
    Database,
    Start,
    new_user,
)

OUTCOMES = ("resolved", "failed", "queued")


async def backfill(client: Client, query: str = "") -> dict[str, Any]:
    """Ask for a backfill of the location and check the sums of its report."""
    answer = await ask(client, f"locationId={LOCATION}{query}")
    assert answer.status == 200, answer.body
    report: dict[str, Any] = answer.json
    assert report["locationId"] == LOCATION
    assert report["attempted"] == len(report["results"]) <= 50
    assert report["remaining"] == report["candidates"] - report["attempted"]
    for outcome in OUTCOMES:
        assert report[outcome] == sum(r["outcome"] == outcome for r in report["results"])
    for result in report["results"]:
        assert result.keys() == {"igUserId", "outcome", "displayName", "reason"}
    return report


async def ask(client: Client, query: str) -> Answer:
    return await client.operator("POST", f"/messages/backfill?{query}")


def tried(report: dict[str, Any]) -> list[str]:
    return [result["igUserId"] for result in report["results"]]


async def remember(
    db: Database, user: str, *, account: str = ACCOUNT, age: timedelta = timedelta(hours=1)
) -> str:
    """Store a participant that is not due by itself."""
    await db.execute(
        "INSERT INTO instagram_participants VALUES ($1, $2, $3, $3, NULL)",
        account,
        user,
        datetime.now(UTC) - age,
    )
    return user


async def cache(db: Database, user: str, **columns: object) -> None:
    names = ", ".join(("ig_user_id", *columns))
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 2))
    statement = f"INSERT INTO instagram_user_cache ({names}) VALUES ({places})"  # noqa: S608
    await db.execute(statement, user, *columns.values())


async def test_the_fifty_most_recent_are_tried_and_the_rest_remain(
    client: Client, db: Database
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    accounts = (ACCOUNT, OTHER_ACCOUNT)
    users = [
        await remember(db, new_user(), account=accounts[n % 2], age=timedelta(hours=n + 1))
        for n in range(60)
    ]
    first = await backfill(client)
    assert (first["days"], first["candidates"], first["attempted"]) == (7, 60, 50)
    assert (first["resolved"], first["failed"], first["queued"]) == (50, 0, 0)
    assert tried(first) == users[:50]
    names = {(await client.identity(user))["displayName"] for user in users[:50]}
    assert {result["displayName"] for result in first["results"]} == names
    second = await backfill(client)
    assert (second["candidates"], tried(second), second["remaining"]) == (10, users[50:], 0)
    third = await backfill(client)
    assert (third["candidates"], third["results"]) == (0, [])


async def test_only_users_of_the_location_within_the_days_are_candidates(
    client: Client, db: Database
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN, OTHER_LOCATION)
    recent = await remember(db, new_user(), age=timedelta(days=2, hours=23))
    older = await remember(db, new_user(), age=timedelta(days=3, hours=1))
    await remember(db, new_user(), account=OTHER_ACCOUNT)
    assert tried(await backfill(client, "&days=3")) == [recent]
    assert tried(await backfill(client, "&days=90")) == [older]


async def test_a_user_of_two_accounts_is_one_candidate(
    client: Client, db: Database, graph: GraphSimulator
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    user = new_user()
    await remember(db, user)
    await remember(db, user, account=OTHER_ACCOUNT)
    report = await backfill(client)
    assert (report["candidates"], tried(report)) == (1, [user])
    assert len(graph.calls) == 1


async def test_missing_never_fetched_and_expired_identities_are_candidates(
    client: Client, db: Database
) -> None:
    now = datetime.now(UTC)
    users = [await remember(db, new_user(), age=timedelta(hours=n + 1)) for n in range(5)]
    await cache(db, users[1])
    await cache(db, users[2], last_fetched_at=now - timedelta(days=8))
    await cache(
        db,
        users[3],
        last_fetched_at=now - timedelta(days=1),
        expires_at=now - timedelta(hours=1),
    )
    await cache(db, users[4], last_fetched_at=now - timedelta(days=1))
    assert tried(await backfill(client)) == users[:4]


async def test_the_stopped_and_the_waiting_are_left_unless_asked_for(
    client: Client, db: Database
) -> None:
    now = datetime.now(UTC)
    stopped, waiting, over, just_now = [
        await remember(db, new_user(), age=timedelta(hours=n + 1)) for n in range(4)
    ]
    await cache(db, stopped, fail_count=5, last_failed_at=now - timedelta(minutes=11))
    await cache(db, waiting, fail_count=3, last_failed_at=now - timedelta(minutes=30))
    await cache(db, over, fail_count=1, last_failed_at=now - timedelta(minutes=2))
    await cache(db, just_now, fail_count=5, last_failed_at=now - timedelta(minutes=9))
    assert tried(await backfill(client)) == [over]
    left = await backfill(client)
    assert (left["waiting"], left["stopped"], left["paused"]) == (1, 2, 0)
    until_at = datetime.fromisoformat(left["waitingUntil"])
    assert until_at == now + timedelta(minutes=30)
    report = await backfill(client, "&includeFailed=true")
    assert tried(report) == [stopped, waiting, just_now]
    assert report["resolved"] == 3
    assert (report["waiting"], report["stopped"], report["waitingUntil"]) == (0, 0, None)
    assert (await client.identity(stopped))["failCount"] == 0
    assert tried(await backfill(client, "&includeFailed=false")) == []


async def test_a_run_tries_nobody_twice_and_asking_again_reaches_everybody(
    start: Start, db: Database, graph: GraphSimulator
) -> None:
    client = await start(conversation_names=False)  # two calls a second take half a minute
    await client.connect()
    users = [await remember(db, new_user(), age=timedelta(hours=n + 1)) for n in range(55)]
    graph.set_answer("not_found")
    first = await backfill(client, "&includeFailed=true")
    assert tried(first) == users[:50]
    once = f"&includeFailed=true&failedBefore={first['askedAt'].replace('+', '%2B')}"
    second = await backfill(client, once)
    assert (tried(second), second["remaining"]) == (users[50:], 0)
    assert (await backfill(client, once))["candidates"] == 0
    again = await backfill(client, "&includeFailed=true")
    assert (again["candidates"], again["failed"]) == (55, 50)
    for wrong in ("yesterday", "2026-11-22T10:00:00"):
        (await ask(client, f"locationId={LOCATION}&failedBefore={wrong}")).assert_problem(400)


async def test_a_user_who_fails_is_reported_with_the_reason(
    client: Client, db: Database, graph: GraphSimulator
) -> None:
    user = await remember(db, new_user())
    graph.set_answer("consent_required", user=user)
    report = await backfill(client)
    assert report["results"] == [
        {
            "igUserId": user,
            "outcome": "failed",
            "displayName": f"@user_{user[-6:]}",
            "reason": "consent_required",
        }
    ]


async def test_users_of_a_paused_account_are_queued_at_once(
    client: Client, db: Database, graph: GraphSimulator
) -> None:
    users = [await remember(db, new_user(), age=timedelta(hours=n + 1)) for n in range(20)]
    graph.set_answer("token_expired", account=ACCOUNT)
    report = await backfill(client)
    assert (report["attempted"], report["queued"]) == (20, 20)
    assert {result["reason"] for result in report["results"]} == {"token_invalid"}
    again = await backfill(client)
    assert (tried(again), again["queued"], again["paused"]) == (users, 20, 20)
    graph.add_token("EAAG-renewed", ig_account_id=ACCOUNT)
    graph.set_answer(None, account=ACCOUNT)
    await client.connect(token="EAAG-renewed")
    for user in users:
        await client.until_state(user, "resolved")


async def test_what_is_not_finished_in_time_stays_queued(
    client: Client, db: Database, graph: GraphSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.resolving.on_request, "BACKFILL_WAIT_S", 0.2)
    user = await remember(db, new_user())
    graph.set_latency(350)
    report = await backfill(client)
    assert (report["queued"], report["results"][0]["reason"]) == (1, None)
    await client.until_state(user, "resolved")


async def test_days_that_are_not_1_to_90_are_400(client: Client) -> None:
    for days in ("0", "91", "-1", "1.5", "x", "", "%D9%A7", "7%20", "99999999999999999999"):
        (await ask(client, f"locationId={LOCATION}&days={days}")).assert_problem(400)
    for days in ("1", "90"):
        assert (await backfill(client, f"&days={days}"))["days"] == int(days)


async def test_a_location_that_is_unknown_is_404_and_a_missing_one_400(client: Client) -> None:
    (await ask(client, "locationId=loc_9")).assert_problem(404)
    (await ask(client, "days=7")).assert_problem(400)
    (await ask(client, "locationId=%00")).assert_problem(400)


async def test_a_backfill_is_for_operators(client: Client) -> None:
    answer = await client.inbox(f"/messages/backfill?locationId={LOCATION}", "POST")
    answer.assert_problem(403)
