"""Names from conversations, where Meta refuses the profile."""

import pytest

from sandbox.graph.simulator import GraphSimulator
from sandbox.graph.world import Thread
from tests.service.conftest import ACCOUNT, OTHER_ACCOUNT, Client, Database, Start, new_user
from tests.until import until

EXPIRED = "UPDATE instagram_user_cache SET expires_at = now() - interval '1 s'"
SILENT = "UPDATE instagram_participants SET last_message_at = now() - interval '31 days'"


def refuse(graph: GraphSimulator, *users: str, answer: str = "consent_required") -> None:
    """Have Meta refuse profiles of users whose conversations it lists."""
    for user in users:
        graph.set_answer(answer, user=user)
        graph.set_thread(user, ACCOUNT, Thread(username=f"talker.{user[-7:]}"))


def calls(graph: GraphSimulator, user: str) -> tuple[int, int]:
    """Count the profile and the conversation calls about a user."""
    return len(graph.calls_for(user)), len(graph.conversations.calls_for(user))


@pytest.mark.parametrize("answer", ["consent_required", "not_found", "unavailable_551"])
async def test_a_refused_user_is_named_from_the_conversation(
    client: Client, graph: GraphSimulator, db: Database, answer: str
) -> None:
    user = new_user()
    refuse(graph, user, answer=answer)
    await client.write(user)
    identity = await client.until_state(user, "resolved")
    assert identity["displayName"] == f"@talker.{user[-7:]}"
    assert (identity["source"], identity["isPlaceholder"]) == ("conversation", False)
    assert (identity["failCount"], identity["stale"], identity["pictureUrl"]) == (0, False, None)
    assert identity["reason"] == {"unavailable_551": "refused"}.get(answer, answer)
    [call] = graph.conversations.calls
    assert (call.proof, call.token_in_url, call.fields) == ("right", False, "participants")
    stored = await db.fetchrow("SELECT source, raw, last_error FROM instagram_user_cache")
    assert stored is not None
    assert (stored["source"], stored["raw"]) == ("conversation", None)
    assert stored["last_error"]["reason"] == identity["reason"]


async def test_whoever_keeps_writing_costs_nothing_more(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    refuse(graph, user)
    await client.write(user)
    await client.until_state(user, "resolved")
    for _ in range(3):
        await client.write(user)
    await client.until_idle()
    assert calls(graph, user) == (1, 1)


@pytest.mark.parametrize(
    "thread",
    [
        Thread(is_listed=False),
        Thread(hides_username=True),
        Thread(participants=[{"id": ACCOUNT, "username": "the.business"}]),
        Thread(participants=[{"id": "999", "username": "somebody.else"}]),
        Thread(participants=[{"username": "nobody.knows"}]),
        Thread(username=" "),
    ],
)
async def test_a_conversation_that_does_not_show_the_user_names_nobody(
    client: Client, graph: GraphSimulator, thread: Thread
) -> None:
    user = new_user()
    graph.set_answer("consent_required", user=user)
    graph.set_thread(user, ACCOUNT, thread)
    await client.write(user)
    identity = await client.until_failed(user)
    assert (identity["failCount"], identity["reason"]) == (1, "consent_required")
    assert (identity["isPlaceholder"], identity["source"]) == (True, None)
    assert calls(graph, user) == (1, 1)


@pytest.mark.parametrize(
    "thread",
    [Thread(username="jane"), Thread(username="jane", is_business_first=False)],
    ids=["business first", "user first"],
)
async def test_the_user_is_found_wherever_it_stands(
    client: Client, graph: GraphSimulator, thread: Thread
) -> None:
    user = new_user()
    graph.set_answer("consent_required", user=user)
    graph.set_thread(user, ACCOUNT, thread)
    await client.write(user)
    assert (await client.until_state(user, "resolved"))["username"] == "jane"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("permission", "permission"),
        ("buc_throttle", "throttled"),
        ("app_throttle", "throttled"),
        ("bad_field", "bad_request"),
    ],
)
async def test_what_stops_these_calls_stops_them_alone(
    client: Client, graph: GraphSimulator, db: Database, answer: str, reason: str
) -> None:
    first, second, granted = new_user(), new_user(), new_user()
    refuse(graph, first, second)
    graph.set_answer(answer, conversations=ACCOUNT)
    await client.write(first)
    await client.until_failed(first)
    await client.write(second, granted)
    await client.until_failed(second)
    await client.until_state(granted, "resolved")
    assert calls(graph, second) == (1, 0)
    assert await client.pauses() == {}
    row = await db.fetchrow("SELECT * FROM instagram_conversation_limits")
    assert row is not None
    assert (row["ig_account_id"], row["reason"], row["strikes"]) == (ACCOUNT, reason, 1)
    ended = "UPDATE instagram_conversation_limits SET paused_until = now()"
    await db.execute(ended)
    graph.set_answer(None, conversations=ACCOUNT)
    await client.operator("POST", f"/users/{second}/refresh")
    assert (await client.identity(second))["source"] == "conversation"

    async def is_forgotten() -> bool:
        strikes = await db.fetchval("SELECT strikes FROM instagram_conversation_limits")
        return bool(strikes == 0)

    await until(is_forgotten)


