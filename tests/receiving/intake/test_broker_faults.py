"""The whole service behind a broker: what is acknowledged gets its name, whatever breaks."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from nats.js.api import StreamConfig

import service.app
from sandbox import samples
from sandbox.graph.simulator import GraphSimulator
from service.errors import UnavailableError
from service.receiving.intake.stream import STREAM, SUBJECT
from tests.answers import Answer
from tests.receiving.intake.conftest import stored_users, until_stored
from tests.service.conftest import (
    ACCOUNT,
    Client,
    MakeSettings,
    Spawn,
    Start,
    new_user,
    run_command,
)
from tests.system.chaos.link import Link
from tests.system.chaos.nodes import Node
from tests.until import WITHIN_S, until


@pytest.fixture
async def client(start: Start, broker: Node) -> Client:
    client = await start(intake_url=broker.url)
    await client.connect()
    return client


@pytest.fixture
async def small_broker(tmp_path: Path) -> AsyncIterator[Node]:
    """Give a broker that may hold a megabyte."""
    config = tmp_path / "nats.conf"
    config.write_text("jetstream { max_file_store: 1MB }\n")
    node = Node(tmp_path, "-c", str(config))
    try:
        await node.start()
        yield node
    finally:
        await node.stop()


@asynccontextmanager
async def link_to_postgres(database_url: str) -> AsyncIterator[tuple[Link, str]]:
    """Give a link that can be cut, and the database's address through it."""
    port = int(database_url.rpartition(":")[2].partition("/")[0])
    link = Link(port)
    async with link.up():
        yield link, database_url.replace(f":{port}/", f":{link.port}/")


async def test_a_message_through_the_broker_gets_its_name(client: Client) -> None:
    user = new_user()
    await client.write(user)
    assert (await client.until_state(user, "resolved"))["username"]
    assert (await client.status())["intake"] == {"kind": "jetstream", "state": "ok"}


async def test_webhooks_are_acknowledged_while_postgres_is_away(
    start: Start, broker: Node, database_url: str, graph: GraphSimulator
) -> None:
    async with link_to_postgres(database_url) as (link, url):
        client = await start(intake_url=broker.url, database_url=url)
        await client.connect()
        link.cut()
        users = [new_user() for _ in range(20)]
        for user in users:
            await client.write(user)
        assert (await client.inbox(f"/users/{users[0]}")).status == 503
        link.heal()
        for user in users:
            await until_resolved(client, user)
        assert sorted(call.ig_user_id for call in graph.calls) == sorted(users)


@pytest.mark.usefixtures("production_limits")
async def test_a_broker_that_is_away_means_503_and_retry_after(
    client: Client, broker: Node
) -> None:
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(new_user(), ACCOUNT)))
    await broker.stop()
    async with asyncio.timeout(WITHIN_S):
        answer = await client.post_webhook(body)
    answer.assert_problem(503)
    assert int(answer.headers["Retry-After"]) > 0
    ready = await client.call("GET", "/readyz")
    assert (ready.status, ready.json["intake"]["state"]) == (200, "unavailable")


async def test_a_broker_that_is_full_refuses_and_heals_by_itself(
    start: Start, small_broker: Node, database_url: str, db: asyncpg.Connection
) -> None:
    """A limit stands in for its disk, which chaos fills; with PostgreSQL away it is met."""
    async with link_to_postgres(database_url) as (link, url):
        client = await start(intake_url=small_broker.url, database_url=url)
        await client.connect()
        link.cut()
        acked: list[str] = []

        async def deliver() -> Answer:
            users = [new_user() for _ in range(500)]
            items = [samples.message(user, ACCOUNT) for user in users]
            answer = await client.post_webhook(samples.delivery(samples.entry(ACCOUNT, *items)))
            acked.extend(users if answer.status == 200 else ())
            return answer

        while (answer := await deliver()).status == 200:
            assert len(acked) < 50_000
        answer.assert_problem(503)
        assert int(answer.headers["Retry-After"]) > 0
        held = len(acked)
        assert held > 0
        link.heal()

        async def is_acknowledged() -> bool:
            return (await deliver()).status == 200

        await until(is_acknowledged)
        await until_stored(db, *acked)


