"""Connections: created, listed without their tokens, replaced and removed."""

import json

import pytest

from sandbox import samples
from sandbox.graph.simulator import GraphSimulator
from service.accounts import token_checks
from tests.service.conftest import (
    ACCOUNT,
    LOCATION,
    OTHER_ACCOUNT,
    OTHER_LOCATION,
    OTHER_TOKEN,
    TOKEN,
    Client,
    Database,
    Start,
    new_user,
)
from tests.until import until

GOOD = {"locationId": LOCATION, "accessToken": TOKEN}


async def put(client: Client, account: str, body: object) -> int:
    answer = await client.operator("PUT", f"/connections/{account}", json=body)
    if answer.status != 200:
        answer.assert_problem(answer.status)
    assert TOKEN.encode() not in answer.body
    return answer.status


async def test_a_connection_is_created_and_listed_without_its_token(
    start: Start, graph: GraphSimulator
) -> None:
    graph.add_token(TOKEN, ig_account_id=ACCOUNT, login="instagram")
    client = await start()
    assert (await client.operator("GET", "/connections")).json == {"connections": []}
    made = await client.connect(aliasIds=["9002", "9001"], login="instagram")
    assert {**made, "aliasIds": sorted(made["aliasIds"])} == made | {
        "igAccountId": ACCOUNT,
        "aliasIds": ["9001", "9002"],
        "locationId": LOCATION,
        "login": "instagram",
        "tokenStatus": "active",
        "pausedUntil": None,
        "pauseReason": None,
    }
    listed = await client.operator("GET", "/connections")
    assert listed.json == {"connections": [made]}
    assert TOKEN.encode() not in listed.body


async def test_the_token_is_encrypted_at_rest(client: Client, db: Database) -> None:
    assert (await client.connection())["tokenStatus"] == "active"
    rows = await db.fetch("SELECT to_jsonb(k)::text FROM instagram_connections k")
    assert len(rows) == 1
    assert TOKEN not in rows[0][0]


async def test_a_put_replaces_the_whole_connection(client: Client, graph: GraphSimulator) -> None:
    graph.add_token("IGAA-token", ig_account_id=ACCOUNT, login="instagram")
    await client.connect(aliasIds=["9001"], login="instagram", accessToken="IGAA-token")
    await client.connect(location="loc_7")
    connection = await client.connection()
    assert connection["locationId"] == "loc_7"
    assert (connection["aliasIds"], connection["login"]) == ([], "facebook")


async def test_a_removed_connection_is_gone_and_its_users_wait(
    client: Client, graph: GraphSimulator
) -> None:
    assert (await client.operator("DELETE", f"/connections/{ACCOUNT}")).status == 204
    (await client.operator("DELETE", f"/connections/{ACCOUNT}")).assert_problem(404)
    assert (await client.operator("GET", "/connections")).json == {"connections": []}
    user = new_user()
    await client.write(user)
    await client.until_reason(user, "no_connection")
    assert graph.calls == []


@pytest.mark.parametrize(
    "changed",
    [
        {"locationId": None},
        {"locationId": ""},
        {"locationId": 7},
        {"locationId": "a\x00b"},
        {"accessToken": None},
        {"accessToken": ""},
        {"accessToken": "two words"},
        {"accessToken": "a\nb"},
        {"login": "google"},
        {"login": None},
        {"aliasIds": "9001"},
        {"aliasIds": ["x"]},
        {"aliasIds": [None]},
        {"aliasIds": ["1" * 33]},
    ],
    ids=json.dumps,
)
async def test_a_body_that_does_not_fit_is_400(client: Client, changed: dict[str, object]) -> None:
    assert await put(client, OTHER_ACCOUNT, GOOD | changed) == 400


async def test_bodies_that_are_no_objects_are_400(client: Client) -> None:
    for body in (b"", b"[]", b"null", b"7", b"{", b"\xff", b"[" * 100_000, b'"x"'):
        answer = await client.operator("PUT", f"/connections/{OTHER_ACCOUNT}", data=body)
        answer.assert_problem(400)
    for missing in GOOD:
        lacking = {name: value for name, value in GOOD.items() if name != missing}
        assert await put(client, OTHER_ACCOUNT, lacking) == 400


@pytest.mark.parametrize("token", ["two words", "a\tb", "kéy", " "])
async def test_a_token_that_can_be_none_is_refused_in_words(client: Client, token: str) -> None:
    body = GOOD | {"accessToken": token}
    answer = await client.operator("PUT", f"/connections/{OTHER_ACCOUNT}", json=body)
    answer.assert_problem(400)
    assert answer.json["detail"].startswith("accessToken ")
    assert "regex" not in answer.json["detail"]


