"""The intake through NATS JetStream, whose acks do not depend on PostgreSQL.

The participants of a delivery are one message in a replicated stream; consumers on every replica
journal messages in batches and acknowledge them within milliseconds. The broker schedules nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from service.errors import UnavailableError
from service.model.contacts import Contact
from service.receiving.intake.arrivals import Arrivals
from service.receiving.intake.broker import BROKER_FAILURES, Broker
from service.receiving.intake.messages import MOST_CONTACTS, Unpacked, pack, unpack
from service.receiving.intake.stream import ACK_WAIT_S, BrokerMismatchError

SETTLED_WITHIN_S = ACK_WAIT_S + 2
_BATCH = 200
_FETCH_S = 1.0
_BACK_OFF_S = 0.5
_LOOK_AGAIN_S = 0.05
_TOUCH_EVERY_S = 1.0

log = structlog.get_logger()


class _Held(msgspec.Struct, frozen=True):
    """A message that this replica has to journal; `is_whole`: every contact in it was readable."""

    message: Msg
    contacts: list[Contact]
    is_whole: bool

    async def end(self, refused: Collection[tuple[str, str]] = ()) -> None:
        """Remove it from the stream: acknowledge it, or terminate it if some of it was dropped."""
        is_stored = self.is_whole and not any(c.key in refused for c in self.contacts)
        await (self.message.ack() if is_stored else self.message.term())


class JetStreamIntake:
    """Accepts contacts once the broker stores them, and journals what the broker holds."""

    def __init__(self, broker: Broker, arrivals: Arrivals) -> None:
        self._broker = broker
        self._arrivals = arrivals
        self._is_journalling = True
        self._touched_at = 0.0

    async def accept(self, contacts: Sequence[Contact]) -> None:
        """Return once the broker stores every contact; raises UnavailableError within 3 seconds."""
        unknown = self._arrivals.sift(contacts)
        messages = pack(unknown, self._broker.most_bytes)
        await asyncio.gather(*(self._broker.publish(message) for message in messages))

    async def settle(self) -> bool:
        """Return once everything the broker accepted is in the tables; raises UnavailableError.

        A message leaves the stream once it is journalled, so the first remaining one is enough.
        """
        try:
            async with asyncio.timeout(SETTLED_WITHIN_S):
                state = await self._broker.state()
                last = state.last_seq
                while state.messages and state.first_seq <= last:
                    await asyncio.sleep(_LOOK_AGAIN_S)
                    state = await self._broker.state()
        except TimeoutError:
            raise UnavailableError("participants still wait in the broker") from None
        return True

    def describe(self) -> dict[str, str]:
        """Describe the kind of intake, and whether the broker is connected."""
        return {"kind": "jetstream", "state": "ok" if self._broker.is_connected else "unavailable"}

    async def run(self) -> None:
        """Journal what the broker holds until cancelled; reconnects when a connection is lost."""
        while True:
            try:
                await self._broker.prepare()
                await self._consume()
            except (UnavailableError, BrokerMismatchError, *BROKER_FAILURES) as error:
                _insist_on_cancellation()
                log.warning("the broker is unavailable", error=str(error) or type(error).__name__)
                await asyncio.sleep(_BACK_OFF_S)

    async def _consume(self) -> None:
        subscription = await self._broker.subscribe()
        while self._broker.is_connected:
            _insist_on_cancellation()
            await self._journal(await _fetch(subscription))
        raise UnavailableError("the connection to the broker is lost")

    async def _journal(self, messages: list[Msg]) -> None:
        """Commit messages and acknowledge them; unreadable ones are terminated and logged."""
        self._touched_at, held = time.monotonic(), []
        for message in messages:
            read = _read(message)
            one = _Held(message, read.contacts, is_whole=not read.faults)
            if one.contacts or one.is_whole:
                held.append(one)
            else:
                await one.end()
        try:
            while held:
                await self._commit(_first_statement(held), held)
        except asyncio.CancelledError:
            for one in held:
                await (
                    one.message.nak()
                )  # redelivered to another replica now, not after the ack wait
            raise

    async def _commit(self, statement: list[_Held], held: list[_Held]) -> None:
        """Journal some of the held messages, however long it takes, and end them."""
        contacts = [contact for one in statement for contact in one.contacts]
        try:
            refused = await self._store(contacts, held)
        except (UnavailableError, *BROKER_FAILURES):
            raise
        except Exception:  # noqa: BLE001 - logged by _commit_singly, which finds the message
            await self._commit_singly(statement, held)
        else:
            for one in statement:
                await one.end(refused)
        del held[: len(statement)]
        if time.monotonic() - self._touched_at > _TOUCH_EVERY_S:
            await self._touch(held)

    async def _commit_singly(self, statement: list[_Held], held: list[_Held]) -> None:
        """Journal messages one by one after an unexpected error; terminate those that cause it.

        Such a message would otherwise be redelivered after every ack wait, forever.
        """
        for one in statement:
            try:
                refused = await self._store(one.contacts, held)
            except (UnavailableError, *BROKER_FAILURES):
                raise
            except Exception:
                log.exception("dropped: a message that can't be handled", users=len(one.contacts))
                await one.message.term()
            else:
                await one.end(refused)

    async def _store(
        self, contacts: Sequence[Contact], held: Sequence[_Held]
    ) -> set[tuple[str, str]]:
        """Journal; retry while PostgreSQL is unavailable, and extend the ack wait meanwhile.

        Returns the participants that PostgreSQL refuses. A message held for so long that another
        replica may have it is not journalled: its user may have been erased since.
        """
        while contacts:
            if time.monotonic() - self._touched_at > ACK_WAIT_S / 2:
                raise UnavailableError("messages were held for too long")
            try:
                refused = await self._arrivals.journal(contacts)
            except UnavailableError as error:
                self._log_state(str(error))
            else:
                self._log_state(None)
                return {contact.key for contact in refused}
            await self._touch(held)
            await asyncio.sleep(_BACK_OFF_S)
        return set()

    async def _touch(self, held: Sequence[_Held]) -> None:
        """Restart the ack wait of the held messages."""
        self._touched_at = time.monotonic()
        for one in held:
            await one.message.in_progress()

    def _log_state(self, error: str | None) -> None:
        """Log when messages start to wait for PostgreSQL, and when they stop."""
        if error is not None and self._is_journalling:
            log.warning("participants wait in the broker: PostgreSQL is unavailable", error=error)
        elif error is None and not self._is_journalling:
            log.info("participants no longer wait in the broker")
        self._is_journalling = error is None


@asynccontextmanager
async def jetstream_intake(url: str, arrivals: Arrivals) -> AsyncIterator[JetStreamIntake]:
    """Connect to the cluster; raises UnavailableError or BrokerMismatchError.

    `url` is as in Broker. The intake accepts immediately, and journals while `run` runs.
    """
    broker = Broker(url)
    try:
        await broker.prepare()
        yield JetStreamIntake(broker, arrivals)
    finally:
        await broker.close()


async def _fetch(subscription: JetStreamContext.PullSubscription) -> list[Msg]:
    try:
        return await subscription.fetch(_BATCH, timeout=_FETCH_S)
    except (nats.errors.TimeoutError, TimeoutError):
        return []


def _first_statement(held: Sequence[_Held]) -> list[_Held]:
    """Return the first messages that fit in one statement, at least one."""
    count, contacts = 0, 0
    for one in held:
        contacts += len(one.contacts)
        if count and contacts > MOST_CONTACTS:
            break
        count += 1
    return list(held[:count])


def _read(message: Msg) -> Unpacked:
    """Read a message; unreadable parts are dropped and logged."""
    try:
        read = unpack(message.data)
    except ValueError as error:
        read = Unpacked([], [f"not a list of contacts ({type(error).__name__})"])
    for fault in read.faults:
        log.error("dropped: not a valid contact", error=fault)
    return read


def _insist_on_cancellation() -> None:
    """Raise a pending cancellation: nats-py and Python 3.11's wait_for can swallow one."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
