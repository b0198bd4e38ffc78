"""The list of people over HTTP, and erasing many of them."""

import pytest

from sandbox.graph.simulator import GraphSimulator
from tests.service.conftest import ACCOUNT, LOCATION, Client, Database, new_user


async def test_the_list_shows_identities_with_accounts_page_by_page(
    client: Client, graph: GraphSimulator
) -> None:
    first, second = new_user(), new_user()
    graph.set_answer("not_found", user=second)
    await client.write(first)
    await client.until_state(first, "resolved")
    await client.write(second)
    await client.until_failed(second)
    answer = await client.operator("GET", "/people?limit=1")
    [person] = answer.json["people"]
    identity = await client.identity(second)
    assert {name: person[name] for name in identity} == identity
    [account] = person["accounts"]
    assert (account["igAccountId"], account["locationId"]) == (ACCOUNT, LOCATION)
    assert person["nextAttemptAt"] > person["lastFailedAt"]
    rest = await client.operator("GET", f"/people?limit=5&cursor={answer.json['next']}")
    assert [each["igUserId"] for each in rest.json["people"]] == [first]
    assert rest.json["next"] is None
    named = await client.operator("GET", "/people?named=true")
    assert [each["igUserId"] for each in named.json["people"]] == [first]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "state=gone",
        "reason=because",
        "named=perhaps",
        "days=0",
        "igAccountId=x",
        "cursor=x",
        "cursor=999999999999999999-1-1",
        f"q={'x' * 65}",
        "q=%00",
    ],
)
async def test_a_filter_that_can_not_be_is_400(client: Client, query: str) -> None:
    answer = await client.operator("GET", f"/people?{query}")
    assert (answer.status, answer.json["status"]) == (400, 400)


async def test_an_inbox_key_lists_nobody(client: Client) -> None:
    assert (await client.inbox("/people")).status == 403
    assert (await client.inbox("/users/erase", "POST", json={"igUserIds": ["1"]})).status == 403


async def test_many_are_erased_at_once_known_or_not(client: Client, db: Database) -> None:
    users = [new_user() for _ in range(3)]
    await client.write(*users)
    for user in users:
        await client.until_state(user, "resolved")
    body = {"igUserIds": [users[0], users[1], users[1], "404"]}
    answer = await client.operator("POST", "/users/erase", json=body)
    assert (answer.status, answer.json) == (200, {"erased": 3})
    for table in ("instagram_user_cache", "instagram_participants"):
        left = await db.fetch(f"SELECT ig_user_id FROM {table}")  # noqa: S608
        assert [row[0] for row in left] == [users[2]]


@pytest.mark.parametrize("ids", [[], ["x"], ["1"] * 1001, "1", None])
async def test_a_list_to_erase_that_can_not_be_is_400(client: Client, ids: object) -> None:
    answer = await client.operator("POST", "/users/erase", json={"igUserIds": ids})
    assert answer.status == 400
