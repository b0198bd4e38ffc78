"""One flight a user, and turns between accounts."""

import asyncio

from sandbox import samples
from sandbox.graph.simulator import GraphSimulator
from tests.service.conftest import (
    ACCOUNT,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    Client,
    Database,
    Start,
    new_user,
)

DUE_NOW = (
    "INSERT INTO instagram_participants (ig_account_id, ig_user_id, due_at)"
    " SELECT $1, u, now() - interval '1 min' FROM unnest($2::text[]) AS u"
)


async def test_a_thousand_messages_of_one_user_are_one_call(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    await asyncio.gather(*(client.write(*[user] * 50) for _ in range(20)))
    await client.until_state(user, "resolved")
    await client.until_idle()
    assert len(graph.calls) == 1


async def test_a_user_who_writes_on_during_the_call_is_not_called_again(
    client: Client, start: Start, graph: GraphSimulator
) -> None:
    user, other = new_user(), await start()
    graph.set_latency(300)
    await client.write(user)
    await graph.wait_for_calls(1)
    await asyncio.gather(*(replica.write(user) for replica in (client, other) for _ in range(20)))
    await client.until_state(user, "resolved")
    await client.until_idle()
    await other.until_idle()
    assert len(graph.calls) == 1


async def test_the_same_users_on_two_replicas_are_called_once_each(
    client: Client, start: Start, graph: GraphSimulator
) -> None:
    other, users = await start(), [new_user() for _ in range(20)]
    await asyncio.gather(*(replica.write(*users) for replica in (client, other) * 3))
    await asyncio.gather(*(client.until_state(user, "resolved") for user in users))
    await client.until_idle()
    await other.until_idle()
    assert sorted(call.ig_user_id for call in graph.calls) == sorted(users)


async def test_a_user_of_two_accounts_is_called_once(client: Client, graph: GraphSimulator) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    user = new_user()
    graph.set_latency(100)
    await asyncio.gather(client.write(user), client.write(user, account=OTHER_ACCOUNT))
    await client.until_state(user, "resolved")
    await client.until_idle()
    assert len(graph.calls) == 1


async def test_one_accounts_flood_does_not_delay_another_accounts_user(
    start: Start, graph: GraphSimulator
) -> None:
    client = await start(graph_calls_per_second=50)
    await client.connect()
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    await client.write(*[new_user() for _ in range(400)])
    await graph.wait_for_calls(10)
    lone = new_user()
    await client.write(lone, account=OTHER_ACCOUNT)
    before = len(graph.calls)
    await graph.wait_for_calls(1, ig_user_id=lone)
    order = [call.ig_user_id for call in graph.calls]
    assert order.index(lone) <= before + 20, "no more than what the workers held already"


async def test_two_floods_take_turns(start: Start, graph: GraphSimulator) -> None:
    client = await start(graph_calls_per_second=50)
    await client.connect()
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    await client.write(*[new_user() for _ in range(60)])
    await client.write(*[new_user() for _ in range(60)], account=OTHER_ACCOUNT)
    arrived = len(graph.calls)
    await graph.wait_for_calls(arrived + 70)
    accounts = [call.ig_account_id for call in graph.calls[arrived + 20 : arrived + 70]]
    assert 20 <= accounts.count(OTHER_ACCOUNT) <= 30


async def test_a_live_message_goes_before_what_had_been_waiting(
    start: Start, graph: GraphSimulator, db: Database
) -> None:
    waiting = [new_user() for _ in range(100)]
    await db.execute(DUE_NOW, ACCOUNT, waiting)
    client = await start(graph_calls_per_second=40)
    await client.connect()
    await graph.wait_for_calls(5)
    live = new_user()
    await client.write(live)
    before = len(graph.calls)
    await graph.wait_for_calls(1, ig_user_id=live)
    order = [call.ig_user_id for call in graph.calls]
    assert order.index(live) <= before + 20


async def test_a_throttled_account_holds_no_worker(start: Start, graph: GraphSimulator) -> None:
    client = await start(graph_concurrency=2)
    await client.connect()
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    graph.set_answer("buc_throttle", account=ACCOUNT)
    await client.write(*[new_user() for _ in range(20)])
    await client.until_paused(f"account:{ACCOUNT}", "throttled")
    user = new_user()
    await client.deliver(samples.message(user, OTHER_ACCOUNT), account=OTHER_ACCOUNT)
    await client.until_state(user, "resolved")
    assert len([call for call in graph.calls if call.ig_account_id == ACCOUNT]) <= 4


async def test_users_beyond_the_queues_capacity_are_resolved_too(
    start: Start, graph: GraphSimulator
) -> None:
    client = await start(queue_capacity=5)
    await client.connect()
    users = [new_user() for _ in range(12)]
    await client.write(*users)
    await asyncio.gather(*(client.until_state(user, "resolved") for user in users))
    assert len(graph.calls) == 12