async def test_no_refusal_of_a_body_shows_a_regular_expression(client: Client) -> None:
    body = GOOD | {"locationId": "loc_1 "}
    answer = await client.operator("PUT", f"/connections/{OTHER_ACCOUNT}", json=body)
    answer.assert_problem(400)
    assert "regex" not in answer.json["detail"]
    assert "$.locationId" in answer.json["detail"]


async def test_blanks_around_a_token_are_cut_off(client: Client) -> None:
    await client.connect(token=f" {TOKEN}\n")
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")


async def test_an_account_is_created_only_if_it_is_not_connected(client: Client) -> None:
    once = {"If-None-Match": "*"}
    for account, status in ((ACCOUNT, 412), (OTHER_ACCOUNT, 200), (OTHER_ACCOUNT, 412)):
        answer = await client.operator("PUT", f"/connections/{account}", json=GOOD, headers=once)
        assert answer.status == status
    assert (await client.connection())["locationId"] == LOCATION


async def test_location_and_aliases_are_changed_and_the_token_stays(
    client: Client, db: Database
) -> None:
    """So an account that nobody had connected becomes another id of one that is."""
    user = new_user()
    await client.write(user, account="9001")
    await client.until_paused("account:9001", "no_connection")
    sealed = await db.fetchval("SELECT access_token FROM instagram_connections")
    path = f"/connections/{ACCOUNT}"
    changed = (await client.operator("PATCH", path, json={"aliasIds": ["9001"]})).json
    assert (changed["aliasIds"], changed["locationId"]) == (["9001"], LOCATION)
    await client.until_state(user, "resolved")
    assert await client.pauses() == {}
    moved = (await client.operator("PATCH", path, json={"locationId": "loc_7"})).json
    assert (moved["aliasIds"], moved["locationId"]) == (["9001"], "loc_7")
    assert await db.fetchval("SELECT access_token FROM instagram_connections") == sealed


async def test_a_change_that_can_not_be_is_refused(client: Client) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    path = f"/connections/{ACCOUNT}"
    for body, status in (
        ({"aliasIds": [OTHER_ACCOUNT]}, 409),
        ({"aliasIds": ["x"]}, 400),
        ({"accessToken": "EAAG"}, 400),
        ({"locationId": ""}, 400),
    ):
        (await client.operator("PATCH", path, json=body)).assert_problem(status)
    (await client.operator("PATCH", "/connections/404", json={})).assert_problem(404)


async def test_a_pause_is_lifted_and_the_next_call_decides(
    client: Client, graph: GraphSimulator
) -> None:
    graph.set_answer("token_expired", account=ACCOUNT)
    user = new_user()
    await client.write(user)
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    graph.set_answer(None, account=ACCOUNT)
    lifted = await client.operator("DELETE", f"/pauses/account:{ACCOUNT}")
    assert (lifted.status, lifted.body) == (204, b"")
    await client.until_state(user, "resolved")
    assert (await client.connection())["tokenStatus"] == "active"
    for scope, status in ((f"account:{ACCOUNT}", 404), ("app", 404), ("account:x", 400)):
        (await client.operator("DELETE", f"/pauses/{scope}")).assert_problem(status)


async def test_a_connection_tells_when_one_of_its_latest_writers_got_a_name(
    client: Client,
) -> None:
    assert (await client.connection())["lastNamedAt"] is None
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    assert (await client.connection())["lastNamedAt"] is not None


async def test_an_account_id_that_is_not_digits_is_400(client: Client) -> None:
    for account in ("x", "1" * 33, "%D9%A1", "1%00"):
        assert await put(client, account, GOOD) == 400
        (await client.operator("DELETE", f"/connections/{account}")).assert_problem(400)


async def test_an_id_belongs_to_one_connection(client: Client) -> None:
    await client.connect(aliasIds=["9001"])
    for account, aliases in (("9001", []), (OTHER_ACCOUNT, ["9001"]), (OTHER_ACCOUNT, [ACCOUNT])):
        status = await put(client, account, GOOD | {"aliasIds": aliases})
        assert status in {400, 409}, (account, aliases)
    assert await client.connection() == await client.connection(ACCOUNT)


async def test_what_was_stored_before_the_connection_is_put_right(
    start: Start, db: Database
) -> None:
    client = await start()
    user = new_user()
    await client.deliver(samples.message(user, "9001"), account="9001")
    await client.deliver(samples.message(OTHER_ACCOUNT, ACCOUNT))
    await client.connect(aliasIds=["9001"])
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    await client.until_state(user, "resolved")
    rows = await db.fetch("SELECT ig_account_id, ig_user_id FROM instagram_participants")
    assert [tuple(row) for row in rows] == [(ACCOUNT, user)]
    assert (await client.identity(OTHER_ACCOUNT))["state"] == "unknown"


