"""The intake without a broker: participants are committed to Postgres before the ack."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from service.errors import UnavailableError
from service.logs import TAG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.intake.known import Known
    from service.metrics import Metrics
    from service.model import Contact
    from service.queue import TurnQueue
    from service.store.journal import Journal

DURABLE_WITHIN_S = 2.5

log = structlog.get_logger()


class DirectIntake:
    """Journals contacts and puts who is due on the queue.

    What is known to be durable costs no statement, and is accepted while Postgres is away.
    """

    def __init__(self, journal: Journal, known: Known, queue: TurnQueue, metrics: Metrics) -> None:
        self._journal = journal
        self._known = known
        self._queue = queue
        self._metrics = metrics

    async def accept(self, contacts: Sequence[Contact]) -> None:
        """Return once every contact is committed; raises UnavailableError within 3 seconds."""
        now = datetime.now(UTC)
        unknown = [c for c in contacts if not self._known.needs_nothing(c, now)]
        self._metrics.remembered.inc(len(contacts) - len(unknown))
        if unknown:
            await self._commit(unknown)
        if len(unknown) < len(contacts):
            self._remind(contacts)

    def describe(self) -> dict[str, str]:
        """Say what it is."""
        return {"kind": "postgres"}

    async def _commit(self, contacts: list[Contact]) -> None:
        mark = self._known.mark()
        try:
            async with asyncio.timeout(DURABLE_WITHIN_S):
                written = await self._journal.write(contacts)
        except (UnavailableError, TimeoutError) as error:
            if all(self._known.is_durable(contact) for contact in contacts):
                log.warning(f"{TAG} accepted from memory: PostgreSQL is away", users=len(contacts))
                return
            raise UnavailableError("participants could not be committed in time") from error
        self._metrics.journalled.inc(len(written))
        for participant in written:
            self._known.remember(participant, mark)
            if participant.is_due:
                self._offer(participant.ig_account_id, participant.ig_user_id)

    def _remind(self, contacts: Sequence[Contact]) -> None:
        """Queue users again whose first fetch is still to be made."""
        for contact in contacts:
            if self._known.is_scheduled(contact):
                self._offer(contact.ig_account_id, contact.ig_user_id)

    def _offer(self, ig_account_id: str, ig_user_id: str) -> None:
        if self._queue.is_full:
            self._metrics.turned_away.inc()
            log.warning(
                f"{TAG} queue full: left to the sweeper",
                ig_user_id=ig_user_id,
                ig_account_id=ig_account_id,
            )
        self._queue.offer(ig_account_id, ig_user_id, is_live=True)
