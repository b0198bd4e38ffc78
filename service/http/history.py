"""Counts of this replica for each minute of the last hour, for the console's charts."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from service.metrics import Metrics
from service.queue import TurnQueue

MINUTES = 60
A_MINUTE = timedelta(minutes=1)


class Minute(msgspec.Struct, frozen=True, rename="camel"):
    """The counts of one minute, and the queue's length at its end."""

    at: datetime
    received: int
    named: int
    calls: int
    failures: dict[str, int]
    depth: int
    oldest_seconds: float


class History(msgspec.Struct, frozen=True, rename="camel"):
    """The minutes of one replica, oldest first; `replica` identifies it."""

    replica: str
    started_at: datetime
    minutes: list[Minute]


class Minutes:
    """Keeps the last 60 minutes, from the differences of the counters."""

    def __init__(
        self,
        metrics: Metrics,
        queue: TurnQueue,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._metrics = metrics
        self._queue = queue
        self._clock = clock
        self._replica = secrets.token_hex(4)
        self._started_at = clock()
        self._minutes: deque[Minute] = deque(maxlen=MINUTES)
        self._before = self._metrics.totals()

    def read(self) -> History:
        """Return the recorded minutes."""
        return History(self._replica, self._started_at, list(self._minutes))

    async def run(self) -> None:
        """Record each minute when it ends, until cancelled."""
        while True:
            now = self._clock()
            await asyncio.sleep((_minute_of(now) + A_MINUTE - now).total_seconds())
            self.note(self._clock())

    def note(self, now: datetime) -> None:
        """Record the minute that ends now."""
        totals = self._metrics.totals()
        since = {name: round(total - self._before.get(name, 0)) for name, total in totals.items()}
        self._before = totals
        self._minutes.append(
            Minute(
                at=_minute_of(now - A_MINUTE / 2),
                received=since["received"],
                named=since["named"],
                calls=sum(_calls(since).values()),
                failures={name: n for name, n in _calls(since).items() if n and name != "ok"},
                depth=self._queue.depth,
                oldest_seconds=round(self._queue.oldest_s(), 1),
            )
        )


def _calls(since: Mapping[str, int]) -> dict[str, int]:
    prefix = "calls:"
    return {name.removeprefix(prefix): n for name, n in since.items() if name.startswith(prefix)}


def _minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
