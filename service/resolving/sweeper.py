"""The sweeper: what fell due becomes hints, whoever knew of it before."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from service.errors import UnavailableError
from service.waiting import wait_at_most

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from service.queue import TurnQueue
    from service.store.identities import DueUser

    # so many an account, so many at most, due for so long
    FindDue = Callable[[int, int, timedelta], Awaitable[Sequence[DueUser]]]

INTERVAL_S = 1.0
FULL_INTERVAL_S = 0.1  # there is more where a full sweep came from
LOW_WATER = 1000
A_ACCOUNT = 100
# What came in through this process is on its queue already: leave it a moment.
OVERDUE = timedelta(seconds=0.5)

log = structlog.get_logger()


class Sweeper:
    """Reads what is due, only while the queue is low, and puts it behind live messages."""

    def __init__(self, find_due: FindDue, queue: TurnQueue, capacity: int) -> None:
        self._find_due = find_due
        self._queue = queue
        self._low_water = min(LOW_WATER, max(1, capacity // 2))
        self._wake = asyncio.Event()
        self._swept_at = time.monotonic()

    def age_s(self) -> float:
        """How many seconds ago it last looked for what is due."""
        return time.monotonic() - self._swept_at

    def wake(self) -> None:
        """Sweep at once: something has become due (a new token, the end of a pause)."""
        self._wake.set()

    async def run(self) -> None:
        """Sweep until cancelled; while Postgres is away, try on."""
        while True:
            self._wake.clear()
            is_more = False
            try:
                is_more = await self.sweep()
                self._swept_at = time.monotonic()
            except UnavailableError as error:
                log.warning("sweep put off", error=str(error))
            await wait_at_most(self._wake, FULL_INTERVAL_S if is_more else INTERVAL_S)

    async def sweep(self) -> bool:
        """Offer what is overdue; tells whether there is likely more than was looked at."""
        if self._queue.depth >= self._low_water:
            return True
        due = await self._find_due(A_ACCOUNT, self._low_water, OVERDUE)
        for user in due:
            self._queue.offer(user.ig_account_id, user.ig_user_id, is_live=False)
        return len(due) >= min(A_ACCOUNT, self._low_water)
