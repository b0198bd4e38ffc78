"""Erases the people of removed accounts, and people whose last message is too old."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from service.failing import attempt
from service.logs import TAG
from service.store.leaving import BEFORE_EVERYBODY, Leavings
from service.waiting import wait_at_most

Forget = Callable[[Sequence[str]], None]

BATCH = 500
BREATHER_S = 0.05  # between batches, to leave PostgreSQL to other work
LOOK_EVERY_S = 30.0
WAITED_FOR_S = 5.0
_LOOK_AGAIN_S = 0.05
RETENTION_EVERY = timedelta(hours=1)
_RETENTION = "retention"
_NOT_ERASED = "people of removed accounts not erased yet"

log = structlog.get_logger()


class AccountLeaver:
    """Erases the people of removed accounts in batches, resumed by any replica after a crash.

    `forget` clears this process's memory of users; other replicas are notified by the tables.
    People who also wrote to another account keep their identity.
    """

    def __init__(self, leavings: Leavings, forget: Forget) -> None:
        self._leavings = leavings
        self._forget = forget
        self._wake = asyncio.Event()

    async def wait_for(self, ig_account_id: str, at_most_s: float = WAITED_FOR_S) -> bool:
        """Start immediately and wait; returns whether all people of the account are erased."""
        self._wake.set()
        for _ in range(round(at_most_s / _LOOK_AGAIN_S)):
            if ig_account_id not in await self._leavings.list_leavings():
                return True
            await asyncio.sleep(_LOOK_AGAIN_S)
        return False

    async def run(self) -> None:
        """Erase the people of removed accounts until cancelled."""
        while True:
            self._wake.clear()
            while (account := await attempt(self._leavings.claim(), _NOT_ERASED)) is not None:
                await attempt(self._empty(account), _NOT_ERASED, ig_account_id=account)
            await wait_at_most(self._wake, LOOK_EVERY_S)

    async def _empty(self, ig_account_id: str) -> None:
        while people := await self._leavings.find_people(ig_account_id, BATCH):
            if not await self._leavings.note_progress(ig_account_id, 0):
                log.info(f"{TAG} account connected again: people stay", ig_account_id=ig_account_id)
                break
            alone = [person.ig_user_id for person in people if not person.is_shared]
            shared = [person.ig_user_id for person in people if person.is_shared]
            self._forget(alone)
            erased = await self._leavings.erase_alone(alone, ig_account_id)
            self._forget(alone)
            await self._leavings.detach(ig_account_id, shared)
            await self._leavings.note_progress(ig_account_id, len(erased))
            await asyncio.sleep(BREATHER_S)
        total = await self._leavings.finish(ig_account_id)
        log.info(f"{TAG} account left", ig_account_id=ig_account_id, erased=total)


class Retention:
    """Erases people whose last message is older than `days` days, hourly and on one replica."""

    def __init__(self, leavings: Leavings, forget: Forget, days: float) -> None:
        self._leavings = leavings
        self._forget = forget
        self._kept = timedelta(days=days)

    async def run(self) -> None:
        """Erase until cancelled."""
        while True:
            await attempt(self._sweep_when_due(), "silent people not erased yet")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _sweep_when_due(self) -> None:
        if await self._leavings.claim_chore(_RETENTION, RETENTION_EVERY):
            await self.sweep(datetime.now(UTC))

    async def sweep(self, now: datetime) -> int:
        """Erase all people whose last message is too old, in batches; returns how many."""
        after, erased, since = BEFORE_EVERYBODY, 0, now - self._kept
        while silent := await self._leavings.find_silent(since, after, BATCH):
            found = sorted({person.ig_user_id for person in silent if not person.wrote_since})
            self._forget(found)
            erased += len(await self._leavings.erase_silent(found, since))
            self._forget(found)
            after = silent[-1]
            await asyncio.sleep(BREATHER_S)
        if erased:
            log.info(f"{TAG} erased by RETENTION_DAYS", erased=erased)
        return erased
