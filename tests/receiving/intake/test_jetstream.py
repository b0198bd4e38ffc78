"""The intake through a broker, against a real one."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from signal import SIGTERM

import asyncpg
import msgspec
import pytest
import structlog
from nats.js.api import ConsumerConfig, StreamConfig

from service.errors import UnavailableError
from service.metrics import Metrics
from service.model.contacts import Contact
from service.model.freshness import Rules
from service.queue import TurnQueue
from service.receiving.intake import Intake, stream
from service.receiving.intake.arrivals import Arrivals
from service.receiving.intake.broker import Broker
from service.receiving.intake.jetstream import JetStreamIntake, jetstream_intake
from service.receiving.intake.known import Known
from service.receiving.intake.stream import CONSUMER, STREAM, SUBJECT, BrokerMismatchError
from service.store.database import Database
from service.store.journal import Journal
from tests.receiving.intake.conftest import contact, stored_users, until_stored
from tests.receiving.intake.suite import *  # noqa: F403 - the suite that every intake passes
from tests.service.conftest import new_user
from tests.system.chaos.link import Link
from tests.system.chaos.nodes import Node
from tests.until import WITHIN_S, until


@pytest.fixture
async def intake(broker: Node, arrivals: Arrivals) -> AsyncIterator[Intake]:
    async with running(broker.url, arrivals) as intake:
        yield intake


@pytest.fixture
async def stored_away(broker: Node, arrivals: Arrivals) -> AsyncIterator[Intake]:
    async with running(broker.url, arrivals) as intake:
        await broker.stop()
        yield intake


@asynccontextmanager
async def running(url: str, arrivals: Arrivals) -> AsyncIterator[JetStreamIntake]:
    """Give an intake that journals in the background."""
    async with jetstream_intake(url, arrivals) as intake:
        task = asyncio.create_task(intake.run())
        try:
            yield intake
            assert not task.done()
        finally:
            task.cancel()
            async with asyncio.timeout(60):
                await asyncio.wait([task])


async def accept_at_last(intake: Intake, *contacts: Contact) -> None:
    """Send a delivery again until it is accepted, as Meta does."""

    async def is_accepted() -> bool:
        try:
            await intake.accept(contacts)
        except UnavailableError:
            return False
        return True

    await until(is_accepted)


async def test_what_was_acked_survives_a_killed_broker(
    broker: Node, arrivals: Arrivals, db: asyncpg.Connection
) -> None:
    acked = [contact() for _ in range(20)]
    async with jetstream_intake(broker.url, arrivals) as intake:  # nobody journals
        for one in acked:
            await intake.accept([one])
    await broker.stop()
    await broker.start()
    async with running(broker.url, arrivals):
        await until_stored(db, *(c.ig_user_id for c in acked))


async def test_acks_and_journalling_resume_when_the_broker_is_back(
    intake: Intake, broker: Node, db: asyncpg.Connection
) -> None:
    before, after = contact(), contact()
    await intake.accept([before])
    await broker.stop(SIGTERM)
    with pytest.raises(UnavailableError):
        await intake.accept([contact()])
    assert intake.describe()["state"] == "unavailable"
    await broker.start()
    await accept_at_last(intake, after)
    await until_stored(db, before.ig_user_id, after.ig_user_id)
    assert intake.describe()["state"] == "ok"


@pytest.mark.usefixtures("production_limits")
async def test_a_frozen_broker_refuses_and_heals(
    intake: Intake, broker: Node, db: asyncpg.Connection
) -> None:
    await broker.freeze()
    async with asyncio.timeout(WITHIN_S):  # production's 2.5 s, on a busy machine
        with pytest.raises(UnavailableError):
            await intake.accept([contact()])
    broker.thaw()
    one = contact()
    await accept_at_last(intake, one)
    await until_stored(db, one.ig_user_id)


@pytest.mark.usefixtures("production_limits")
async def test_a_link_that_is_cut_heals(
    broker: Node, arrivals: Arrivals, db: asyncpg.Connection
) -> None:
    async with (
        Link(broker.port).up() as link,
        running(f"nats://127.0.0.1:{link.port}", arrivals) as intake,
    ):
        acked = [contact()]
        await intake.accept(acked)
        for _ in range(2):
            link.cut()
            link.heal()
            acked.append(contact())
            await accept_at_last(intake, acked[-1])
        await until_stored(db, *(c.ig_user_id for c in acked))


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x00\xff", b"{}", b'[{"ig_user_id": 7}]', b'[{"a":' + b"[" * 100_000, b'["\xff"]'],
)
async def test_a_message_that_cant_be_read_is_ended_aloud(
    intake: Intake, broker: Node, db: asyncpg.Connection, payload: bytes
) -> None:
    one = contact()
    with structlog.testing.capture_logs() as logs:
        async with broker.client() as client:
            await client.jetstream().publish(SUBJECT, payload)
        await intake.accept([one])
        await intake.settle()
    assert await stored_users(db) == {one.ig_user_id}
    assert [line for line in logs if "dropped: not a valid contact" in line["event"]]


async def test_a_contact_that_cant_be_stored_costs_itself_alone(
    intake: Intake, broker: Node, db: asyncpg.Connection
) -> None:
    good = [contact() for _ in range(3)]
    bad = [msgspec.structs.replace(contact(), ig_user_id=id_) for id_ in ("no digits", "1\x00")]
    with structlog.testing.capture_logs() as logs:
        async with broker.client() as client:
            body = msgspec.json.encode([good[0], bad[0], good[1], bad[1]])
            await client.jetstream().publish(SUBJECT, body)
        await intake.accept([good[2]])
        await intake.settle()
    assert await stored_users(db) == {c.ig_user_id for c in good}
    assert len([line for line in logs if "dropped: not a valid contact" in line["event"]]) == 2


ODD_TIMES = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"]


@pytest.mark.parametrize("time", [*ODD_TIMES, "20000-01-01T00:00:00Z", "2026-11-22T10:00:00"])
async def test_a_message_with_a_time_out_of_bounds_ends_nothing(
    intake: Intake, broker: Node, db: asyncpg.Connection, time: str
) -> None:
    odd, one = contact(), contact()
    body = msgspec.json.encode([odd]).replace(
        msgspec.json.encode(odd.last_at), msgspec.json.encode(time)
    )
    async with broker.client() as client:
        await client.jetstream().publish(SUBJECT, body)
    await intake.accept([one])
    await intake.settle()
    kept = {odd.ig_user_id} if time in ODD_TIMES else set()
    assert await stored_users(db) == {one.ig_user_id} | kept
    assert await db.fetchval(
        "SELECT bool_and(last_message_at BETWEEN timestamptz 'epoch' AND now())"
        " FROM instagram_participants"
    )


async def test_a_message_that_nobody_foresaw_is_ended_and_costs_no_other(
    intake: Intake, arrivals: Arrivals, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = contact(), contact()
    journal = arrivals.journal

    async def stumble(contacts: Sequence[Contact]) -> list[Contact]:
        if bad in contacts:
            raise ZeroDivisionError
        return await journal(contacts)

    monkeypatch.setattr(arrivals, "journal", stumble)
    with structlog.testing.capture_logs() as logs:
        await asyncio.gather(intake.accept([bad]), intake.accept([good]))
        await intake.settle()
    assert await stored_users(db) == {good.ig_user_id}
    (said,) = [line for line in logs if "can't be handled" in line["event"]]
    assert said["exc_info"]


async def test_a_delivery_is_split_by_what_the_broker_takes_in_one_message(
    tmp_path: Path, arrivals: Arrivals, db: asyncpg.Connection
) -> None:
    config = tmp_path / "nats.conf"
    config.write_text("max_payload: 64KB\n")
    node, contacts = Node(tmp_path, "-c", str(config)), [contact() for _ in range(1000)]
    try:
        await node.start()
        async with running(node.url, arrivals) as intake:
            await intake.accept(contacts)
            await until_stored(db, *(c.ig_user_id for c in contacts))
    finally:
        await node.stop()


async def test_a_delivery_is_split_by_what_the_stream_takes_in_one_message(
    broker: Node, arrivals: Arrivals, db: asyncpg.Connection
) -> None:
    config = dataclasses.replace(stream._STREAM, max_msg_size=2000)
    async with broker.client() as client:
        await client.jetstream().add_stream(config)
    contacts = [contact() for _ in range(50)]
    async with running(broker.url, arrivals) as intake:
        await intake.accept(contacts)
        await until_stored(db, *(c.ig_user_id for c in contacts))


async def test_a_message_that_was_not_acknowledged_is_delivered_again(
    broker: Node,
    arrivals: Arrivals,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream._CONSUMER, "ack_wait", 0.5)
    one = contact()
    async with jetstream_intake(broker.url, arrivals) as intake:
        await intake.accept([one])
        async with broker.client() as client:  # takes it, and dies
            taken = await client.jetstream().pull_subscribe_bind(CONSUMER, STREAM)
            assert len(await taken.fetch(10, timeout=5)) == 1
    async with running(broker.url, arrivals):
        await until_stored(db, one.ig_user_id)


async def test_a_consumer_and_a_stream_that_were_deleted_are_made_again(
    intake: Intake, broker: Node, db: asyncpg.Connection
) -> None:
    async with broker.client() as client:
        await client.jetstream().delete_consumer(STREAM, CONSUMER)
        one = contact()
        await accept_at_last(intake, one)
        await until_stored(db, one.ig_user_id)
        await client.jetstream().delete_stream(STREAM)
        other = contact()
        await accept_at_last(intake, other)
        await until_stored(db, other.ig_user_id)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (StreamConfig(retention="limits"), "retention is 'limits'"),  # type: ignore[arg-type]  # as the broker has it
        (StreamConfig(retention="workqueue", storage="memory"), "storage is 'memory'"),  # type: ignore[arg-type]  # as above
        (StreamConfig(retention="workqueue", max_age=60, discard="new"), "max_age is 60"),  # type: ignore[arg-type]  # as above
    ],
)
async def test_a_stream_that_differs_is_refused_by_name(
    broker: Node, arrivals: Arrivals, config: StreamConfig, said: str
) -> None:
    config.name, config.subjects = STREAM, [SUBJECT]
    async with broker.client() as client:
        await client.jetstream().add_stream(config)
    with pytest.raises(BrokerMismatchError, match=said):
        async with jetstream_intake(broker.url, arrivals):
            pytest.fail("it began")


async def test_a_consumer_that_differs_is_refused_by_name(broker: Node, arrivals: Arrivals) -> None:
    async with jetstream_intake(broker.url, arrivals):
        pass
    async with broker.client() as client:
        await client.jetstream().delete_consumer(STREAM, CONSUMER)
        config = ConsumerConfig(durable_name=CONSUMER, max_deliver=3)
        await client.jetstream().add_consumer(STREAM, config)
    with pytest.raises(BrokerMismatchError, match="max_deliver is 3"):
        async with jetstream_intake(broker.url, arrivals):
            pytest.fail("it began")


async def test_no_broker_is_said_so(broker: Node, arrivals: Arrivals) -> None:
    await broker.stop()
    with pytest.raises(UnavailableError, match="Cannot connect to NATS"):
        async with jetstream_intake(broker.url, arrivals):
            pytest.fail("it began")


async def test_a_dead_address_in_the_list_does_no_harm(
    broker: Node, arrivals: Arrivals, db: asyncpg.Connection
) -> None:
    one = contact()
    async with running(f"nats://127.0.0.1:1,{broker.url}", arrivals) as intake:
        await intake.accept([one])
        await until_stored(db, one.ig_user_id)


async def test_while_postgres_is_away_contacts_are_accepted_and_wait(
    broker: Node, database_url: str, known: Known, queue: TurnQueue, db: asyncpg.Connection
) -> None:
    port = int(database_url.rpartition(":")[2].partition("/")[0])
    async with Link(port).up() as link:
        url = database_url.replace(f":{port}/", f":{link.port}/")
        async with Database.connect(url) as database:
            arrivals = Arrivals(Journal(database, Rules()), known, queue, Metrics())
            async with running(broker.url, arrivals) as intake:
                link.cut()
                acked = [contact() for _ in range(30)]
                with structlog.testing.capture_logs() as logs:
                    for one in acked:
                        await intake.accept([one])

                    async def has_told() -> bool:
                        return any("PostgreSQL is unavailable" in line["event"] for line in logs)

                    await until(has_told)
                assert await stored_users(db) == set()
                link.heal()
                await until_stored(db, *(c.ig_user_id for c in acked))


async def test_what_a_stopping_replica_holds_goes_to_another_at_once(
    broker: Node, arrivals: Arrivals, db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream._CONSUMER, "ack_wait", 3600.0)  # nobody waits for that
    async with running(broker.url, arrivals) as intake:
        journal = arrivals.journal
        holds = asyncio.Event()

        async def hold(_: object) -> None:
            holds.set()
            await asyncio.Event().wait()

        arrivals.journal = hold  # type: ignore[assignment,method-assign]  # a PostgreSQL that never answers
        one = contact()
        await intake.accept([one])
        await holds.wait()
    arrivals.journal = journal  # type: ignore[method-assign]  # as before
    async with running(broker.url, arrivals):
        await until_stored(db, one.ig_user_id)


async def test_a_lost_connection_does_not_swallow_a_cancellation(
    broker: Node, arrivals: Arrivals
) -> None:
    async with jetstream_intake(broker.url, arrivals) as intake:
        task = asyncio.create_task(intake.run())

        async def is_reading() -> bool:
            async with broker.client() as client:
                info = await client.jetstream().consumer_info(STREAM, CONSUMER)
                return bool(info.num_waiting)

        await until(is_reading)
        task.cancel()
        await intake._broker.close()
        async with asyncio.timeout(60):
            await asyncio.wait([task])
        assert task.cancelled()


Settle = Callable[[], Awaitable[bool]]


async def test_settling_waits_for_what_another_replica_holds(
    broker: Node,
    arrivals: Arrivals,
    db: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    stack: AsyncExitStack,
) -> None:
    monkeypatch.setattr(stream._CONSUMER, "ack_wait", 1.0)
    async with jetstream_intake(broker.url, arrivals) as other:
        one = contact(new_user())
        await other.accept([one])
        async with broker.client() as client:
            taken = await client.jetstream().pull_subscribe_bind(CONSUMER, STREAM)
            assert len(await taken.fetch(10, timeout=5)) == 1
        intake = await stack.enter_async_context(running(broker.url, arrivals))
        assert await intake.settle()
        assert await stored_users(db) == {one.ig_user_id}


async def test_settling_without_a_broker_is_refused() -> None:
    broker = Broker("nats://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="not connected"):
        await broker.state()
