"""`POST /participants`: what a receiver that keeps Meta's webhook itself announces."""

from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.errors import UnavailableError
from service.store.journal import Journal
from tests.answers import Answer
from tests.receiving.intake.conftest import broker
from tests.service.conftest import ACCOUNT, OTHER_ACCOUNT, Client, Database, Start, new_user
from tests.system.chaos.nodes import Node

__all__ = ["broker"]

ALIAS = "178414000000009"


def announce(client: Client, *participants: Any) -> Awaitable[Answer]:  # noqa: ANN401 - JSON
    return client.operator("POST", "/participants", json={"participants": list(participants)})


def of(user: object, account: object = ACCOUNT, **more: object) -> dict[str, object]:
    return {"igAccountId": account, "igUserId": user} | more


async def test_who_is_announced_is_durable_and_gets_a_name(client: Client, db: Database) -> None:
    user, other = new_user(), new_user()
    told_at = datetime.now(UTC) - timedelta(hours=3)
    answer = await announce(client, of(user, lastMessageAt=told_at.isoformat()), of(int(other)))
    assert (answer.status, answer.json) == (200, {"accepted": 2, "rejected": []})
    rows = await db.fetch("SELECT ig_user_id, last_message_at FROM instagram_participants")
    assert {row["ig_user_id"] for row in rows} == {user, other}
    assert next(row["last_message_at"] for row in rows if row["ig_user_id"] == user) == told_at
    assert (await client.until_state(user, "resolved"))["username"]


async def test_behind_a_broker_who_is_announced_gets_a_name_too(start: Start, broker: Node) -> None:
    client, user = await start(intake_url=broker.url), new_user()
    await client.connect()
    assert (await announce(client, of(user))).json["accepted"] == 1
    await client.until_state(user, "resolved")


async def test_each_is_judged_by_itself(client: Client, db: Database) -> None:
    await client.connect(aliasIds=[ALIAS])
    user, later = new_user(), new_user()
    answer = await announce(
        client,
        of(user, ALIAS),
        of(ACCOUNT),
        of(ALIAS, OTHER_ACCOUNT),
        of(OTHER_ACCOUNT, OTHER_ACCOUNT),
        of("no digits"),
        of(user, "1" * 33),
        of(user, lastMessageAt="yesterday"),
        of(user, lastMessageAt="2026-11-22T10:00:00"),
        of(user, text="hello"),
        {"igUserId": user},
        "nobody",
        of(later, lastMessageAt="9999-01-01T00:00:00Z", wrote=False),
    )
    assert (answer.status, answer.json["accepted"]) == (200, 2)
    assert [each["index"] for each in answer.json["rejected"]] == list(range(1, 11))
    assert all(each["detail"] for each in answer.json["rejected"])
    rows = await db.fetch(
        "SELECT ig_account_id, ig_user_id, last_message_at <= now() AS is_past"
        " FROM instagram_participants"
    )
    assert {tuple(row) for row in rows} == {(ACCOUNT, user, True), (ACCOUNT, later, True)}


async def test_a_thousand_are_taken_at_once_also_the_same_twice(
    client: Client, db: Database
) -> None:
    users = [new_user() for _ in range(500)]
    answer = await announce(client, *map(of, [*users, *users]))
    assert answer.json == {"accepted": 1000, "rejected": []}
    assert await db.fetchval("SELECT count(*) FROM instagram_participants") == 500


@pytest.mark.parametrize(
    "body",
    [
        b"no JSON",
        b"[]",
        b"{}",
        b'{"participants": []}',
        b'{"participants": {}}',
        b'{"participants": [{}], "more": 1}',
        b'{"participants": [%s]}' % b",".join([b"{}"] * 1001),
    ],
)
async def test_a_body_of_another_form_is_400(client: Client, body: bytes) -> None:
    answer = await client.operator("POST", "/participants", data=body)
    assert (answer.status, answer.json["status"]) == (400, 400)


async def test_an_inbox_key_announces_nobody(client: Client) -> None:
    answer = await client.inbox("/participants", "POST", json={"participants": [of(new_user())]})
    assert answer.status == 403


async def test_what_cannot_be_made_durable_is_503(
    client: Client, monkeypatch: pytest.MonkeyPatch, db: Database
) -> None:

    async def away(_: object, __: object) -> None:
        raise UnavailableError("PostgreSQL is unavailable")

    monkeypatch.setattr(Journal, "write", away)
    answer = await announce(client, of(new_user()))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert await db.fetchval("SELECT count(*) FROM instagram_participants") == 0
