"""The intake through NATS JetStream: acks do not depend on PostgreSQL.

A replicated log takes the participants. A delivery's are one message; consumers on every replica
journal them in batches and acknowledge in milliseconds. Nothing is scheduled in the broker.

Source: NATS documentation, "JetStream: streams, consumers, acknowledgement models".
"""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit, urlunsplit

import msgspec
import nats
import nats.errors
import structlog
from nats.js import api
from nats.js.errors import APIError, NotFoundError

from service.errors import ServiceError, UnavailableError, UnstorableError
from service.logs import TAG
from service.model import Contact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from service.intake.arrivals import Arrivals

STREAM = "instagram_contacts"
SUBJECT = "instagram.contacts"
CONSUMER = "journal"
DURABLE_WITHIN_S = 2.5
BATCH = 500
ACK_WAIT_S = 30.0
MOST_REPLICAS = 3
_WAIT_S = 1.0
_CALL_S = 5.0
_BACK_OFF_S = 0.5
_FAILURES = (nats.errors.Error, APIError, TimeoutError, OSError)

_WANTED_STREAM = api.StreamConfig(
    name=STREAM,
    subjects=[SUBJECT],
    retention=api.RetentionPolicy.WORK_QUEUE,
    storage=api.StorageType.FILE,
    discard=api.DiscardPolicy.NEW,
)
_STREAM_PROMISES = ("subjects", "retention", "storage", "discard")
_WANTED_CONSUMER = api.ConsumerConfig(
    durable_name=CONSUMER,
    ack_policy=api.AckPolicy.EXPLICIT,
    ack_wait=ACK_WAIT_S,
    max_deliver=-1,
    max_ack_pending=10 * BATCH,
)
_CONSUMER_PROMISES = ("ack_policy", "deliver_subject", "max_deliver")

log = structlog.get_logger()


class BrokerMismatchError(ServiceError):
    """A stream or consumer of our name exists and is not what the intake needs."""


class JetStreamIntake:
    """Accepts once the broker has, and journals what it holds."""

    def __init__(self, client: Client, arrivals: Arrivals) -> None:
        self._client = client
        self._stream: JetStreamContext = client.jetstream(timeout=DURABLE_WITHIN_S)
        self._arrivals = arrivals

    async def accept(self, contacts: Sequence[Contact]) -> None:
        """Return once the broker holds every contact; raises UnavailableError within 3 seconds."""
        unknown = self._arrivals.sift(contacts)
        if not unknown:
            return
        if not self._client.is_connected:
            raise UnavailableError("the broker is not connected")
        try:
            async with asyncio.timeout(DURABLE_WITHIN_S):
                await self._stream.publish(SUBJECT, msgspec.json.encode(unknown), stream=STREAM)
        except _FAILURES as error:
            raise UnavailableError(f"the broker did not accept: {type(error).__name__}") from error

    def describe(self) -> dict[str, str]:
        """Say what it is and whether the broker is connected."""
        return {"kind": "jetstream", "state": "ok" if self._client.is_connected else "unavailable"}

    async def run(self) -> None:
        """Journal what the broker holds, until cancelled."""
        while True:
            try:
                subscription = await self._stream.pull_subscribe_bind(CONSUMER, STREAM)
                while True:
                    await self._journal(await _fetch(subscription))
            except _FAILURES as error:
                log.warning("the broker is away", error=type(error).__name__)
                await asyncio.sleep(_BACK_OFF_S)

    async def _journal(self, messages: list[Msg]) -> None:
        """Commit a batch and acknowledge it; what can't be read or stored is ended aloud."""
        readable = {id(m): contacts for m in messages if (contacts := _contacts(m)) is not None}
        for message in messages:
            if id(message) not in readable:
                await message.term()
        batch = [m for m in messages if id(m) in readable]
        try:
            await self._commit(batch, [c for m in batch for c in readable[id(m)]])
        except UnstorableError:
            for message in batch:
                await self._commit_alone(message, readable[id(message)])

    async def _commit_alone(self, message: Msg, contacts: list[Contact]) -> None:
        try:
            await self._commit([message], contacts)
        except UnstorableError as error:
            log.error(f"{TAG} dropped: can't be stored", users=len(contacts), error=str(error))
            await message.term()

    async def _commit(self, messages: list[Msg], contacts: list[Contact]) -> None:
        """Journal, for as long as it takes, and acknowledge."""
        while contacts:
            try:
                await self._arrivals.journal(contacts)
                break
            except UnavailableError as error:
                log.warning(f"{TAG} waits in the broker: PostgreSQL is away", error=str(error))
                for message in messages:
                    await message.in_progress()
                await asyncio.sleep(_BACK_OFF_S)
        for message in messages:
            await message.ack()


