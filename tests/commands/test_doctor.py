import json
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote

import pytest

from sandbox.graph.answers import ErrorAnswer
from service.commands.doctor import command as doctor

from .world import ACCOUNT, LOCATION, TOKEN, World, user

DOCTOR = ("doctor", "--location", LOCATION)


async def failed(world: World, number: int, reason: str, fail_count: int, code: int = 1) -> None:
    """Store a user whose fetch has just failed."""
    await world.participants([user(number)])
    error = {"reason": reason, "code": code, "fbtrace_id": "Trace1"}
    await world.fetch(
        "INSERT INTO instagram_user_cache (ig_user_id, fail_count, last_failed_at, last_error)"
        " VALUES ($1, $2, now(), $3::jsonb)",
        user(number),
        fail_count,
        json.dumps(error),
    )


async def pause(world: World, scope: str, reason: str) -> None:
    await world.fetch(
        "INSERT INTO instagram_pauses (scope, until, reason) VALUES ($1, now() + $2, $3)",
        scope,
        timedelta(hours=1),
        reason,
    )


async def test_a_healthy_location(world: World) -> None:
    await world.connect()
    await world.participants([user(i) for i in range(30)])
    async with world.serving():
        assert (await world.run("backfill", "--location", LOCATION)).code == 0
        ended = await world.run(*DOCTOR)
        as_json = await world.run(*DOCTOR, "--json")
    assert ended.code == 0, ended.out
    for words in (
        "The service answers at",
        "Nobody failed within 24 hours",
        "accepts its page token, which has no end",
        "all 5 permissions are granted",
        "sends its webhooks to this app (messages",
        "GRAPH_API_VERSION is v18.0, which has been past its end since 26 January 2026",
        "30 have a fresh name",
        "a backfill would fetch nobody",
        "Healthy: nothing has to be done",
    ):
        assert words in ended.out
    diagnosis = json.loads(as_json.out)
    assert (as_json.code, diagnosis["exitCode"], diagnosis["verdict"]) == (0, 0, "healthy")
    assert {finding["step"] for finding in diagnosis["findings"]} == {1, 2, 3, 4}


async def test_a_broken_location_says_what_to_do_first(world: World) -> None:
    await world.connect()
    await world.participants([user(i) for i in range(8)])
    await failed(world, 100, "consent_required", 1, 230)
    await failed(world, 101, "timeout", 5)
    world.graph.set_answer("password_changed", account=ACCOUNT)
    world.graph.set_subscribed(ACCOUNT, subscribed=False)
    async with world.serving():
        await world.run("backfill", "--location", LOCATION)
        ended = await world.examine()
    assert ended.code == 2, ended.out
    for words in (
        "its access token is dead: the person changed the password",
        f"connections add {ACCOUNT} --location {LOCATION}",
        "1 user failed within 24 hours with timeout: Meta did not answer in time",
        "(code 230, trace Trace1)",
        "retries have stopped for 1",
        "8 wait for their first fetch",
        "would fetch 8 users",
        "once calls are no longer paused",
        "Broken: 2 things are broken, and 2 warnings. Begin with this one:",
    ):
        assert words in ended.out


async def test_an_app_that_is_not_subscribed_is_broken(world: World) -> None:
    await world.connect()
    world.graph.set_subscribed(ACCOUNT, subscribed=False)
    async with world.serving():
        ended = await world.examine()
    assert ended.code == 2
    assert "this app is not subscribed" in ended.out


async def test_a_token_that_works_again_is_to_be_stored_once_more(world: World) -> None:
    await world.connect()
    await world.fetch("UPDATE instagram_connections SET token_status = 'invalid'")
    async with world.serving():
        ended = await world.examine()
    assert ended.code == 2
    assert "Meta accepts the stored token again" in ended.out


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ("timeout", 1, "Meta did not answer in time"),
        ("http_503", 1, "https://metastatus.com"),
        ("app_throttle", 1, "rate limit"),
        ("permission", 2, "lacks instagram_manage_messages"),
    ],
)
async def test_what_meta_answers_is_told_apart(
    world: World, answer: str, code: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "META_TIMEOUT_S", 1.0)
    await world.connect()
    if answer == "permission":
        world.graph.set_answer(answer, account=ACCOUNT)
    else:
        world.graph.set_answer(answer)
    async with world.serving():
        ended = await world.examine()
    assert ended.code == code, ended.out
    assert words in ended.out


async def test_a_secret_of_another_app_is_seen(world: World) -> None:
    await world.connect()
    async with world.serving():
        world.more = {"META_APP_SECRETS": "a-secret-of-another-app"}
        ended = await world.examine()
    assert ended.code == 1
    assert "META_APP_SECRETS (the first one" in ended.out
    assert "a-secret-of-another-app" not in ended.out + ended.err


async def test_with_the_apps_id_it_asks_in_the_apps_name(world: World) -> None:
    await world.connect()
    world.more = {"META_APP_ID": "138483919580948"}
    async with world.serving():
        assert (await world.examine()).code == 0
        world.more = {"META_APP_ID": "1"}
        assert "not subscribed" not in (await world.examine()).out


