"""Journals participants, remembers them, and queues those that are due."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from service.errors import UnstorableError
from service.logs import TAG, SparingLog
from service.metrics import Metrics
from service.model.contacts import Contact
from service.queue import TurnQueue
from service.receiving.intake.known import Known
from service.store.journal import Journal

log = structlog.get_logger()


class Arrivals:
    """Journals contacts and queues the users who are due; every intake calls it."""

    def __init__(self, journal: Journal, known: Known, queue: TurnQueue, metrics: Metrics) -> None:
        self._journal = journal
        self._known = known
        self._queue = queue
        self._metrics = metrics
        self._log = SparingLog()

    def sift(self, contacts: Sequence[Contact]) -> list[Contact]:
        """Return the contacts that need a statement; users of the others are queued if due."""
        now = datetime.now(UTC)
        unknown = []
        for contact in contacts:
            recalled = self._known.recall(contact, now)
            if recalled is None:
                unknown.append(contact)
            elif recalled == "scheduled":
                self._offer(contact.ig_account_id, contact.ig_user_id)
        self._metrics.remembered.inc(len(contacts) - len(unknown))
        return unknown

    def are_durable(self, contacts: Sequence[Contact]) -> bool:
        """Return whether this replica remembers that all of them are committed."""
        return all(self._known.is_durable(contact) for contact in contacts)

    async def journal(self, contacts: Sequence[Contact]) -> list[Contact]:
        """Commit contacts; raises UnavailableError.

        Returns the contacts that PostgreSQL refuses: retrying cannot help, so they are dropped and
        logged, and the others are committed.
        """
        try:
            await self._commit(contacts)
        except UnstorableError as error:
            if len(contacts) > 1:
                apart = await asyncio.gather(*(self.journal([contact]) for contact in contacts))
                return [contact for refused in apart for contact in refused]
            for contact in contacts:
                log.error(
                    f"{TAG} dropped: the participant can't be stored",
                    ig_user_id=contact.ig_user_id,
                    ig_account_id=contact.ig_account_id,
                    error=str(error),
                )
            return list(contacts)
        return []

    async def _commit(self, contacts: Sequence[Contact]) -> None:
        mark = self._known.mark()
        written = await self._journal.write(contacts)
        self._metrics.journalled.inc(len(written))
        for participant in written:
            self._known.remember(participant, mark)
            if participant.is_due:
                self._offer(participant.ig_account_id, participant.ig_user_id)

    def _offer(self, ig_account_id: str, ig_user_id: str) -> None:
        if self._queue.is_full:
            self._metrics.turned_away.inc()
            self._log.warning(
                f"{TAG} queue full: left to the sweeper",
                ig_user_id=ig_user_id,
                ig_account_id=ig_account_id,
            )
        self._queue.offer(ig_account_id, ig_user_id, is_live=True)
