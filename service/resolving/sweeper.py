"""The sweeper: queues users who became due, on any replica."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog

from service.failing import attempt
from service.queue import TurnQueue
from service.store.identities import DueUser
from service.waiting import wait_at_most

# (at most per account, at most in total, due for at least this long)
FindDue = Callable[[int, int, timedelta], Awaitable[Sequence[DueUser]]]

INTERVAL_S = 1.0
FULL_INTERVAL_S = 0.1  # after a full sweep, which probably left some
LOW_WATER = 1000
A_ACCOUNT = 100
# A user who has just written is already on the queue of the replica that received the message.
OVERDUE = timedelta(seconds=0.5)

log = structlog.get_logger()


class Sweeper:
    """Reads due users while the queue is low, and queues them behind live messages."""

    def __init__(self, find_due: FindDue, queue: TurnQueue, capacity: int) -> None:
        self._find_due = find_due
        self._queue = queue
        self._low_water = min(LOW_WATER, max(1, capacity // 2))
        self._wake = asyncio.Event()
        self._swept_at = time.monotonic()

    def age_s(self) -> float:
        """How many seconds ago it last looked for due users."""
        return time.monotonic() - self._swept_at

    def wake(self) -> None:
        """Sweep immediately: users have become due (a new token, the end of a pause)."""
        self._wake.set()

    async def run(self) -> None:
        """Sweep until cancelled; while PostgreSQL is unavailable, retry."""
        while True:
            self._wake.clear()
            is_more = await attempt(self.sweep(), "sweep postponed")
            if is_more is not None:
                self._swept_at = time.monotonic()
            await wait_at_most(self._wake, FULL_INTERVAL_S if is_more else INTERVAL_S)

    async def sweep(self) -> bool:
        """Queue overdue users; returns whether there are probably more."""
        if self._queue.depth >= self._low_water:
            return True
        due = await self._find_due(A_ACCOUNT, self._low_water, OVERDUE)
        for user in due:
            self._queue.offer(user.ig_account_id, user.ig_user_id, is_live=False)
        return len(due) >= min(A_ACCOUNT, self._low_water)
