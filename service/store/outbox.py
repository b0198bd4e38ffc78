"""The outbox of deliveries to forward."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from service.coalescer import Coalescer
from service.errors import UnavailableError
from service.store.database import SLOW_STATEMENT_S, Database
from service.store.queries import read_queries

GIVE_UP_AFTER = timedelta(hours=36)
KEPT_ASIDE = timedelta(days=7)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=1), timedelta(minutes=5)
STORED_WITHIN_S = 2.5
MOST_STORING_BYTES = 64 * 1024 * 1024
_MOST_IN_A_STATEMENT = 64
_A_SLICE = 1000

# A claim or a deletion that a crash of PostgreSQL loses means one more post, nothing else.
_LAZILY = "SET LOCAL synchronous_commit = off"

_SQL = read_queries("forwarding")


class Outgoing(msgspec.Struct, frozen=True):
    """A delivery to one address, ready to be stored; `size` is the body's length in bytes."""

    delivery_id: str
    address: str
    headers: dict[str, str]
    sealed_body: bytes
    size: int
    only_user_id: str | None


class Forward(msgspec.Struct, frozen=True):
    """A stored delivery that this process can post until its lease lapses."""

    id: int
    lease: int
    delivery_id: str
    headers_json: str
    sealed_body: bytes
    attempts: int


class Postponed(msgspec.Struct, frozen=True):
    """When a failed forward is retried; it is set aside after 36 hours."""

    id: int
    attempts: int
    due_at: datetime
    is_set_aside: bool


class Backlog(msgspec.Struct, frozen=True):
    """The deliveries that wait for one address."""

    address: str
    waiting: int = 0
    bytes: int = 0
    posting: int = 0
    set_aside: int = 0
    oldest_s: float = 0.0
    most_attempts: int = 0


class Outbox:
    """Stores deliveries for forwarding; concurrent webhooks share a statement.

    At most `most_bytes` wait: the last measurement plus the bytes stored by this process since.
    """

    def __init__(self, database: Database, most_bytes: int) -> None:
        self._database = database
        self._most_bytes = most_bytes
        self._stores = Coalescer(
            self._store, max_batch=_MOST_IN_A_STATEMENT, patience_s=STORED_WITHIN_S
        )
        self._finishes = Coalescer(self._finish)
        self._failures = Coalescer(self._postpone)
        self._storing_bytes = 0
        self._stored_bytes = 0
        self._measured_bytes = 0

    @property
    def waiting_bytes(self) -> int:
        """Upper bound of the bytes that wait."""
        return self._measured_bytes + self._stored_bytes + self._storing_bytes

    async def store(self, deliveries: Sequence[Outgoing]) -> None:
        """Return once the deliveries are committed; raises UnavailableError within 2.5 seconds."""
        size = sum(delivery.size for delivery in deliveries)
        if self.waiting_bytes + size > self._most_bytes:
            raise UnavailableError("deliveries that wait to be forwarded fill FORWARD_MAX_BYTES")
        if self._storing_bytes + size > MOST_STORING_BYTES:
            raise UnavailableError("too many deliveries are being stored")
        self._storing_bytes += size
        try:
            await self._stores.submit_all(deliveries)
            self._stored_bytes += size
        finally:
            self._storing_bytes -= size

    async def _store(self, deliveries: Sequence[Outgoing]) -> list[None]:
        await self._database.fetch(
            _SQL["store"],
            [d.delivery_id for d in deliveries],
            [d.address for d in deliveries],
            [json.dumps(d.headers) for d in deliveries],
            [d.sealed_body for d in deliveries],
            [d.size for d in deliveries],
            [d.only_user_id for d in deliveries],
            GIVE_UP_AFTER,
        )
        return [None] * len(deliveries)

    async def claim(
        self, address: str, at_most: int, lease: int, lasting: timedelta, most_at_a_time: int
    ) -> list[Forward]:
        """Lease the deliveries due first; all replicas together hold at most `most_at_a_time`."""
        async with self._database.transaction() as session:
            await session.execute(_LAZILY)
            await session.execute(_SQL["lock_address"], address)
            rows = await session.fetch(
                _SQL["claim"], address, at_most, lease, lasting, most_at_a_time
            )
        return sorted((Forward(**row, lease=lease) for row in rows), key=lambda forward: forward.id)

    async def finish(self, forward: Forward) -> None:
        """Delete a delivery that its address answered with 2xx."""
        await self._finishes.submit(forward)

    async def _finish(self, forwards: Sequence[Forward]) -> list[None]:
        async with self._database.transaction() as session:
            await session.execute(_LAZILY)
            await session.execute(_SQL["finish"], *_keys(forwards))
        return [None] * len(forwards)

    async def postpone(self, forward: Forward, error: str) -> Postponed | None:
        """Schedule the next attempt, or set the delivery aside; None if the lease was lost."""
        return await self._failures.submit((forward, error))

    async def _postpone(self, failed: Sequence[tuple[Forward, str]]) -> list[Postponed | None]:
        rows = await self._database.fetch(
            _SQL["postpone"],
            *_keys([forward for forward, _ in failed]),
            [error for _, error in failed],
            FIRST_WAIT,
            LONGEST_WAIT,
        )
        found = {row["id"]: Postponed(**row) for row in rows}
        return [found.get(forward.id) for forward, _ in failed]

    async def release(self, forwards: Sequence[Forward]) -> None:
        """Release deliveries that were not posted."""
        await self._database.fetch(_SQL["release"], *_keys(forwards))

    async def measure(self) -> list[Backlog]:
        """Count the deliveries of each address; reads the whole table."""
        stored_before = self._stored_bytes
        rows = await self._database.fetch(_SQL["measure"], timeout_s=SLOW_STATEMENT_S)
        backlogs = [Backlog(**row) for row in rows]
        self._measured_bytes = sum(backlog.bytes for backlog in backlogs)
        self._stored_bytes -= stored_before
        return backlogs

    async def last_error(self, address: str) -> str | None:
        """Return the error of the latest failed attempt at an address."""
        rows = await self._database.fetch(_SQL["last_error"], address)
        return rows[0]["last_error"] if rows else None

    async def set_aside_overdue(self) -> list[str]:
        """Set aside overdue deliveries that no replica posts, a batch; returns their addresses."""
        rows = await self._database.fetch(_SQL["set_aside_overdue"], _A_SLICE)
        return [row["address"] for row in rows]

    async def delete_set_aside(self) -> list[str]:
        """Delete deliveries set aside 7 days ago, a batch; returns their addresses."""
        rows = await self._database.fetch(_SQL["delete_set_aside"], KEPT_ASIDE, _A_SLICE)
        return [row["address"] for row in rows]

    async def retry(self, address: str | None) -> int:
        """Make all waiting and set-aside deliveries due now, for 36 hours; returns how many."""
        retried, last_id = 0, 0
        while True:
            rows = await self._database.fetch(
                _SQL["retry"], address, last_id, _A_SLICE, GIVE_UP_AFTER
            )
            retried += len(rows)
            if len(rows) < _A_SLICE:
                return retried
            last_id = max(row["id"] for row in rows)

    async def drop(self, address: str, *, only_set_aside: bool) -> int:
        """Delete an address's deliveries without sending them; returns how many."""
        dropped = 0
        while True:
            rows = await self._database.fetch(_SQL["drop"], address, only_set_aside, _A_SLICE)
            dropped += len(rows)
            if len(rows) < _A_SLICE:
                return dropped


def _keys(forwards: Sequence[Forward]) -> tuple[list[int], list[int]]:
    return [forward.id for forward in forwards], [forward.lease for forward in forwards]
