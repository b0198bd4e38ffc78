"""Replicas on one database act as one: one flight, one budget, one memory of who is erased."""

import asyncio
import signal
from itertools import cycle

from sandbox.graph.simulator import GraphSimulator
from tests.replicas.conftest import SpawnAll
from tests.service.conftest import ACCOUNT, LOCATION, TOKEN, Client, Database, new_user
from tests.service.slots import most_calls_allowed, note_slots
from tests.until import until

BUDGET = 25


async def all_resolved(client: Client, users: list[str]) -> None:
    await asyncio.gather(*(client.until_state(user, "resolved") for user in users))


async def test_duplicates_sent_to_every_replica_are_one_call_inside_the_budget(
    replicas: SpawnAll, graph: GraphSimulator, db: Database
) -> None:
    await note_slots(db)
    a, b, c = (process.client for process in await replicas(GRAPH_CALLS_PER_SECOND=str(BUDGET)))
    users = [new_user() for _ in range(60)]
    await asyncio.gather(*(client.write(*users) for client in (a, b, c, a, b, c)))
    await graph.wait_for_calls(len(users))
    await all_resolved(b, users)
    assert sorted(call.ig_user_id for call in graph.calls) == sorted(users)
    assert len(users) <= await most_calls_allowed(db, BUDGET)


async def test_a_throttle_met_by_one_replica_stops_all_of_them(
    replicas: SpawnAll, graph: GraphSimulator, db: Database
) -> None:
    clients = [process.client for process in await replicas(GRAPH_CALLS_PER_SECOND="50")]
    graph.set_answer("app_throttle")
    await clients[0].write(new_user())
    await clients[0].until_paused("app", "throttled")
    for client in clients:
        assert await client.pauses() == {"app": "throttled"}
    called = len(graph.calls)
    users = [new_user() for _ in range(12)]
    for user, client in zip(users, cycle(clients), strict=False):
        await client.write(user)
    graph.set_answer(None)
    assert len(graph.calls) == called
    await db.execute("DELETE FROM instagram_pauses")  # an operator knows better
    await all_resolved(clients[1], users)


async def test_a_renewed_token_frees_the_users_of_every_replica(
    replicas: SpawnAll, graph: GraphSimulator
) -> None:
    a, b, c = (process.client for process in await replicas())
    graph.set_answer("token_expired", account=ACCOUNT)
    users = [new_user() for _ in range(6)]
    await a.write(*users[:3])
    await b.write(*users[3:])
    await c.until_paused(f"account:{ACCOUNT}", "token_invalid")
    graph.set_answer(None, account=ACCOUNT)
    await b.connect(token=TOKEN)
    await all_resolved(c, users)
    assert await a.pauses() == {}


async def test_refresh_and_backfill_answer_rightly_whoever_resolves(
    replicas: SpawnAll, graph: GraphSimulator
) -> None:
    a, b, c = (process.client for process in await replicas())
    user = new_user()
    await a.write(user)
    await b.until_state(user, "resolved")
    before = len(graph.calls_for(user))
    refreshed = await b.operator("POST", f"/users/{user}/refresh")
    assert (refreshed.status, refreshed.json["state"]) == (200, "resolved")
    assert len(graph.calls_for(user)) == before + 1
    graph.hold()
    others = [new_user() for _ in range(10)]
    await a.write(*others)  # they are a's, which waits for Graph
    await graph.wait_for_calls(before + 2)
    path = f"/messages/backfill?locationId={LOCATION}"
    filling = asyncio.create_task(c.operator("POST", path))
    graph.release()
    report = (await filling).json
    assert {result["outcome"] for result in report["results"]} <= {"resolved"}
    await all_resolved(b, others)
    assert all(len(graph.calls_for(other)) == 1 for other in others)


async def test_an_erasure_reaches_another_replicas_memory_and_its_call_in_flight(
    replicas: SpawnAll, graph: GraphSimulator, db: Database
) -> None:
    a, b, c = (process.client for process in await replicas())
    remembered, flying = new_user(), new_user()
    await a.write(remembered)
    await a.until_state(remembered, "resolved")
    graph.hold()
    await b.write(flying)
    await graph.wait_for_calls(1, ig_user_id=flying)
    for user in (remembered, flying):
        assert (await c.operator("DELETE", f"/users/{user}")).status == 204
    graph.release()
    await b.until_idle()
    assert await db.fetchval("SELECT count(*) FROM instagram_user_cache") == 0

    async def is_known_again() -> bool:  # a's memory hears of it a moment later
        await a.write(remembered)
        return bool(await db.fetchval("SELECT count(*) FROM instagram_participants"))

    await until(is_known_again)
    await c.until_state(remembered, "resolved")
    assert (await c.identity(flying))["state"] == "unknown"


async def test_what_a_killed_replica_had_in_flight_is_done_by_another(
    replicas: SpawnAll, graph: GraphSimulator, db: Database
) -> None:
    doomed, other = await replicas(2)
    graph.hold()
    users = [new_user() for _ in range(8)]
    await doomed.client.write(*users)
    await graph.wait_for_calls(5)
    await doomed.stop(signal.SIGKILL)
    graph.release()
    leases = "UPDATE instagram_participants SET due_at = now() WHERE due_at > now()"
    await db.execute(leases)  # as if the time of the claims had passed
    await all_resolved(other.client, users)
    assert all(len(graph.calls_for(user)) <= 2 for user in users)
