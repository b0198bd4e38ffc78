"""Whose fault it is: the user's, the account's, the app's or nobody's."""

from datetime import UTC, datetime, timedelta

import pytest

from sandbox import samples
from sandbox.graph.answers import ErrorAnswer
from sandbox.graph.simulator import GraphSimulator
from service.vault import Vault
from tests.service.conftest import (
    ACCOUNT,
    ENCRYPTION_KEY,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    TOKEN,
    Client,
    Database,
    Start,
    fetch_row,
    new_user,
)
from tests.until import until

FAILURE = "SELECT fail_count, last_error FROM instagram_user_cache WHERE ig_user_id = $1"
DUE_IN = "SELECT due_at - now() FROM instagram_participants WHERE ig_user_id = $1"
OVERDUE = "UPDATE instagram_participants SET due_at = now() - interval '1 s'"
END_PAUSES = "UPDATE instagram_pauses SET until = now(), probing_until = NULL"


@pytest.mark.parametrize(
    ("answer", "reason", "code", "subcode"),
    [
        ("consent_required", "consent_required", 230, None),
        ("consent_required_403", "consent_required", 230, None),
        ("not_found", "not_found", 100, 33),
        ("no_matching_user", "not_found", 9010, None),
        ("alias_not_found", "not_found", 803, None),
        ("unavailable_551", "refused", 551, None),
    ],
)
async def test_an_answer_about_the_user_is_the_users_failure(
    client: Client,
    graph: GraphSimulator,
    db: Database,
    answer: str,
    reason: str,
    code: int,
    subcode: int | None,
) -> None:
    user = new_user()
    graph.set_answer(answer, user=user)
    await client.write(user)
    identity = await client.until_failed(user)
    assert (identity["state"], identity["reason"], identity["failCount"]) == ("pending", reason, 1)
    assert identity["displayName"] == f"@user_{user[-6:]}"
    fail_count, error = await fetch_row(db, FAILURE, user)
    assert fail_count == 1
    assert (error["reason"], error["code"], error["subcode"]) == (reason, code, subcode)
    assert error["message"]
    assert error["fbtrace_id"].startswith("Sim")
    assert len(graph.calls_for(user)) == 1
    assert await client.pauses() == {}


NOBODYS = (
    "unknown service_error transient http_500",
    "html_502 html_200 truncated_json empty_body",
    "json_null deep_json error_text error_without_code",
    "wrong_id reset half_answer huge_body",
)


@pytest.mark.parametrize("answers", NOBODYS)
async def test_nobodys_fault_is_tried_once_more_and_then_counts(
    client: Client, graph: GraphSimulator, answers: str
) -> None:
    """Four users at a time: five would be an outage."""
    await fail_twice(client, graph, answers, "upstream_error")


async def test_an_answer_that_does_not_come_is_tried_once_more_and_then_counts(
    start: Start, graph: GraphSimulator
) -> None:
    client = await start(graph_timeout_seconds=0.3)
    await client.connect()
    await fail_twice(client, graph, "timeout stalled_answer slow_drip", "timeout")


async def fail_twice(client: Client, graph: GraphSimulator, answers: str, reason: str) -> None:
    """Have Graph answer each user in one of these ways; fails unless it is asked twice."""
    users = {new_user(): answer for answer in answers.split()}
    for user, answer in users.items():
        graph.set_answer(answer, user=user)
    await client.write(*users)
    for user, answer in users.items():
        identity = await client.until_failed(user)
        assert (identity["state"], identity["reason"]) == ("pending", reason), answer
        assert identity["failCount"] == 1
        assert len(graph.calls_for(user)) == 2
    assert await client.pauses() == {}


