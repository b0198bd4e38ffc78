"""From a message to a name: the call, the answer, and what the tables hold of it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sandbox import samples
from sandbox.graph.simulator import GraphSimulator
from tests.service.conftest import (
    ACCOUNT,
    TOKEN,
    Client,
    Database,
    Spawn,
    Start,
    fetch_row,
    new_user,
)
from tests.service.slots import most_calls_allowed, note_slots
from tests.until import until

CACHED = "SELECT * FROM instagram_user_cache WHERE ig_user_id = $1"


async def test_a_message_becomes_a_name_and_the_whole_answer_is_kept(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_profile(user, username="jane.doe", name="Jane Doe", profile_pic=None)
    await client.write(user)
    identity = await client.until_state(user, "resolved")
    row = await fetch_row(db, CACHED, user)
    assert identity["displayName"] == "@jane.doe"
    assert (row["username"], row["name"], row["profile_pic_url"]) == ("jane.doe", "Jane Doe", None)
    assert row["raw"] == {
        "id": user,
        "username": "jane.doe",
        "name": "Jane Doe",
        "profile_pic": None,
    }
    assert (row["fail_count"], row["last_failed_at"], row["last_error"]) == (0, None, None)
    assert row["expires_at"] - row["last_fetched_at"] == timedelta(days=7)
    due_at = await db.fetchval("SELECT due_at FROM instagram_participants")
    assert due_at is None


async def test_the_call_is_as_meta_wants_it(client: Client, graph: GraphSimulator) -> None:
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    (call,) = graph.calls
    assert (call.ig_user_id, call.ig_account_id, call.host) == (user, ACCOUNT, "facebook")
    assert (call.version, call.fields) == ("v18.0", "name,username,profile_pic")
    assert (call.proof, call.token_in_url) == ("right", False)


async def test_an_instagram_login_is_called_at_its_own_host(
    client: Client, graph: GraphSimulator
) -> None:
    graph.add_token("IGAA-token", ig_account_id=ACCOUNT, login="instagram")
    await client.connect(token="IGAA-token", login="instagram")
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    assert [call.host for call in graph.calls] == ["instagram"]


async def test_the_first_app_secret_makes_the_proof(start: Start, graph: GraphSimulator) -> None:
    graph.world.app_secret = "the-new-secret"
    client = await start(meta_app_secrets="the-new-secret,an-app-secret-for-tests")
    await client.connect()
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    assert [call.proof for call in graph.calls] == ["right"]


@pytest.mark.parametrize(
    ("expires_in", "kept"),
    [
        (timedelta(days=3), timedelta(days=3)),
        (timedelta(hours=1, minutes=5), timedelta(hours=1, minutes=5)),
        (timedelta(minutes=50), timedelta(days=7)),
        (timedelta(days=-1), timedelta(days=7)),
        (timedelta(days=30), timedelta(days=7)),
    ],
)
async def test_an_identity_expires_with_its_picture_if_that_is_sooner(
    client: Client,
    graph: GraphSimulator,
    db: Database,
    expires_in: timedelta,
    kept: timedelta,
) -> None:
    user = new_user()
    oe = int((datetime.now(UTC) + expires_in).timestamp())
    graph.set_profile(user, profile_pic=f"https://cdn.example/p.jpg?a=1&oe={oe:X}&b=2")
    await client.write(user)
    await client.until_state(user, "resolved")
    row = await fetch_row(db, CACHED, user)
    assert abs(row["expires_at"] - row["last_fetched_at"] - kept) < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("answer", "display_name"),
    [
        ("nul_name", None),
        ("surrogate_name", None),
        ("huge_number", None),
        ("long_name", None),
        ("odd_types", "@user_{last6}"),
        ("null_fields", "@user_{last6}"),
        ("blank_fields", "@user_{last6}"),
        ("fields_absent", "@user_{last6}"),
        ("numeric_id", None),
    ],
)
async def test_an_odd_profile_is_stored_as_far_as_it_can_be(
    client: Client, graph: GraphSimulator, db: Database, answer: str, display_name: str | None
) -> None:
    user = new_user()
    graph.set_answer(answer, user=user)
    await client.write(user)
    identity = await client.until_state(user, "resolved")
    if display_name is not None:
        assert identity["displayName"] == display_name.format(last6=user[-6:])
    assert await db.fetchval("SELECT raw->>'id' FROM instagram_user_cache") == user


async def test_a_success_replaces_good_values_null_included(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_profile(user, username="named", name="Name", profile_pic="https://x.example/p")
    await client.write(user)
    before = await client.until_state(user, "resolved")
    assert before["profilePicUrl"] is not None
    graph.set_profile(user, username="renamed", name=None, profile_pic=None)
    await db.execute("UPDATE instagram_user_cache SET expires_at = now() - interval '1 s'")
    await client.write(user)

    async def renamed() -> bool:
        return bool((await client.identity(user))["username"] == "renamed")

    await until(renamed)
    row = await fetch_row(db, CACHED, user)
    assert (row["name"], row["profile_pic_url"]) == (None, None)


async def test_a_failure_never_erases_a_good_name(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    await client.write(user)
    before = await client.until_state(user, "resolved")
    raw = await db.fetchval("SELECT raw FROM instagram_user_cache")
    await db.execute("UPDATE instagram_user_cache SET expires_at = now() - interval '1 s'")
    graph.set_answer("not_found", user=user)
    await client.write(user)
    after = await client.until_failed(user)
    same = ("displayName", "username", "name", "profilePicUrl", "state", "lastFetchedAt")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert (after["stale"], after["reason"], after["failCount"]) == (True, "not_found", 1)
    assert await db.fetchval("SELECT raw FROM instagram_user_cache") == raw


async def test_a_success_ends_the_failures(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_answer("not_found", user=user, times=1)
    await client.write(user)
    await client.until_failed(user)
    await db.execute("UPDATE instagram_participants SET due_at = now()")
    identity = await client.until_state(user, "resolved")
    assert (identity["failCount"], identity["reason"]) == (0, None)
    assert identity["lastFailedAt"] is not None
    assert await db.fetchval("SELECT last_error FROM instagram_user_cache") is None


async def test_a_fresh_identity_is_not_fetched_again(client: Client, graph: GraphSimulator) -> None:
    user, marker = new_user(), new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    await client.write(user)
    await client.deliver(samples.echo(ACCOUNT, user), account=ACCOUNT)
    await client.identity(user)
    await client.write(marker)
    await client.until_state(marker, "resolved")
    assert len(graph.calls_for(user)) == 1


async def test_an_expired_identity_that_writes_is_fetched_again(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    await db.execute("UPDATE instagram_user_cache SET expires_at = now() - interval '1 s'")

    async def is_fetched_again() -> bool:
        await client.write(user)  # until the service has heard of the change made by hand
        return len(graph.calls_for(user)) == 2

    await until(is_fetched_again)
    await client.until_reason(user, None)


async def test_an_expired_identity_that_nobody_asks_for_is_left_alone(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user, marker = new_user(), new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    await db.execute("UPDATE instagram_user_cache SET expires_at = now() - interval '1 s'")
    await db.execute(
        "INSERT INTO instagram_participants (ig_account_id, ig_user_id, due_at)"
        " VALUES ($1, $2, now() - interval '1 s')",
        ACCOUNT,
        marker,
    )
    await client.until_state(marker, "resolved")  # the sweeper has been there
    assert len(graph.calls_for(user)) == 1


async def test_a_row_of_the_handbooks_eight_columns_works(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    fresh, stale = new_user(), new_user()
    for user, age in ((fresh, timedelta(days=6)), (stale, timedelta(days=8))):
        await db.execute(
            "INSERT INTO instagram_user_cache VALUES ($1, 'by.hand', 'By Hand', NULL, $2, 0, NULL,"
            " '{}')",
            user,
            datetime.now(UTC) - age,
        )
    assert not (await client.identity(fresh))["stale"]
    assert (await client.identity(stale))["stale"]
    await client.write(fresh, stale)
    await client.until_reason(stale, None)

    async def is_fresh_again() -> bool:
        return not (await client.identity(stale))["stale"]

    await until(is_fresh_again)
    assert {call.ig_user_id for call in graph.calls} == {stale}


async def test_a_participant_by_hand_is_swept_and_resolved(client: Client, db: Database) -> None:
    user = new_user()
    await db.execute(
        "INSERT INTO instagram_participants (ig_account_id, ig_user_id) VALUES ($1, $2)",
        ACCOUNT,
        user,
    )
    await client.until_state(user, "resolved")


async def test_a_user_without_a_connection_waits_until_there_is_one(
    start: Start, graph: GraphSimulator
) -> None:
    client = await start()
    user = new_user()
    await client.write(user)
    identity = await client.until_reason(user, "no_connection")
    assert (identity["state"], identity["failCount"]) == ("pending", 0)
    assert graph.calls == []
    await client.connect()
    await client.until_state(user, "resolved")


async def test_strangers_on_unconnected_accounts_take_no_turn_and_no_pause(
    client: Client, db: Database
) -> None:
    """Their accounts cost a row each; the users of connected ones do not wait for them."""
    strangers = {f"9917{number:06}": new_user() for number in range(300)}
    entries = [
        samples.entry(account, samples.message(user, account))
        for account, user in strangers.items()
    ]
    assert (await client.post_webhook(samples.delivery(*entries))).status == 200
    queue = (await client.status())["queue"]
    assert (queue["depth"], queue["inFlight"]) == (0, 0)
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    assert await db.fetchval("SELECT count(*) FROM instagram_pauses") == 0
    account, stranger = strangers.popitem()
    assert (await client.identity(stranger))["reason"] == "no_connection"
    assert "no_connection" in (await client.pauses()).values()
    await client.connect(account)
    await client.until_state(stranger, "resolved")


async def test_the_token_that_graph_gets_is_the_one_of_the_users_account(
    client: Client, graph: GraphSimulator
) -> None:
    await client.connect("17841400000000002", "EAAG-token-of-the-other")
    users = {ACCOUNT: new_user(), "17841400000000002": new_user()}
    for account, user in users.items():
        await client.write(user, account=account)
        await client.until_state(user, "resolved")
    assert {call.ig_account_id: call.ig_user_id for call in graph.calls} == users


async def test_a_token_changed_on_another_replica_is_used_at_once(
    client: Client, start: Start, graph: GraphSimulator
) -> None:
    graph.add_token("EAAG-renewed", ig_account_id=ACCOUNT)
    other = await start()
    await other.connect(token="EAAG-renewed")
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    assert TOKEN != "EAAG-renewed"
    assert {call.token_sha for call in graph.calls} == {graph.calls[0].token_sha}


async def test_every_call_of_a_burst_has_a_slot_of_its_own(
    start: Start, graph: GraphSimulator, db: Database
) -> None:
    await note_slots(db)
    client = await start(graph_calls_per_second=40)
    await client.connect()
    await client.write(*[new_user() for _ in range(20)])
    await graph.wait_for_calls(20)
    assert await most_calls_allowed(db, 40) >= 20


async def test_two_replicas_share_one_budget(
    spawn: Spawn, graph: GraphSimulator, db: Database
) -> None:
    await note_slots(db)
    one, two = await asyncio.gather(
        spawn(GRAPH_CALLS_PER_SECOND="20"), spawn(GRAPH_CALLS_PER_SECOND="20")
    )
    await one.client.connect()
    await asyncio.gather(
        one.client.write(*[new_user() for _ in range(12)]),
        two.client.write(*[new_user() for _ in range(12)]),
    )
    await graph.wait_for_calls(24)
    assert await most_calls_allowed(db, 20) >= 24


async def test_usage_headers_slow_the_calls_before_meta_does(
    start: Start, graph: GraphSimulator, db: Database
) -> None:
    client = await start(graph_calls_per_second=100)
    await client.connect()
    graph.set_usage(app=95)
    await client.write(new_user())
    await graph.wait_for_calls(1)

    async def is_slower() -> bool:
        return bool((await client.status())["budget"]["pace"] < 0.25)

    await until(is_slower)
    await note_slots(db)
    await client.write(*[new_user() for _ in range(20)])
    await graph.wait_for_calls(21)
    assert await most_calls_allowed(db, 100) >= 2 * 20, "at most half of the budget is used"


@pytest.mark.usefixtures("own_service")
async def test_usage_at_the_full_stops_the_calls(client: Client, graph: GraphSimulator) -> None:
    graph.set_usage(app=100)
    await client.write(new_user())
    await client.until_paused("app", "throttled")
    user = new_user()
    await client.write(user)
    assert (await client.until_reason(user, "throttled"))["state"] == "pending"
    assert graph.calls_for(user) == []


@pytest.mark.usefixtures("own_service")
async def test_usage_of_an_account_at_the_full_stops_that_account_alone(
    client: Client, graph: GraphSimulator
) -> None:
    await client.connect("17841400000000002", "EAAG-token-of-the-other")
    graph.set_usage(business=100)
    await client.write(new_user())
    await client.until_paused(f"account:{ACCOUNT}", "throttled")
    graph.set_usage()
    user = new_user()
    await client.write(user, account="17841400000000002")
    await client.until_state(user, "resolved")


async def test_nothing_of_a_redirect_is_followed(client: Client, graph: GraphSimulator) -> None:
    user = new_user()
    graph.set_answer("redirect", user=user)
    await client.write(user)
    identity = await client.until_failed(user)
    assert identity["reason"] == "upstream_error"
    assert graph.world.redirects_followed == 0
