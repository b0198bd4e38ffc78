"""Users by state, counted by one replica and announced to the others."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import msgspec

from service.failing import attempt
from service.metrics import Metrics
from service.store.counts import Counts
from service.waiting import wait_at_most

COUNT_EVERY_S = (5.0, 45.0)
COUNTS_CHANNEL = "instagram_counts"
_SHARE_OF_TIME = 50  # a count that takes a second is made every 50 seconds


class CountedUsers:
    """The number of users in each state, at most about a minute old.

    The replica that has waited longest counts; its notice makes the others wait again.
    `announce` sends a notice on a channel to every replica.
    """

    def __init__(
        self,
        counts: Counts,
        announce: Callable[[str, str], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self._counts = counts
        self._announce = announce
        self._metrics = metrics
        self._heard = asyncio.Event()
        self.by_state = {"resolved": 0, "pending": 0, "failed": 0}

    def hear(self, payload: str) -> None:
        """Use the figures of another replica."""
        try:
            found = msgspec.json.decode(payload, type=dict[str, int])
        except msgspec.MsgspecError:
            return  # every role can send notices
        if found.keys() == self.by_state.keys():
            self._show(found)
            self._heard.set()

    async def run(self) -> None:
        """Count until cancelled, unless another replica does; less often the longer it takes."""
        while True:
            every_s = await self._count()
            every_s *= random.uniform(1, 1.2)  # noqa: S311 - so that one replica is the first
            self._heard.clear()
            while await wait_at_most(self._heard, every_s):
                self._heard.clear()

    async def _count(self) -> float:
        """Count and notify the other replicas; returns the seconds until the next count."""
        started_at = time.monotonic()
        await attempt(self._count_and_announce(), "identities not counted")
        took_s = time.monotonic() - started_at
        least_s, most_s = COUNT_EVERY_S
        return min(most_s, max(least_s, _SHARE_OF_TIME * took_s))

    async def _count_and_announce(self) -> None:
        by_state = await self._counts.read()
        self._show(by_state)
        await self._announce(COUNTS_CHANNEL, msgspec.json.encode(by_state).decode())

    def _show(self, by_state: dict[str, int]) -> None:
        self.by_state = by_state
        for state, count in by_state.items():
            self._metrics.identities.labels(state).set(count)