async def test_a_new_token_lifts_the_pause(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    refuse(graph, user)
    graph.set_answer("permission", conversations=ACCOUNT)
    await client.write(user)
    await client.until_failed(user)
    graph.set_answer(None, conversations=ACCOUNT)
    await client.connect()
    assert await db.fetchval("SELECT paused_until FROM instagram_conversation_limits") is None
    identity = (await client.operator("POST", f"/users/{user}/refresh")).json
    assert identity["source"] == "conversation"


async def test_a_failure_at_meta_is_the_profiles_failure_and_pauses_nothing(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    refuse(graph, user)
    graph.set_answer("http_503", conversations=ACCOUNT)
    await client.write(user)
    assert (await client.until_failed(user))["failCount"] == 1
    assert calls(graph, user) == (1, 1)
    paused = "SELECT paused_until FROM instagram_conversation_limits"
    assert await db.fetchval(paused) is None


async def test_an_erased_user_is_not_brought_back(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    refuse(graph, user)
    graph.hold()
    await client.write(user)
    await graph.wait_for_calls(1)
    graph.release()
    graph.hold()  # the conversation call
    await graph.conversations.wait_for_calls(1)
    assert (await client.operator("DELETE", f"/users/{user}")).status == 204
    graph.release()
    await client.until_idle()
    assert (await client.identity(user))["state"] == "unknown"
    assert await db.fetchval("SELECT count(*) FROM instagram_user_cache") == 0


async def test_users_silent_for_30_days_are_left_alone(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    await db.execute(SILENT)
    await db.execute("DELETE FROM instagram_user_cache")
    refuse(graph, user)
    answer = await client.operator("POST", f"/users/{user}/refresh")
    assert (answer.json["failCount"], answer.json["reason"]) == (1, "consent_required")
    assert calls(graph, user) == (2, 0)


async def test_a_fresh_profile_is_not_replaced_by_a_conversation(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    await client.write(user)
    known = await client.until_state(user, "resolved")
    refuse(graph, user)
    answer = await client.operator("POST", f"/users/{user}/refresh")
    assert answer.json["failCount"] == 1
    assert (answer.json["username"], answer.json["source"]) == (known["username"], "profile")
    assert calls(graph, user) == (2, 0)


async def test_a_name_and_picture_of_before_are_kept_beside_the_username(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_profile(user, name="Jane Doe", username="before")
    await client.write(user)
    known = await client.until_state(user, "resolved")
    raw = await db.fetchval("SELECT raw FROM instagram_user_cache")
    await db.execute(EXPIRED)
    refuse(graph, user)
    answer = await client.operator("POST", f"/users/{user}/refresh")
    identity = answer.json
    assert (identity["username"], identity["name"]) == (f"talker.{user[-7:]}", "Jane Doe")
    assert identity["profilePicUrl"] == known["profilePicUrl"]
    assert (identity["source"], identity["stale"]) == ("conversation", False)
    assert await db.fetchval("SELECT raw FROM instagram_user_cache") == raw


async def test_a_profile_replaces_a_conversations_name(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    refuse(graph, user)
    await client.write(user)
    await client.until_state(user, "resolved")
    graph.set_answer(None, user=user)
    identity = (await client.operator("POST", f"/users/{user}/refresh")).json
    assert (identity["source"], identity["reason"]) == ("profile", None)
    assert identity["username"] != f"talker.{user[-7:]}"


async def test_a_conversations_fresh_name_is_not_asked_for_again(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    refuse(graph, user)
    await client.write(user)
    await client.until_state(user, "resolved")
    identity = (await client.operator("POST", f"/users/{user}/refresh")).json
    assert (identity["source"], identity["failCount"]) == ("conversation", 0)
    assert calls(graph, user) == (2, 1)


async def test_these_calls_keep_to_both_limits(start: Start, graph: GraphSimulator) -> None:
    replicas = [await start(), await start()]
    await replicas[0].connect()
    users = [new_user() for _ in range(4)]
    refuse(graph, *users)
    for number, user in enumerate(users):
        await replicas[number % 2].write(user)
    for user in users:
        assert (await replicas[0].until_state(user, "resolved"))["source"] == "conversation"
    assert graph.conversations.most_over_budget(2) <= 0
    assert graph.most_over_budget(200) <= 0
    assert {calls(graph, user) for user in users} == {(1, 1)}


async def test_an_account_of_refused_users_does_not_hold_up_another(
    client: Client, graph: GraphSimulator
) -> None:
    refused, other = [new_user() for _ in range(30)], new_user()
    refuse(graph, *refused)
    await client.connect(OTHER_ACCOUNT, "EAAG-token-of-the-other")
    await client.write(*refused)
    await graph.conversations.wait_for_calls(1)
    await client.write(other, account=OTHER_ACCOUNT)
    await client.until_state(other, "resolved")
    assert len(graph.conversations.calls) < len(refused)


async def test_the_second_source_may_be_off(start: Start, graph: GraphSimulator) -> None:
    client = await start(conversation_names=False)
    await client.connect()
    user = new_user()
    refuse(graph, user)
    await client.write(user)
    assert (await client.until_failed(user))["displayName"] == f"@user_{user[-6:]}"
    assert graph.conversations.calls == []
