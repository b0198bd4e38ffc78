"""Forwarding: an existing inbox gets every signed delivery, byte for byte, whatever fails."""

import hashlib
import hmac
from collections.abc import AsyncIterator

import pytest

from sandbox import samples
from service.receiving.forwarding import forwarder
from tests.service.conftest import (
    ACCOUNT,
    APP_SECRET,
    Client,
    Database,
    Spawn,
    Start,
    new_user,
)
from tests.service.receiver import Receiver
from tests.until import until

STORED = "SELECT * FROM instagram_forwards ORDER BY id"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test wait no second for the next look at what is due."""
    monkeypatch.setattr(forwarder, "_POLL_S", 0.1)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def client(start: Start, receiver: Receiver) -> Client:
    client = await start(forward_urls=receiver.url)
    await client.connect()
    return client


def delivery(text: str = "Hello", user: str = "") -> bytes:
    message = samples.message(user or new_user(), ACCOUNT, text)
    return samples.delivery(samples.entry(ACCOUNT, message))


async def nothing_stored(db: Database) -> None:
    async def is_empty() -> bool:
        return not await db.fetch(STORED)

    await until(is_empty)


async def test_a_delivery_arrives_as_meta_sent_it(
    client: Client, receiver: Receiver, db: Database
) -> None:
    body = delivery("un caf\u00e9 \U0001f600")
    assert (await client.post_webhook(body)).status == 200
    (post,) = await receiver.until_posts(1)
    sent = samples.signed_headers(body, APP_SECRET)
    assert post.body == body
    for name in ("Content-Type", "X-Hub-Signature-256", "X-Hub-Signature"):
        assert post.headers[name] == sent[name]
    expected = hmac.digest(APP_SECRET.encode(), post.body, hashlib.sha256).hex()
    assert post.headers["X-Hub-Signature-256"] == f"sha256={expected}"
    assert post.headers["X-Delivery-ID"]
    await nothing_stored(db)


@pytest.mark.parametrize(
    "body",
    [
        samples.delivery(samples.flat_entry(ACCOUNT, "comments", {"id": "1", "text": "nice"})),
        samples.delivery(samples.entry(ACCOUNT), object_="page"),
        samples.dashboard_test(),
    ],
    ids=["comment", "page", "dashboard test"],
)
async def test_deliveries_without_a_participant_are_forwarded_too(
    client: Client, receiver: Receiver, body: bytes
) -> None:
    assert (await client.post_webhook(body)).status == 200
    (post,) = await receiver.until_posts(1)
    assert post.body == body


async def test_what_is_not_signed_by_meta_is_neither_stored_nor_forwarded(
    client: Client, receiver: Receiver, db: Database
) -> None:
    assert (await client.post_webhook(delivery(), secret="somebody else's")).status == 401
    assert (await client.post_webhook(b"[]")).status == 400
    assert await db.fetch(STORED) == []
    assert receiver.posts == []


async def test_a_body_is_stored_encrypted_and_the_address_without_its_secrets(
    start: Start, receiver: Receiver, db: Database
) -> None:
    receiver.hang()
    client = await start(forward_urls=receiver.url.replace("//", "//me:hunter2@") + "?key=s3cret")
    await client.post_webhook(delivery("a private sentence"))
    (row,) = await db.fetch(STORED)
    assert b"private sentence" not in row["body"]
    assert not any(secret in str(dict(row)) for secret in ("hunter2", "s3cret"))


async def test_a_failed_post_is_tried_again_with_the_same_id(
    client: Client, receiver: Receiver, db: Database
) -> None:
    receiver.statuses.extend([500, 302])
    await client.post_webhook(delivery())

    async def has_failed() -> bool:
        await db.execute("UPDATE instagram_forwards SET due_at = now() WHERE lease IS NULL")
        return len(receiver.posts) == 3

    await until(has_failed)
    assert len({post.headers["X-Delivery-ID"] for post in receiver.posts}) == 1
    assert len({post.body for post in receiver.posts}) == 1
    await nothing_stored(db)


async def test_a_delivery_is_set_aside_after_36_hours_and_others_go_on(
    client: Client, receiver: Receiver, db: Database
) -> None:
    receiver.statuses.extend([500] * 100)
    await client.post_webhook(delivery())
    await db.execute("UPDATE instagram_forwards SET give_up_at = now()")

    async def is_set_aside() -> bool:
        (row,) = await db.fetch(STORED)
        return row["set_aside_at"] is not None

    await until(is_set_aside)
    posts = len(receiver.posts)
    await client.post_webhook(delivery())
    await receiver.until_posts(posts + 1)


async def test_each_address_gets_each_delivery_and_a_hanging_one_delays_no_other(
    start: Start, receiver: Receiver, db: Database
) -> None:
    async with Receiver() as other:
        receiver.hang()
        client = await start(forward_urls=f"{receiver.url},{other.url}")
        bodies = [delivery(f"message {n}") for n in range(30)]
        for body in bodies:
            assert (await client.post_webhook(body)).status == 200
        await other.until_posts(30)
        await receiver.until_posts(8)

        async def only_the_hanging_one_waits() -> bool:
            return [row["address"] for row in await db.fetch(STORED)] == [receiver.url] * 30

        await until(only_the_hanging_one_waits)
        receiver.release()
        await receiver.until_posts(30)
        await nothing_stored(db)
    assert receiver.most_at_once == 8
    assert {post.body for post in receiver.posts} == set(bodies)


async def test_replicas_together_post_at_most_eight_at_a_time(
    start: Start, receiver: Receiver, db: Database
) -> None:
    receiver.hang()
    clients = [await start(forward_urls=receiver.url) for _ in range(2)]
    for n in range(40):
        assert (await clients[n % 2].post_webhook(delivery(f"message {n}"))).status == 200
    await receiver.until_posts(8)
    receiver.release()
    await receiver.until_posts(40)
    await nothing_stored(db)
    assert receiver.most_at_once == 8
    assert len({post.body for post in receiver.posts}) == 40


async def test_a_full_outbox_refuses_deliveries(start: Start, db: Database) -> None:
    client = await start(forward_urls="http://127.0.0.1:9/", forward_max_bytes=5_000)
    answers = [(await client.post_webhook(delivery("x" * 1_000))).status for _ in range(8)]
    assert answers[0] == 200
    assert answers[-1] == 503
    stored = await db.fetchval("SELECT sum(bytes) FROM instagram_forwards")
    assert stored <= 5_000
    assert await db.fetchval("SELECT count(*) FROM instagram_forwards") == answers.count(200)


async def test_a_user_who_is_erased_is_not_forwarded_any_more(
    client: Client, receiver: Receiver, db: Database
) -> None:
    await receiver.stop()
    user = new_user()
    await client.post_webhook(delivery("forget this", user))
    await client.post_webhook(delivery("keep this"))
    assert (await client.operator("DELETE", f"/users/{user}")).status == 204
    rows = await db.fetch(STORED)
    assert [row["only_user_id"] == user for row in rows] == [False]


async def test_status_tells_what_waits(client: Client, receiver: Receiver) -> None:
    receiver.statuses.extend([500] * 100)
    await client.post_webhook(delivery())

    async def is_told() -> bool:
        forwards = (await client.status())["forwards"]
        (address,) = forwards["addresses"]
        return bool(
            forwards["waiting"] == address["waiting"] == 1
            and address["address"] == receiver.url
            and forwards["waitingBytes"] > 0
        )

    await until(is_told)


async def test_forwarding_off_stores_no_body(start: Start, db: Database) -> None:
    client = await start()
    await client.connect()
    await client.post_webhook(delivery())
    assert await db.fetch(STORED) == []
    assert (await client.status())["forwards"] is None


async def test_a_killed_process_loses_no_delivery(
    spawn: Spawn, receiver: Receiver, db: Database
) -> None:
    receiver.hang()
    bodies = [delivery(f"message {n}") for n in range(20)]
    first = await (await spawn(FORWARD_URLS=receiver.url)).ready()
    for body in bodies:
        assert (await first.client.post_webhook(body)).status == 200
    await receiver.until_posts(8)
    first.process.kill()
    await first.process.wait()
    receiver.release()
    await db.execute("UPDATE instagram_forwards SET due_at = now()")  # its leases run out
    await (await spawn(FORWARD_URLS=receiver.url)).ready()
    await nothing_stored(db)
    assert {post.body for post in receiver.posts} == set(bodies)


async def test_a_stop_finishes_the_posts_under_way(
    receiver: Receiver, spawn: Spawn, db: Database
) -> None:
    receiver.hang()
    service = await (await spawn(FORWARD_URLS=receiver.url)).ready()
    await service.client.post_webhook(delivery())
    await receiver.until_posts(1)
    service.process.terminate()
    receiver.release()
    assert await service.process.wait() == 0
    assert await db.fetch(STORED) == []
    assert len(receiver.posts) == 1
