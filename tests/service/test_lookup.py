"""Looking identities up: their shape, their states, and what a stale one sets going."""

import asyncio
import re
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from sandbox.graph.simulator import GraphSimulator
from service.model.identity import LONGEST_NAME
from tests.service.conftest import ACCOUNT, Client, Database, new_user
from tests.until import until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
EXPIRE = "UPDATE instagram_user_cache SET expires_at = now() - interval '1 s'"


async def stale_identity(client: Client, user: str) -> Any:  # noqa: ANN401 - JSON
    """Give an identity once a change made by hand has been heard of, and it is stale."""
    identity = await client.identity(user)
    return identity if identity["stale"] else None


def unknown(user: str) -> dict[str, Any]:
    return {
        "igUserId": user,
        "displayName": f"@user_{user[-6:]}",
        "username": None,
        "name": None,
        "profilePicUrl": None,
        "state": "unknown",
        "stale": False,
        "lastFetchedAt": None,
        "failCount": 0,
        "lastFailedAt": None,
        "reason": None,
        "source": None,
        "isPlaceholder": True,
        "pictureUrl": None,
    }


async def test_a_user_never_heard_of_is_unknown(client: Client, graph: GraphSimulator) -> None:
    user = new_user()
    answer = await client.inbox(f"/users/{user}")
    assert answer.status == 200
    assert answer.headers["Content-Type"].split(";")[0] == "application/json"
    assert answer.json == unknown(user)
    assert graph.calls == []