@asynccontextmanager
async def jetstream_intake(url: str, arrivals: Arrivals) -> AsyncIterator[JetStreamIntake]:
    """Connect to the cluster, and make or check the stream and its consumer.

    `url` is a comma list of nats:// or tls:// addresses; a user and password may stand in it, or
    `?creds=` with the path of a credentials file. Raises UnavailableError or BrokerMismatchError.
    """
    servers, credentials = _read_url(url)
    try:
        client = await nats.connect(
            servers,
            user_credentials=credentials,
            connect_timeout=2,
            reconnect_time_wait=1,
            max_reconnect_attempts=-1,
            ping_interval=2,
            error_cb=_tell_error,
            name="instagram-identity",
        )
    except _FAILURES as error:
        raise UnavailableError(f"NATS does not let us in: {type(error).__name__}") from error
    try:
        await _prepare(client.jetstream(timeout=_CALL_S))
        yield JetStreamIntake(client, arrivals)
    finally:
        await client.close()


def _read_url(url: str) -> tuple[list[str], str | None]:
    servers, credentials = [], None
    for address in url.split(","):
        parts = urlsplit(address.strip())
        credentials = parse_qs(parts.query).get("creds", [credentials])[0]
        servers.append(urlunsplit(parts._replace(query="")))
    return servers, credentials


async def _prepare(stream: JetStreamContext) -> None:
    try:
        await _prepare_stream(stream)
        await _prepare_consumer(stream)
    except _FAILURES as error:
        raise UnavailableError(f"JetStream is not ready: {error}") from error


async def _prepare_stream(stream: JetStreamContext) -> None:
    try:
        found = (await stream.stream_info(STREAM)).config
    except NotFoundError:
        await _add_stream(stream)
    else:
        _compare(f"stream {STREAM}", found, _WANTED_STREAM, _STREAM_PROMISES)


async def _add_stream(stream: JetStreamContext) -> None:
    """Create the stream with as many replicas as the cluster has, up to three."""
    for replicas in range(MOST_REPLICAS, 0, -1):
        try:
            await stream.add_stream(dataclasses.replace(_WANTED_STREAM, num_replicas=replicas))
        except APIError as error:
            if replicas == 1:
                raise
            log.info("fewer replicas", replicas=replicas - 1, error=error.description)
        else:
            log.info("stream created", stream=STREAM, replicas=replicas)
            return


async def _prepare_consumer(stream: JetStreamContext) -> None:
    try:
        found = (await stream.consumer_info(STREAM, CONSUMER)).config
    except NotFoundError:
        await stream.add_consumer(STREAM, _WANTED_CONSUMER)
    else:
        _compare(f"consumer {CONSUMER}", found, _WANTED_CONSUMER, _CONSUMER_PROMISES)


def _compare(what: str, found: object, wanted: object, names: tuple[str, ...]) -> None:
    wrong = [
        f"{name} is {getattr(found, name)!r}, not {getattr(wanted, name)!r}"
        for name in names
        if getattr(found, name) != getattr(wanted, name)
    ]
    if wrong:
        raise BrokerMismatchError(
            f"The {what} exists and differs: {'; '.join(wrong)}. Delete or change it, then restart."
        )


async def _fetch(subscription: JetStreamContext.PullSubscription) -> list[Msg]:
    try:
        return await subscription.fetch(BATCH, timeout=_WAIT_S)
    except (nats.errors.TimeoutError, TimeoutError):
        return []


def _contacts(message: Msg) -> list[Contact] | None:
    try:
        return msgspec.json.decode(message.data, type=list[Contact])
    except msgspec.MsgspecError as error:
        log.error(f"{TAG} dropped: not a message of ours", error=str(error))
        return None


async def _tell_error(error: Exception) -> None:
    log.warning("the broker reports", error=type(error).__name__)