async def test_a_connection_by_hand_is_heard_of(
    client: Client, db: Database, graph: GraphSimulator
) -> None:
    """As when a row is copied from another database: the token was sealed for this account."""
    sealed = await db.fetchval("SELECT access_token FROM instagram_connections")
    await db.execute("DELETE FROM instagram_connections")
    user = new_user()
    await client.write(user)
    await client.until_reason(user, "no_connection")
    await db.execute(
        "INSERT INTO instagram_connections (ig_account_id, location_id, access_token)"
        " VALUES ($1, 'loc_1', $2)",
        ACCOUNT,
        sealed,
    )
    await client.operator("PUT", f"/connections/{ACCOUNT}", json=GOOD)
    await client.until_state(user, "resolved")
    assert len(graph.calls) == 1


async def test_a_token_that_no_key_opens_pauses_its_account_and_charges_nobody(
    client: Client, db: Database, graph: GraphSimulator
) -> None:
    await db.execute("UPDATE instagram_connections SET access_token = 'v1.00000000.AAAA'")
    user = new_user()
    await client.write(user)
    identity = await client.until_reason(user, "token_invalid")
    assert (identity["state"], identity["failCount"]) == ("pending", 0)
    assert graph.calls == []


async def test_a_removed_account_takes_the_people_along_who_wrote_to_it_alone(
    client: Client, db: Database
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN, OTHER_LOCATION)
    alone, shared = new_user(), new_user()
    await client.write(alone, shared)
    await client.write(shared, account=OTHER_ACCOUNT)
    for user in (alone, shared):
        await client.until_state(user, "resolved")
    answer = await client.operator("DELETE", f"/connections/{ACCOUNT}?erase=true")
    assert answer.status == 204
    assert (await client.identity(alone))["state"] == "unknown"
    assert (await client.identity(shared))["state"] == "resolved"
    accounts = "SELECT DISTINCT ig_account_id FROM instagram_participants"
    assert [row[0] for row in await db.fetch(accounts)] == [OTHER_ACCOUNT]


async def test_a_person_who_was_erased_and_writes_again_is_new(client: Client) -> None:
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    await client.operator("DELETE", f"/connections/{ACCOUNT}?erase=true")
    await client.connect()
    await client.write(user)
    await client.until_state(user, "resolved")


async def test_a_token_that_meta_calls_dead_is_refused_with_metas_words(
    client: Client, graph: GraphSimulator
) -> None:
    graph.set_answer("password_changed", token="EAAG-a-dead-token")
    body = GOOD | {"accessToken": "EAAG-a-dead-token", "locationId": "elsewhere"}
    answer = await client.operator("PUT", f"/connections/{ACCOUNT}", json=body)
    detail = answer.assert_problem(422)["detail"]
    assert detail.startswith("Meta refuses this token: Error validating access token")
    assert "(code 190, subcode 460)" in detail
    assert (await client.connection())["locationId"] == LOCATION


async def test_a_token_is_stored_untested_while_meta_is_out_of_reach(
    client: Client, graph: GraphSimulator
) -> None:
    assert (await client.connection())["tokenCheckedAt"] is not None
    graph.set_answer("http_503")
    connection = await client.connect(token=OTHER_TOKEN)
    assert connection["tokenCheckedAt"] is None


async def test_a_new_token_is_tried_although_its_account_is_paused(
    client: Client, graph: GraphSimulator
) -> None:
    graph.set_answer("token_expired", token=TOKEN)
    await client.write(new_user())
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    graph.add_token("EAAG-a-new-token", ig_account_id=ACCOUNT)
    connection = await client.connect(token="EAAG-a-new-token")
    assert connection["tokenCheckedAt"] is not None
    assert connection["pauseReason"] is None


async def test_a_connection_can_be_created_only_where_there_is_none(client: Client) -> None:
    create = {"If-None-Match": "*"}
    body = GOOD | {"locationId": "elsewhere"}
    answer = await client.operator("PUT", f"/connections/{ACCOUNT}", json=body, headers=create)
    answer.assert_problem(412)
    assert (await client.connection())["locationId"] == LOCATION
    body |= {"accessToken": OTHER_TOKEN}
    path = f"/connections/{OTHER_ACCOUNT}"
    assert (await client.operator("PUT", path, json=body, headers=create)).status == 200
    odd = await client.operator("PUT", path, json=body, headers={"If-None-Match": '"x"'})
    odd.assert_problem(400)


@pytest.mark.usefixtures("production_limits")
async def test_a_connections_token_is_checked_soon_and_its_account_named(
    start: Start, graph: GraphSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_checks, "SOON_S", 0.0)
    client = await start()
    await client.connect()

    async def is_named() -> bool:
        return (await client.connection())["username"] is not None

    await until(is_named)
    connection = await client.connection()
    assert connection["username"] == graph.world.profile(ACCOUNT)["username"]
    assert "instagram_basic" in connection["scopes"]