async def test_acknowledged_messages_survive_a_service_killed_before_it_journals(
    spawn: Spawn, broker: Node, database_url: str, db: asyncpg.Connection
) -> None:
    async with link_to_postgres(database_url) as (link, url):
        first = await spawn(INTAKE_URL=broker.url, DATABASE_URL=url)
        await first.client.connect()
        link.cut()
        users = [new_user() for _ in range(5)]
        await first.client.write(*users)
        await first.stop(signal.SIGKILL)
    assert await stored_users(db) == set()
    await spawn(INTAKE_URL=broker.url)
    await until_stored(db, *users)


async def test_an_erasure_wins_over_what_still_waits_in_the_broker(
    start: Start, broker: Node, database_url: str, db: asyncpg.Connection
) -> None:
    async with link_to_postgres(database_url) as (link, away):
        far = await start(intake_url=broker.url, database_url=away)
        await far.connect()
        link.cut()
        user, other = new_user(), new_user()
        await far.write(user, other)

        async def is_taken() -> bool:
            async with broker.client() as look:
                info = await look.jetstream().consumer_info(STREAM, "journal")
                return bool(info.num_ack_pending)

        await until(is_taken)
        near = await start(intake_url=broker.url)
        erasing = asyncio.create_task(near.operator("DELETE", f"/users/{user}"))
        assert (await near.identity(user))["state"] == "unknown"
        link.heal()
        assert (await erasing).status == 204
        assert await stored_users(db) == {other}


async def test_an_erasure_that_cant_be_sure_says_503(client: Client, broker: Node) -> None:
    await broker.stop()
    answer = await client.operator("DELETE", f"/users/{new_user()}")
    answer.assert_problem(503)


async def test_a_stream_that_differs_stops_the_start_with_its_name(
    environment: dict[str, str], broker: Node, tmp_path: Path
) -> None:
    async with broker.client() as look:
        config = StreamConfig(name=STREAM, subjects=[SUBJECT], retention="limits")  # type: ignore[arg-type]  # as the broker has it
        await look.jetstream().add_stream(config)
    output = tmp_path / "start.log"
    process = await run_command("serve", environment | {"INTAKE_URL": broker.url}, output)
    async with asyncio.timeout(60):
        assert await process.wait() == 1
    said = output.read_text().splitlines()[-1]
    assert said.startswith(f"Stopped: The stream {STREAM} exists and differs: retention is")
    assert "Traceback" not in output.read_text()


async def test_a_start_waits_for_the_broker_and_then_says_that_it_is_away(
    settings: MakeSettings, broker: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.stop()
    monkeypatch.setattr(service.app, "START_WAITS_S", (0.01, 0.01))
    with pytest.raises(UnavailableError, match="Cannot connect to NATS"):
        async with service.app.service(settings(intake_url=broker.url)):
            pytest.fail("it began")


async def test_a_service_that_starts_before_the_broker_waits_for_it(
    environment: dict[str, str], broker: Node, tmp_path: Path
) -> None:
    await broker.stop()
    output = tmp_path / "early.log"
    process = await run_command("serve", environment | {"INTAKE_URL": broker.url}, output)
    try:
        await until(lambda: says(output, "waiting for the broker"), 20)
        await broker.start()
        await until(lambda: says(output, '"serving"'), 20)
    finally:
        process.terminate()
        assert await process.wait() == 0


async def until_resolved(client: Client, user: str) -> None:
    """Look a user up until it has its name; PostgreSQL may still be away."""

    async def is_resolved() -> bool:
        answer = await client.inbox(f"/users/{user}")
        return answer.status == 200 and answer.json["state"] == "resolved"

    await until(is_resolved)


async def says(output: Path, words: str) -> bool:
    return words in output.read_text()
