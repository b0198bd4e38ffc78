"""Erases users from the tables, the queue and memory, including calls in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from service.identities.memory import LookupMemory
from service.logs import TAG
from service.queue import TurnQueue
from service.receiving.intake import Intake
from service.receiving.intake.known import Known
from service.store.identities import Identities

log = structlog.get_logger()


class Erasure:
    """Erases users; the tables' notices make other replicas forget them."""

    def __init__(
        self,
        identities: Identities,
        intake: Intake,
        forget: Callable[[Sequence[str]], None],
    ) -> None:
        self._identities = identities
        self._intake = intake
        self.forget = forget

    async def erase(self, ig_user_ids: Sequence[str]) -> None:
        """Erase everything stored about users.

        Memory is cleared before and after: a delivery in between is either journalled again or
        deleted, never remembered as durable. Messages that a broker accepted earlier are awaited,
        since they could restore a user. Raises UnavailableError if the erasure may be incomplete;
        it can be repeated.
        """
        self.forget(ig_user_ids)
        await self._identities.erase(*ig_user_ids)
        if await self._intake.settle():
            await self._identities.erase(*ig_user_ids)
        self.forget(ig_user_ids)
        for ig_user_id in ig_user_ids:
            log.info(f"{TAG} erased", ig_user_id=ig_user_id, outcome="erased")


def forget(
    known: Known, memory: LookupMemory, queue: TurnQueue, ig_user_ids: Sequence[str]
) -> None:
    """Clear this process's memory of users."""
    for ig_user_id in ig_user_ids:
        known.evict(ig_user_id)
        memory.evict(ig_user_id)
        queue.forget(ig_user_id)
