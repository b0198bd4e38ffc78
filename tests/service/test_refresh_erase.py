"""What operators do to one user: fetch again, and erase."""

import pytest

import service.resolving.on_request
from sandbox.graph.simulator import GraphSimulator
from service.resolving import profile_calls
from tests.answers import Answer
from tests.service.conftest import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    Client,
    Database,
    Start,
    new_user,
)
from tests.until import until

MISSING = "999999999999"


async def refresh(client: Client, user: str) -> Answer:
    return await client.operator("POST", f"/users/{user}/refresh")


async def erase(client: Client, user: str) -> None:
    answer = await client.operator("DELETE", f"/users/{user}")
    assert (answer.status, answer.body) == (204, b"")


async def traces(db: Database, user: str) -> list[str]:
    """Name the tables that hold the user's id anywhere."""
    tables = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = []
    for (table,) in tables:
        statement = f"SELECT count(*) FROM {table} t WHERE to_jsonb(t)::text LIKE $1"  # noqa: S608
        if await db.fetchval(statement, f"%{user}%"):
            found.append(table)
    return found


async def test_a_refresh_of_a_stopped_user_clears_and_fetches(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_answer("not_found", user=user, times=1)
    await client.write(user)
    await client.until_failed(user)
    await db.execute("UPDATE instagram_user_cache SET fail_count = 5")
    await db.execute("UPDATE instagram_participants SET due_at = NULL")
    answer = await refresh(client, user)
    assert answer.status == 200
    assert (answer.json["state"], answer.json["failCount"]) == ("resolved", 0)
    assert answer.json["reason"] is None


async def test_a_refresh_fetches_what_is_fresh_too(client: Client, graph: GraphSimulator) -> None:
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    graph.set_profile(user, username="renamed")
    assert (await refresh(client, user)).json["displayName"] == "@renamed"


async def test_a_refresh_that_fails_counts_from_one(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_answer("not_found", user=user)
    await client.write(user)
    await client.until_failed(user)
    await db.execute("UPDATE instagram_user_cache SET fail_count = 4")
    answer = await refresh(client, user)
    assert (answer.status, answer.json["failCount"]) == (200, 1)
    assert answer.json["reason"] == "not_found"


async def test_a_refresh_while_the_account_is_paused_gives_what_there_is(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    graph.set_answer("token_expired", account=ACCOUNT)
    await client.write(user)
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    answer = await refresh(client, user)
    assert (answer.status, answer.json["state"]) == (200, "pending")
    assert answer.json["reason"] == "token_invalid"


async def test_a_refresh_that_runs_out_of_time_gives_what_there_is(
    client: Client, graph: GraphSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.resolving.on_request, "REFRESH_WAIT_S", 0.2)
    user = new_user()
    graph.set_latency(350)
    await client.write(user)
    answer = await refresh(client, user)
    assert (answer.status, answer.json["state"]) == (200, "pending")
    await client.until_state(user, "resolved")


async def test_a_refresh_of_nobody_is_404(client: Client, db: Database) -> None:
    (await refresh(client, MISSING)).assert_problem(404)
    await db.execute("INSERT INTO instagram_user_cache (ig_user_id) VALUES ($1)", MISSING)
    (await refresh(client, MISSING)).assert_problem(404)
    (await refresh(client, "x")).assert_problem(400)


async def test_a_refresh_during_the_users_call_waits_for_a_call(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    graph.set_latency(200)
    await client.write(user)
    await graph.wait_for_calls(1)
    answer = await refresh(client, user)
    assert (answer.status, answer.json["state"]) == (200, "resolved")
    await client.until_idle()
    assert len(graph.calls_for(user)) <= 2


async def test_a_user_is_erased_known_or_not(client: Client, db: Database) -> None:
    user = new_user()
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    await client.write(user)
    await client.write(user, account=OTHER_ACCOUNT)
    await client.until_state(user, "resolved")
    for _ in range(2):
        await erase(client, user)
        assert await traces(db, user) == []
        assert (await client.identity(user))["state"] == "unknown"
    await erase(client, MISSING)
    (await client.operator("DELETE", "/users/x")).assert_problem(400)


async def test_what_is_in_flight_when_a_user_is_erased_leaves_nothing(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    resolved, failing, denied = new_user(), new_user(), new_user()
    graph.set_answer("not_found", user=failing)
    graph.set_answer("permission", user=denied)
    graph.set_latency(150)
    await client.write(resolved, failing, denied)
    await graph.wait_for_calls(3)
    for user in (resolved, failing, denied):
        await erase(client, user)
    await client.until_idle()
    for user in (resolved, failing, denied):
        assert await traces(db, user) == []
        assert (await client.identity(user))["state"] == "unknown"


async def test_an_upstream_failure_that_waits_for_its_second_try_is_erased_too(
    client: Client, graph: GraphSimulator, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_calls, "SECOND_TRY_S", (0.5, 0.5))
    user = new_user()
    graph.set_answer("http_503", user=user)
    await client.write(user)
    await graph.wait_for_calls(1)
    await erase(client, user)
    await client.until_idle()
    assert await traces(db, user) == []


async def test_an_erased_user_who_was_queued_is_not_called(
    start: Start, graph: GraphSimulator
) -> None:
    client = await start(graph_concurrency=1)
    await client.connect()
    first, queued, last = new_user(), new_user(), new_user()
    graph.set_latency(200)
    await client.write(first, queued, last)
    await graph.wait_for_calls(1)
    await erase(client, queued)
    await client.until_state(last, "resolved")
    assert graph.calls_for(queued) == []


async def test_an_erased_user_who_writes_again_begins_anew_on_every_replica(
    client: Client, start: Start, graph: GraphSimulator
) -> None:
    user, other = new_user(), await start()
    for replica in (client, other):
        await replica.write(user)
        await replica.until_state(user, "resolved")
    await erase(client, user)

    async def is_taken_anew() -> bool:
        await other.write(user)  # nothing is written while it has not heard of the erasure
        return bool((await client.identity(user))["state"] != "unknown")

    await until(is_taken_anew)
    await client.until_state(user, "resolved")
    assert len(graph.calls_for(user)) == 2


@pytest.mark.parametrize(
    "statement", ["DELETE FROM instagram_participants", "TRUNCATE instagram_participants"]
)
async def test_participants_erased_by_hand_are_written_anew(
    client: Client, db: Database, statement: str
) -> None:
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    await db.execute(statement)

    async def is_written_anew() -> bool:
        await client.write(user)
        return bool(await db.fetchval("SELECT count(*) FROM instagram_participants") == 1)

    await until(is_written_anew)