async def test_calls_that_would_prolong_a_limit_are_not_made(world: World) -> None:
    await world.connect()
    await pause(world, f"account:{ACCOUNT}", "throttled")
    world.graph.set_answer("token_expired", account=ACCOUNT)
    async with world.serving():
        ended = await world.examine()
    assert ended.code == 1
    assert "Meta was not asked" in ended.out
    assert "dead" not in ended.out


@pytest.mark.parametrize(("reason", "code"), [("outage", 1), ("bad_request", 2)])
async def test_a_pause_of_the_app_is_told_and_meta_is_asked_all_the_same(
    world: World, reason: str, code: int
) -> None:
    await world.connect()
    await pause(world, "app", reason)
    async with world.serving():
        ended = await world.examine()
    assert ended.code == code
    assert "No account is called until" in ended.out
    assert "Meta accepts" in ended.out


async def test_all_locations_are_looked_at_without_one(world: World) -> None:
    await world.connect()
    await world.connect("178499", "loc_2", login="instagram", token=f"{TOKEN}Instagram")
    await world.fetch("UPDATE instagram_connections SET updated_at = now() - interval '55 days'")
    await world.fetch(
        "INSERT INTO instagram_participants (ig_account_id, ig_user_id) VALUES ('999', $1)", user(9)
    )
    async with world.serving():
        ended = await world.examine(None)
    assert ended.code == 1, ended.out
    assert "Location loc_1" in ended.out
    assert "Location loc_2" in ended.out
    assert "Account 999 is not called" in ended.out
    assert "Account 178499: its Instagram token was stored 55 days ago" in ended.out


async def test_users_who_are_due_and_not_fetched_are_seen(world: World) -> None:
    await world.connect()
    await world.participants([user(1)])
    await world.fetch("UPDATE instagram_participants SET due_at = now() - interval '11 minutes'")
    ended = await world.examine()
    assert ended.code == 2
    assert "1 user has been due for over 10 minutes" in ended.out
    assert "The service does not answer" in ended.out


async def test_nearly_everybody_failing_for_a_normal_reason_is_not_normal(world: World) -> None:
    await world.connect()
    for number in range(20):
        await failed(world, number, "consent_required", 1, 230)
    async with world.serving():
        ended = await world.examine()
    assert ended.code == 2
    assert "All 20 had just written, so missing consent is not the explanation" in ended.out
    assert "So many of one kind is unusual" in ended.out


async def test_a_token_that_can_not_be_opened_is_broken(world: World) -> None:
    await world.connect()
    async with world.serving():
        world.more = {"TOKEN_ENCRYPTION_KEYS": "B" * 43 + "="}
        ended = await world.examine()
    assert ended.code == 2
    assert "TOKEN_ENCRYPTION_KEYS" in ended.out


async def test_a_plain_token_is_used_and_named(world: World) -> None:
    await world.connect()
    await world.fetch("UPDATE instagram_connections SET access_token = $1", TOKEN)
    async with world.serving():
        ended = await world.run(*DOCTOR)
    assert f"1 token is stored without encryption: {ACCOUNT}" in ended.out
    assert "migrate --seal-tokens" in ended.out
    assert "accepts its page token" in ended.out
    assert TOKEN not in ended.out


async def test_without_a_connection_it_says_how_to_make_one(world: World) -> None:
    assert "connections add" in (await world.examine(None)).out
    nowhere = await world.examine("nowhere")
    assert nowhere.code == 2
    assert "No connection belongs to the location nowhere" in nowhere.out


async def test_without_postgres_and_without_the_service_it_still_answers(world: World) -> None:
    world.dsn = "postgresql://127.0.0.1:1/nowhere"
    ended = await world.examine()
    assert ended.code == 2
    assert "PostgreSQL does not answer" in ended.out
    assert "The service does not answer" in ended.out
    as_json = await world.examine(as_json=True)
    assert json.loads(as_json.out)["verdict"] == "broken"


async def test_a_database_without_the_tables_is_said_so(
    world: World, empty_database_url: str
) -> None:
    world.dsn = empty_database_url
    ended = await world.examine()
    assert ended.code == 2
    assert "PostgreSQL" in ended.out


async def test_a_wrong_key_is_a_warning_for_doctor(world: World) -> None:
    await world.connect()
    async with world.serving():
        world.more = {"OPERATOR_API_KEYS": "some-other-key-than-its"}
        ended = await world.examine()
    assert ended.code == 1
    assert "the first key in OPERATOR_API_KEYS" in ended.out


@pytest.mark.parametrize("write", [str, quote, lambda token: json.dumps(token).replace("/", r"\/")])
async def test_a_token_that_meta_repeats_is_not_shown(
    world: World, write: Callable[[str], str]
) -> None:
    token = f"{TOKEN}|of/the account"
    await world.connect(token=token)
    said = f"Malformed token {write(token)}"
    world.graph.add_token(token, ig_account_id=ACCOUNT, debug={"type": said})
    world.graph.set_answer(ErrorAnswer(code=100, message=said), token=token)
    ended = await world.examine()
    assert "accepts its malformed token" in ended.out
    assert "Meta says" in ended.out
    assert "of/the account" not in ended.out
    assert ended.out.count("[token]") == 2
