"""Errors that nobody foresaw, values that can't be stored: one user's failure, nobody else's."""

from collections.abc import MutableMapping
from typing import Any

import pytest
import structlog

from sandbox.graph.simulator import GraphSimulator
from service.graph.client import GraphClient
from service.model.calls import Profile
from service.resolving.settling import Settling
from service.resolving.unexpected import MOST_IN_A_ROW
from tests.until import until

from .conftest import (
    ACCOUNT,
    LOCATION,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    SECRETS,
    TOKEN,
    Client,
    Database,
    fetch_row,
    new_user,
)

pytestmark = pytest.mark.usefixtures("own_service")


@pytest.fixture
def odd_users(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Give the set of the users that make the code fail."""
    odd: set[str] = set()
    fetch = GraphClient.fetch_profile

    async def fetch_or_fail(
        self: GraphClient, ig_user_id: str, ig_account_id: str, login: str, token: str
    ) -> Profile:
        if ig_user_id in odd:
            raise KeyError(f"{token} of {ig_user_id}")
        return await fetch(self, ig_user_id, ig_account_id, login, token)

    monkeypatch.setattr(GraphClient, "fetch_profile", fetch_or_fail)
    return odd


async def test_an_error_that_nobody_foresaw_is_its_users_failure_alone(
    client: Client, odd_users: set[str]
) -> None:
    odd, fine = new_user(), new_user()
    odd_users.add(odd)
    with structlog.testing.capture_logs() as lines:
        await client.write(odd)
        identity = await client.until_failed(odd)
        await client.write(fine)
        await client.until_state(fine, "resolved")
    assert (identity["failCount"], identity["reason"]) == (1, "upstream_error")
    [line] = [line for line in lines if "traceback" in line]
    assert (line["ig_user_id"], line["error"], line["log_level"]) == (odd, "KeyError", "error")
    assert "in fetch_or_fail" in line["traceback"]
    assert not [secret for secret in SECRETS if secret in str(lines)]
    metrics = (await client.call("GET", "/metrics")).body.decode()
    assert 'instagram_graph_calls_total{outcome="unforeseen"} 1.0' in metrics


async def test_an_error_while_a_user_is_charged_lets_its_claim_lapse(
    client: Client, odd_users: set[str], monkeypatch: pytest.MonkeyPatch, db: Database
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError

    odd, fine = new_user(), new_user()
    odd_users.add(odd)
    monkeypatch.setattr(Settling, "blame", fail)
    await client.write(odd)
    await client.write(fine)
    await client.until_state(fine, "resolved")
    await client.until_idle()
    row = await fetch_row(
        db,
        "SELECT lease IS NOT NULL AS held FROM instagram_participants WHERE ig_user_id = $1",
        odd,
    )
    assert row["held"]


async def test_one_user_for_ever_does_not_stop_the_process(
    client: Client, odd_users: set[str], db: Database
) -> None:
    odd, fine = new_user(), new_user()
    odd_users.add(odd)
    await client.write(odd)
    for count in range(1, 5):
        await client.until_failed(odd, count)
        await db.execute("UPDATE instagram_participants SET due_at = now() - interval '1 s'")
    await client.until_state(odd, "failed")
    await client.write(fine)
    await client.until_state(fine, "resolved")


async def test_five_users_in_a_row_stop_the_process_loudly(
    client: Client, odd_users: set[str]
) -> None:
    users = [new_user() for _ in range(MOST_IN_A_ROW)]
    odd_users.update(users)
    await client.write(*users)
    assert client.running is not None
    [resolver] = [task for task in client.running.tasks._vital if task.get_name() == "resolver"]

    async def has_died() -> bool:
        return resolver.done()

    await until(has_died)
    assert "5 users in a row" in repr(resolver.exception())
    assert TOKEN not in repr(resolver.exception())


async def test_a_login_that_nobody_knows_reads_as_facebook_with_a_warning(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    users = [new_user() for _ in range(3)]

    async def warnings() -> list[MutableMapping[str, Any]]:
        return [line for line in lines if "read as facebook" in line["event"]]

    with structlog.testing.capture_logs() as lines:
        await db.execute("UPDATE instagram_connections SET login = 'fb'")
        for user in users:
            await client.write(user)
            await client.until_state(user, "resolved")
        await until(warnings)  # the directory is read a moment after the notice
    assert {call.host for call in graph.calls} == {"facebook"}
    [warning] = await warnings()
    assert warning["ig_account_id"] == ACCOUNT
    assert (await client.connection())["login"] == "facebook"


async def test_a_profile_and_a_failure_that_cannot_be_stored_are_their_users(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    """As where another application's constraint, or the database's encoding, refuses a value."""
    await db.execute(
        "ALTER TABLE instagram_user_cache ADD CHECK (name IS DISTINCT FROM 'Refused'),"
        " ADD CHECK (last_error->>'message' NOT LIKE '%consent%')"
    )
    named, failing, fine = new_user(), new_user(), new_user()
    graph.set_profile(named, name="Refused")
    graph.set_answer("consent_required", user=failing)
    await client.write(named, failing)
    for user in (named, failing):
        identity = await client.until_failed(user)
        assert (identity["reason"], identity["failCount"]) == ("upstream_error", 1)
    await client.write(fine)
    await client.until_state(fine, "resolved")


async def test_what_cannot_be_stored_at_all_waits(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    await db.execute("ALTER TABLE instagram_user_cache ADD CHECK (fail_count = 0)")
    failing, fine = new_user(), new_user()
    graph.set_answer("not_found", user=failing)
    await client.write(failing)
    await graph.wait_for_calls(1)
    await client.until_idle()
    row = await fetch_row(
        db,
        "SELECT lease IS NULL AND due_at > now() + interval '50 minutes' AS waits"
        " FROM instagram_participants WHERE ig_user_id = $1",
        failing,
    )
    assert row["waits"]
    await client.write(fine)
    await client.until_state(fine, "resolved")


async def test_a_constraint_that_refuses_an_invalid_token_pauses_the_account_all_the_same(
    client: Client, graph: GraphSimulator, db: Database
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    await db.execute("ALTER TABLE instagram_connections ADD CHECK (token_status = 'active')")
    graph.set_answer("token_expired", account=ACCOUNT)
    user, healthy = new_user(), new_user()
    await client.write(user)
    await client.until_paused(f"account:{ACCOUNT}", "token_invalid")
    assert (await client.identity(user))["failCount"] == 0
    await client.write(healthy, account=OTHER_ACCOUNT)
    await client.until_state(healthy, "resolved")
    assert (await client.connection())["locationId"] == LOCATION