async def test_nobodys_fault_that_passes_is_no_failure(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    graph.set_answer("http_503", user=user, times=1)
    await client.write(user)
    identity = await client.until_state(user, "resolved")
    assert (identity["failCount"], identity["lastFailedAt"]) == (0, None)


@pytest.mark.parametrize(
    "answer",
    [
        "token_expired",
        "token_revoked",
        "token_checkpointed",
        "password_changed",
        "token_unconfirmed",
        "token_logged_out",
        "token_unparsable",
        "token_401",
        "session_invalid",
    ],
)
async def test_a_dead_token_pauses_its_account_and_charges_nobody(
    client: Client, graph: GraphSimulator, db: Database, answer: str
) -> None:
    graph.set_answer(answer, account=ACCOUNT)
    users = [new_user() for _ in range(3)]
    await client.write(users[0])
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    await client.write(*users[1:])
    for user in users:
        identity = await client.identity(user)
        assert (identity["state"], identity["reason"]) == ("pending", "token_invalid")
        assert identity["failCount"] == 0
    connection = await client.connection()
    assert connection["tokenStatus"] == "invalid"
    assert connection["pauseReason"] == "token_invalid"
    assert await db.fetchval("SELECT count(*) FROM instagram_user_cache") == 0
    assert len(graph.calls) == 1


async def test_a_renewed_token_frees_its_users_at_once_on_every_replica(
    client: Client, start: Start, graph: GraphSimulator
) -> None:
    other = await start()
    graph.set_answer("token_expired", account=ACCOUNT, times=1)
    users = [new_user() for _ in range(30)]
    await client.write(*users)
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    await other.until_paused(f"account:{ACCOUNT}", "token_invalid")
    graph.set_answer(None, account=ACCOUNT)
    graph.add_token("EAAG-renewed", ig_account_id=ACCOUNT)
    renewed = await other.connect(token="EAAG-renewed")
    assert (renewed["tokenStatus"], renewed["pauseReason"]) == ("active", None)
    for user in users:
        await client.until_state(user, "resolved")
    assert await client.pauses() == {}


async def test_a_dead_token_holds_no_other_account(client: Client, graph: GraphSimulator) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    graph.set_answer("token_revoked", account=ACCOUNT)
    await client.write(new_user())
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    user = new_user()
    await client.write(user, account=OTHER_ACCOUNT)
    await client.until_state(user, "resolved")


async def test_a_user_of_two_accounts_is_resolved_by_the_one_that_can(
    client: Client, graph: GraphSimulator
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    graph.set_answer("token_revoked", account=ACCOUNT)
    user = new_user()
    await client.write(user)
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    await client.write(user, account=OTHER_ACCOUNT)
    await client.until_state(user, "resolved")


@pytest.mark.parametrize("answer", ["permission", "permission_200"])
async def test_missing_permission_is_believed_after_two_different_users(
    client: Client, graph: GraphSimulator, db: Database, answer: str
) -> None:
    graph.set_answer(answer, account=ACCOUNT)
    first, second = new_user(), new_user()
    await client.write(first)
    await graph.wait_for_calls(1)
    await client.until_idle()
    assert await client.pauses() == {}
    await client.write(second)
    await client.until_paused(f"account:{ACCOUNT}", "permission")
    for user in (first, second):
        identity = await client.identity(user)
        assert (identity["state"], identity["reason"]) == ("pending", "permission")
        assert identity["failCount"] == 0
    connection = await client.connection()
    assert (connection["tokenStatus"], connection["pauseReason"]) == ("active", "permission")
    assert connection["pausedUntil"] > datetime.now(UTC).isoformat()
    assert await db.fetchval("SELECT count(*) FROM instagram_user_cache") == 0


async def test_the_same_user_twice_does_not_make_a_permission_missing(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_answer("permission", account=ACCOUNT)
    await client.write(user)
    await graph.wait_for_calls(1)
    await client.until_idle()
    await db.execute(OVERDUE)
    await graph.wait_for_calls(2)
    await client.until_idle()
    assert await client.pauses() == {}


async def test_missing_permission_of_one_user_alone_is_that_users_failure(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    odd, fine = new_user(), new_user()
    graph.set_answer("permission", user=odd)
    await client.write(odd)
    await graph.wait_for_calls(1)
    await client.until_idle()
    await client.write(fine)
    await client.until_state(fine, "resolved")
    identity = await client.until_failed(odd)
    assert (identity["failCount"], identity["state"]) == (1, "pending")
    assert identity["reason"] == "refused"
    assert await client.pauses() == {}
    assert (await fetch_row(db, FAILURE, odd))["last_error"]["code"] == 10


@pytest.mark.parametrize(
    ("answer", "scope", "wait"),
    [
        ("app_throttle", "app", timedelta(minutes=1)),
        ("app_throttle_341", "app", timedelta(minutes=1)),
        ("account_throttle", f"account:{ACCOUNT}", timedelta(minutes=1)),
        ("page_throttle", f"account:{ACCOUNT}", timedelta(minutes=1)),
        ("custom_throttle", f"account:{ACCOUNT}", timedelta(minutes=1)),
        ("buc_throttle", f"account:{ACCOUNT}", timedelta(minutes=19)),
        ("http_429", f"account:{ACCOUNT}", timedelta(seconds=30)),
    ],
)
async def test_a_throttle_pauses_for_as_long_as_meta_says_and_charges_nobody(
    client: Client,
    graph: GraphSimulator,
    db: Database,
    answer: str,
    scope: str,
    wait: timedelta,
) -> None:
    user = new_user()
    graph.set_answer(answer, times=1)
    await client.write(user)
    await client.until_paused(scope, "throttled")
    identity = await client.identity(user)
    assert (identity["state"], identity["reason"], identity["failCount"]) == (
        "pending",
        "throttled",
        0,
    )
    until_at = await db.fetchval("SELECT until - now() FROM instagram_pauses")
    assert abs(until_at - wait) < timedelta(seconds=10)
    assert await db.fetchval("SELECT count(*) FROM instagram_user_cache") == 0


async def test_throttles_in_a_row_double_up_to_an_hour_and_a_success_ends_them(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_answer("account_throttle", account=ACCOUNT, times=3)
    await client.write(user)
    for minutes in (1, 2, 60):

        async def is_paused(wanted: timedelta = timedelta(minutes=minutes)) -> bool:
            left = await db.fetchval("SELECT max(until) - now() FROM instagram_pauses")
            return left is not None and abs(left - wanted) < timedelta(seconds=20)

        await until(is_paused)
        if minutes == 2:
            await db.execute("UPDATE instagram_pauses SET strikes = 9")
        await db.execute(END_PAUSES)
    await client.until_state(user, "resolved")
    assert await db.fetchval("SELECT count(*) FROM instagram_pauses") == 0


async def test_a_pause_holds_on_every_replica_and_after_a_restart(
    client: Client, start: Start, graph: GraphSimulator
) -> None:
    other = await start()
    graph.set_answer("account_throttle", account=ACCOUNT, times=1)
    await client.write(new_user())
    await client.until_paused(f"account:{ACCOUNT}", "throttled")
    later = await start()
    for replica in (other, later):
        user = new_user()
        await replica.write(user)
        await replica.until_reason(user, "throttled")
        await replica.until_idle()
        assert graph.calls_for(user) == []


async def test_five_users_in_a_row_are_an_outage_and_one_probe_ends_it(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    users = [new_user() for _ in range(12)]
    graph.set_answer("http_503")
    await client.write(*users)
    await client.until_paused("app", "outage")
    await client.until_idle()
    for user in users:
        identity = await client.identity(user)
        assert (identity["state"], identity["reason"]) == ("pending", "outage")
        assert (identity["failCount"], identity["lastFailedAt"]) == (0, None)
    waiting = [new_user() for _ in range(10)]
    await client.write(*waiting)
    graph.log.clear()
    graph.set_answer(None)
    graph.hold()
    await db.execute(END_PAUSES)
    await graph.wait_for_calls(1)
    assert len(graph.calls) == 1, "one call probes while the others wait"
    graph.release()
    for user in (*users, *waiting):
        await client.until_state(user, "resolved")
    assert await client.pauses() == {}


async def test_a_probe_that_fails_prolongs_the_outage_and_charges_nobody(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    users = [new_user() for _ in range(5)]
    graph.set_answer("http_503")
    await client.write(*users)
    await client.until_paused("app", "outage")
    await client.until_idle()
    await db.execute(END_PAUSES)
    await client.until_paused("app", "outage")

    async def is_prolonged() -> bool:
        found = await db.fetchval(
            "SELECT until - now() > interval '15 s' FROM instagram_pauses WHERE scope = 'app'"
        )
        return bool(found)

    await until(is_prolonged)
    await client.until_idle()
    assert await db.fetchval("SELECT max(fail_count) FROM instagram_user_cache") in (None, 0)


async def test_four_users_with_a_success_between_are_no_outage(
    client: Client, graph: GraphSimulator
) -> None:
    failing, fine = [new_user() for _ in range(6)], new_user()
    for user in failing:
        graph.set_answer("http_503", user=user)
    await client.write(*failing[:3])
    for user in failing[:3]:
        await client.until_failed(user)
    await client.write(fine)
    await client.until_state(fine, "resolved")
    await client.write(*failing[3:])
    for user in failing[3:]:
        await client.until_failed(user)
    assert await client.pauses() == {}


async def test_the_waits_grow_and_five_failures_stop_the_retries(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_answer("not_found", user=user)
    await client.write(user)
    waits = (60, 600, 3600, 21600)
    for count, wait_s in enumerate(waits, start=1):
        identity = await client.until_failed(user, count)
        assert identity["state"] == "pending"
        due_in = await db.fetchval(DUE_IN, user)
        assert abs(due_in.total_seconds() - wait_s) < 5
        await db.execute(OVERDUE)
    identity = await client.until_failed(user, 5)
    assert (identity["state"], identity["reason"]) == ("failed", "not_found")
    assert await db.fetchval(DUE_IN, user) is None
    await client.write(user)
    await client.deliver(samples.postback(user, ACCOUNT))
    await client.identity(user)
    await client.until_idle()
    assert len(graph.calls_for(user)) == 5


async def test_a_user_who_waits_after_a_failure_is_not_hurried_by_writing(
    client: Client, graph: GraphSimulator
) -> None:
    user, marker = new_user(), new_user()
    graph.set_answer("not_found", user=user)
    await client.write(user)
    await client.until_failed(user)
    await client.write(user)
    await client.write(marker)
    await client.until_state(marker, "resolved")
    assert len(graph.calls_for(user)) == 1


@pytest.mark.parametrize("failures", [1, 5])
async def test_who_lacked_consent_and_writes_is_tried_at_once_after_ten_minutes(
    client: Client, graph: GraphSimulator, db: Database, failures: int
) -> None:
    user, marker = new_user(), new_user()
    graph.set_answer("consent_required", user=user, times=failures)
    await client.deliver(samples.echo(ACCOUNT, user))
    for count in range(1, failures):
        await client.until_failed(user, count)
        await db.execute(OVERDUE)
    await client.until_failed(user, failures)
    await client.write(user)
    await client.write(marker)
    await client.until_state(marker, "resolved")
    assert len(graph.calls_for(user)) == failures
    await db.execute(
        "UPDATE instagram_user_cache SET last_failed_at = now() - interval '10 minutes'"
    )
    await db.execute("UPDATE instagram_participants SET due_at = NULL, forced = false")
    await client.write(user)
    await client.until_state(user, "resolved")


async def test_an_echo_gives_no_consent(client: Client, graph: GraphSimulator) -> None:
    user, marker = new_user(), new_user()
    graph.set_answer("consent_required", user=user)
    await client.deliver(samples.echo(ACCOUNT, user))
    await client.until_failed(user)
    await client.deliver(samples.echo(ACCOUNT, user))
    await client.write(marker)
    await client.until_state(marker, "resolved")
    assert len(graph.calls_for(user)) == 1


async def test_max_failures_is_a_setting(start: Start, graph: GraphSimulator) -> None:
    client = await start(max_failures=1)
    await client.connect()
    user = new_user()
    graph.set_answer("not_found", user=user)
    await client.write(user)
    await client.until_state(user, "failed")


async def test_an_unknown_code_is_the_users_failure(client: Client, graph: GraphSimulator) -> None:
    user = new_user()
    graph.set_answer(ErrorAnswer(code=424242, message="Something new"), user=user)
    await client.write(user)
    identity = await client.until_failed(user)
    assert identity["reason"] == "refused"


async def test_a_throttle_that_calls_itself_transient_is_still_a_throttle(
    client: Client, graph: GraphSimulator
) -> None:
    graph.set_answer(ErrorAnswer(code=613, is_transient=True, message="limit"), times=1)
    await client.write(new_user())
    await client.until_paused(f"account:{ACCOUNT}", "throttled")
    assert len(graph.calls) == 1


async def test_missing_consent_that_calls_itself_transient_is_nobodys_fault(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    answer = ErrorAnswer(code=230, is_transient=True, message="try again")
    graph.set_answer(answer, user=user, times=1)
    await client.write(user)
    assert (await client.until_state(user, "resolved"))["failCount"] == 0


async def test_an_outage_gives_back_what_it_took_and_no_more(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    users = [new_user() for _ in range(5)]
    graph.set_answer("not_found", times=5)
    await client.write(*users)
    for user in users:
        await client.until_failed(user)
    before = {user: (await client.identity(user))["lastFailedAt"] for user in users}
    await db.execute("UPDATE instagram_user_cache SET fail_count = 4")
    graph.set_answer("http_503")
    await db.execute(OVERDUE)
    await client.until_paused("app", "outage")
    await client.until_idle()
    for user in users:
        identity = await client.identity(user)
        assert (identity["failCount"], identity["state"]) == (4, "pending")
        assert (identity["reason"], identity["lastFailedAt"]) == ("outage", before[user])
    reasons = await db.fetch("SELECT last_error->>'reason' AS reason FROM instagram_user_cache")
    assert {row["reason"] for row in reasons} == {"not_found"}
    graph.set_answer(None)
    await db.execute(END_PAUSES)
    for user in users:
        await client.until_state(user, "resolved")


# Bad requests: ours, the account's, or one user's


async def test_a_bad_request_of_one_user_alone_stops_nobody(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    """It shows its reason and waits; the next success makes it that user's own failure."""
    odd, fine = new_user(), [new_user() for _ in range(3)]
    graph.set_answer("person_unavailable", user=odd)
    await client.write(odd)
    identity = await client.until_reason(odd, "bad_request")
    assert (identity["state"], identity["failCount"]) == ("pending", 0)
    assert identity["lastFailedAt"] is None
    assert await client.pauses() == {}
    await client.write(*fine)
    for user in fine:
        await client.until_state(user, "resolved")
    identity = await client.until_failed(odd)
    assert (identity["failCount"], identity["reason"]) == (1, "refused")
    assert (await fetch_row(db, FAILURE, odd))["last_error"]["subcode"] == 2018218
    assert await client.pauses() == {}
    assert len(graph.calls_for(odd)) == 1


@pytest.mark.parametrize(
    "answer", ["unsupported_request", "proof_invalid", "no_capability", "unknown_path"]
)
async def test_a_bad_request_of_one_account_pauses_that_account_alone(
    client: Client, graph: GraphSimulator, db: Database, answer: str
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    graph.set_answer(answer, account=ACCOUNT)
    broken = [new_user() for _ in range(6)]
    await client.write(*broken)
    await client.until_paused(f"account:{ACCOUNT}", "bad_request")
    healthy = [new_user() for _ in range(6)]
    await client.write(*healthy, account=OTHER_ACCOUNT)
    for user in healthy:
        await client.until_state(user, "resolved")
    for _ in range(3):
        await db.execute(END_PAUSES)
        await client.until_paused(f"account:{ACCOUNT}", "bad_request")
    assert await client.pauses() == {f"account:{ACCOUNT}": "bad_request"}
    for user in broken:
        assert (await client.until_reason(user, "bad_request"))["failCount"] == 0
    graph.set_answer(None, account=ACCOUNT)
    await db.execute(END_PAUSES)
    for user in broken:
        assert (await client.until_state(user, "resolved"))["failCount"] == 0
    assert await client.pauses() == {}


async def test_a_bad_request_of_two_accounts_pauses_the_app_until_a_probe_succeeds(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    graph.set_answer("no_capability")
    users = [new_user() for _ in range(6)]
    await client.write(*users[:3])
    await client.write(*users[3:], account=OTHER_ACCOUNT)
    await client.until_paused("app", "bad_request")
    for _ in range(6):  # more probes than a user has failures
        await db.execute(END_PAUSES)
        await client.until_paused("app", "bad_request")
    for user in users:
        identity = await client.identity(user)
        assert (identity["state"], identity["reason"]) == ("pending", "bad_request")
        assert identity["failCount"] == 0
    graph.set_answer(None)

    async def all_are_named() -> bool:
        await db.execute(END_PAUSES)
        states = [(await client.identity(user))["state"] for user in users]
        return states == ["resolved"] * len(users)

    await until(all_are_named)
    assert await client.pauses() == {}


async def test_a_policy_block_pauses_its_account_for_hours(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    user = new_user()
    graph.set_answer("policy_block", account=ACCOUNT)
    await client.write(user)
    await client.until_paused(f"account:{ACCOUNT}", "policy_block")
    identity = await client.identity(user)
    assert (identity["reason"], identity["failCount"]) == ("policy_block", 0)
    left = await db.fetchval("SELECT until - now() FROM instagram_pauses")
    assert timedelta(hours=5) < left <= timedelta(hours=6)


# What one account's token can cause


@pytest.mark.parametrize("around", ["{}\n", "\r\n {}\t", "  {}"])
async def test_a_token_with_line_ends_around_it_is_trimmed(
    client: Client, graph: GraphSimulator, db: Database, around: str
) -> None:
    await store_token(db, around.format(TOKEN))
    user = new_user()
    await client.write(user)
    await client.until_state(user, "resolved")
    assert [call.proof for call in graph.calls] == ["right"]


async def test_a_token_that_cannot_be_sent_is_its_accounts_alone(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    await store_token(db, f"{TOKEN}\nmore")
    users = [new_user() for _ in range(7)]
    await client.write(*users)
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    healthy = new_user()
    await client.write(healthy, account=OTHER_ACCOUNT)
    await client.until_state(healthy, "resolved")
    assert await client.pauses() == {f"account:{ACCOUNT}": "token_invalid"}
    for user in users:
        identity = await client.identity(user)
        assert (identity["reason"], identity["failCount"]) == ("token_invalid", 0)
    assert {call.ig_account_id for call in graph.calls} == {OTHER_ACCOUNT}


async def store_token(db: Database, token: str) -> None:
    """Store a token as an older version did, which trimmed none."""
    await db.execute(
        "UPDATE instagram_connections SET access_token = $1 WHERE ig_account_id = $2",
        Vault((ENCRYPTION_KEY,)).seal(token, ACCOUNT),
        ACCOUNT,
    )


async def test_answers_without_an_id_name_their_users(
    client: Client, graph: GraphSimulator
) -> None:
    users = [new_user() for _ in range(6)]
    graph.set_answer("no_id")
    await client.write(*users)
    for user in users:
        assert (await client.until_state(user, "resolved"))["username"]
    assert await client.pauses() == {}


async def test_an_account_whose_calls_all_fail_upstream_holds_no_other(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    first = new_user()
    await client.write(first, account=OTHER_ACCOUNT)
    await client.until_state(first, "resolved")
    graph.set_answer("http_503", account=ACCOUNT)
    broken = [new_user() for _ in range(8)]
    await client.write(*broken)
    await client.until_paused(f"account:{ACCOUNT}", "outage")
    healthy = new_user()
    await client.write(healthy, account=OTHER_ACCOUNT)
    await client.until_state(healthy, "resolved")
    assert await client.pauses() == {f"account:{ACCOUNT}": "outage"}
    await client.until_idle()
    for user in broken:
        assert (await client.identity(user))["failCount"] == 0
    graph.set_answer(None, account=ACCOUNT)
    await db.execute(END_PAUSES)
    for user in broken:
        await client.until_state(user, "resolved")


async def test_an_instagram_login_is_sent_no_proof(client: Client, graph: GraphSimulator) -> None:
    graph.add_account(OTHER_ACCOUNT, "IGAA-token-of-instagram", login="instagram")
    await client.connect(OTHER_ACCOUNT, "IGAA-token-of-instagram", login="instagram")
    user, other = new_user(), new_user()
    await client.write(user, account=OTHER_ACCOUNT)
    await client.write(other)
    await client.until_state(user, "resolved")
    await client.until_state(other, "resolved")
    assert {call.host: call.proof for call in graph.calls} == {
        "instagram": "missing",
        "facebook": "right",
    }


async def test_a_renewed_token_ends_a_missing_permission(
    client: Client, graph: GraphSimulator
) -> None:
    users = [new_user() for _ in range(4)]
    graph.set_answer("permission", account=ACCOUNT)
    await client.write(*users)
    await client.until_paused(f"account:{ACCOUNT}", "permission")
    await client.until_idle()
    graph.set_answer(None, account=ACCOUNT)
    await client.connect()
    for user in users:
        await client.until_state(user, "resolved")


async def test_a_call_with_the_old_token_does_not_kill_the_new_one(
    client: Client, graph: GraphSimulator
) -> None:
    user = new_user()
    graph.set_answer("token_expired", token=TOKEN)
    graph.add_token("EAAG-renewed", ig_account_id=ACCOUNT)
    graph.set_latency(250)
    await client.write(user)
    await graph.wait_for_calls(1)
    await client.connect(token="EAAG-renewed")
    await client.until_state(user, "resolved")
    assert (await client.connection())["tokenStatus"] == "active"
    assert await client.pauses() == {}