async def test_a_participant_is_pending_until_it_is_fetched(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    graph.hold()
    await client.write(user)
    assert await client.identity(user) == unknown(user) | {"state": "pending"}
    graph.release()
    await client.until_state(user, "resolved")


async def test_a_resolved_identity_has_exactly_these_fields(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    graph.set_profile(user, username="jane.doe", name="Jane Doe", profile_pic="https://x.example/p")
    await client.write(user)
    identity = await client.until_state(user, "resolved")
    assert TIME.fullmatch(identity["lastFetchedAt"])
    assert identity == {
        "igUserId": user,
        "displayName": "@jane.doe",
        "username": "jane.doe",
        "name": "Jane Doe",
        "profilePicUrl": "https://x.example/p",
        "state": "resolved",
        "stale": False,
        "lastFetchedAt": identity["lastFetchedAt"],
        "failCount": 0,
        "lastFailedAt": None,
        "reason": None,
        "source": "profile",
        "isPlaceholder": False,
        "pictureUrl": None,
    }


async def test_a_name_without_end_is_cut_where_it_is_read_and_where_it_is_shown(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user, by_hand = new_user(), new_user()
    graph.set_profile(user, username="u" * 100_000, name="n" * 100_000)
    await client.write(user)
    await client.until_state(user, "resolved")
    [stored] = await db.fetch("SELECT username, name FROM instagram_user_cache")
    assert [len(name) for name in stored] == [LONGEST_NAME, LONGEST_NAME]
    await db.execute(
        "INSERT INTO instagram_user_cache (ig_user_id, username, last_fetched_at)"
        " VALUES ($1, repeat('u', 250000), now())",
        by_hand,
    )
    answer = await client.inbox(f"/users?ids={','.join([user, by_hand] * 100)}")
    assert len(answer.body) < 300_000


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "http://x.example/p", "data:image/svg+xml,<svg/>", "https://x/\x1b"],
)
async def test_an_address_that_is_not_https_is_not_passed_on(
    client: Client, db: Database, url: str
) -> None:
    user = new_user()
    await db.execute(
        "INSERT INTO instagram_user_cache (ig_user_id, profile_pic_url, last_fetched_at)"
        " VALUES ($1, $2, now())",
        user,
        url,
    )
    assert (await client.identity(user))["profilePicUrl"] is None


async def test_a_user_whose_retries_stopped_is_failed(client: Client, db: Database) -> None:
    user = new_user()
    await db.execute(
        "INSERT INTO instagram_user_cache (ig_user_id, fail_count, last_failed_at, last_error)"
        " VALUES ($1, 5, now(), $2)",
        user,
        {"reason": "consent_required", "code": 230},
    )
    identity = await client.identity(user)
    assert TIME.fullmatch(identity.pop("lastFailedAt"))
    wanted = unknown(user) | {"state": "failed", "failCount": 5, "reason": "consent_required"}
    del wanted["lastFailedAt"]
    assert identity == wanted


@pytest.mark.parametrize(
    ("profile", "display_name"),
    [
        ({"username": "a_b", "name": "A B"}, "@a_b"),
        ({"username": None, "name": "A B"}, "A B"),
        ({"username": "  ", "name": "A B"}, "A B"),
        ({"username": "", "name": " \t"}, None),
        ({"username": None, "name": None}, None),
        ({"username": "\u200b", "name": "\u200b"}, None),
    ],
)
async def test_the_display_name_is_the_first_that_is_not_blank(
    client: Client, graph: GraphSimulator, profile: dict[str, object], display_name: str | None
) -> None:
    user = new_user()
    graph.set_profile(user, **profile)
    await client.write(user)
    identity = await client.until_state(user, "resolved")
    assert identity["displayName"] == (display_name or f"@user_{user[-6:]}")


async def test_a_short_id_is_its_own_display_name(client: Client) -> None:
    assert (await client.identity("123"))["displayName"] == "@user_123"


async def test_many_come_in_the_order_asked_with_repeats(client: Client) -> None:
    users = [new_user() for _ in range(3)]
    await client.write(*users)
    for user in users:
        await client.until_state(user, "resolved")
    asked = [users[2], "7", users[0], users[2], users[1], "7"]
    answer = await client.inbox(f"/users?ids={','.join(asked)}")
    assert answer.json.keys() == {"users"}
    assert [identity["igUserId"] for identity in answer.json["users"]] == asked
    assert [identity["state"] for identity in answer.json["users"]] == [
        *("resolved", "unknown", "resolved", "resolved", "resolved", "unknown")
    ]


async def test_200_ids_are_answered_and_201_are_not(client: Client) -> None:
    ids = [str(10**31 + number) for number in range(201)]
    answer = await client.inbox(f"/users?ids={','.join(ids[:200])}")
    assert [identity["igUserId"] for identity in answer.json["users"]] == ids[:200]
    (await client.inbox(f"/users?ids={','.join(ids)}")).assert_problem(400)


async def test_lists_of_ids_that_are_not_good_are_400(client: Client) -> None:
    bad = ("", "?ids=", "?ids=,", "?ids=1,", "?ids=1,,2", "?ids=1,x", "?ids=" + "1" * 33)
    for query in (*bad, "?ids=-1", "?ids=1.0", "?ids=%D9%A1", "?ids=1%00", "?ids=1%0A", "?id=1"):
        (await client.inbox(f"/users{query}")).assert_problem(400)


async def test_an_id_that_is_not_good_is_400(client: Client) -> None:
    for user in ("x", "1" * 33, "1a", "-1", "%D9%A1%D9%A2", "1%00", "1%0A", "%20", "%FF"):
        (await client.inbox(f"/users/{user}")).assert_problem(400)


async def test_a_stale_identity_is_served_and_its_refresh_queued(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    await client.write(user)
    before = await client.until_state(user, "resolved")
    await db.execute(EXPIRE)
    graph.set_profile(user, username="renamed")
    stale = await until(partial(stale_identity, client, user))
    assert stale == before | {"stale": True}

    async def is_refreshed() -> bool:
        identity = await client.identity(user)
        return bool(identity["username"] == "renamed" and not identity["stale"])

    await until(is_refreshed)
    assert len(graph.calls_for(user)) == 2


async def test_looking_a_stale_one_up_often_is_one_call(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    users = [new_user() for _ in range(5)]
    await client.write(*users)
    for user in users:
        await client.until_state(user, "resolved")
    await db.execute(EXPIRE)
    graph.log.clear()
    graph.hold()
    for user in users:
        await until(partial(stale_identity, client, user))
    await asyncio.gather(*(client.inbox(f"/users?ids={','.join(users)}") for _ in range(50)))
    await graph.wait_for_calls(5)
    graph.release()
    await client.until_idle()
    assert sorted(call.ig_user_id for call in graph.calls) == sorted(users)


async def test_a_stale_identity_of_a_paused_account_tells_why_it_is_not_fresh(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    await db.execute(EXPIRE)
    graph.set_answer("token_expired", account=ACCOUNT)
    await client.identity(user)
    identity = await client.until_reason(user, "token_invalid")
    assert (identity["state"], identity["stale"]) == ("resolved", True)
    assert identity["failCount"] == 0


async def test_a_fresh_identity_of_a_paused_account_has_no_reason(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    graph.set_answer("token_expired", account=ACCOUNT)
    await client.write(new_user())
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    assert (await client.identity(user))["reason"] is None


async def test_a_stale_identity_without_a_participant_is_served_and_left_alone(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user, marker = new_user(), new_user()
    await db.execute(
        "INSERT INTO instagram_user_cache (ig_user_id, username, last_fetched_at)"
        " VALUES ($1, 'x', now() - $2::interval)",
        user,
        timedelta(days=30),
    )
    identity = await client.identity(user)
    assert (identity["state"], identity["stale"]) == ("resolved", True)
    await client.write(marker)
    await client.until_state(marker, "resolved")
    assert graph.calls_for(user) == []


async def test_looking_up_a_failed_user_makes_no_call(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user, marker = new_user(), new_user()
    graph.set_answer("not_found", user=user)
    await client.write(user)
    await client.until_failed(user)
    await db.execute("UPDATE instagram_user_cache SET fail_count = 5")
    await db.execute("UPDATE instagram_participants SET due_at = NULL")
    assert (await client.identity(user))["state"] == "failed"
    await client.write(marker)
    await client.until_state(marker, "resolved")
    assert len(graph.calls_for(user)) == 1


async def test_a_fresh_identity_is_looked_up_without_a_statement(
    client: Client, db: Database
) -> None:
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")

    async def from_memory() -> float:
        text = (await client.call("GET", "/metrics")).body.decode()
        (line,) = [
            x for x in text.splitlines() if x.startswith("instagram_lookups_from_memory_total ")
        ]
        return float(line.split()[1])

    async def is_remembered() -> bool:
        before = await from_memory()
        await client.identity(user)
        return await from_memory() > before

    await until(is_remembered)
    one = await client.identity(user)
    many = await client.inbox(f"/users?ids={user},{user}")
    assert many.json == {"users": [one, one]}
    await db.execute(
        "UPDATE instagram_user_cache SET username = 'by.hand' WHERE ig_user_id = $1", user
    )

    async def is_changed() -> bool:
        return bool((await client.identity(user))["username"] == "by.hand")

    await until(is_changed)
    assert (await client.operator("DELETE", f"/users/{user}")).status == 204
    assert (await client.identity(user))["state"] == "unknown"
