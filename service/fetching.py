"""Fetches that somebody waits for: refresh and backfill, whichever replica resolves them."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from service.model import display_name
from service.waiting import wait_at_most

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.model import CachedIdentity
    from service.queue import TurnQueue
    from service.store.identities import Identities

BACKFILL_LIMIT = 50
BACKFILL_WAIT_S = 30.0
REFRESH_WAIT_S = 10.0
_LOOK_AGAIN_S = 0.5

Outcome = Literal["resolved", "failed", "queued"]


class BackfillResult(msgspec.Struct, frozen=True, rename="camel"):
    """What became of one user of a backfill."""

    ig_user_id: str
    outcome: Outcome
    display_name: str
    reason: str | None


class Backfill(msgspec.Struct, frozen=True, rename="camel"):
    """The report of a backfill request."""

    location_id: str
    days: int
    candidates: int
    attempted: int
    resolved: int
    failed: int
    queued: int
    remaining: int
    results: list[BackfillResult]


class Fetching:
    """Makes users due, queues them behind live messages and waits for their outcome."""

    def __init__(self, identities: Identities, queue: TurnQueue) -> None:
        self._identities = identities
        self._queue = queue
        self._changed = asyncio.Event()

    def note_change(self) -> None:
        """Look again at once: an identity or a pause has changed on some replica."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def refresh(self, ig_user_id: str) -> CachedIdentity | None:
        """Forget a user's failures and fetch anew, within 10 s; None if nobody is known."""
        await self._identities.clear_failures(ig_user_id)
        found = await self._force_and_wait([ig_user_id], REFRESH_WAIT_S)
        return found[0][0] if found else None

    async def backfill(self, location_id: str, days: int, *, include_failed: bool) -> Backfill:
        """Fetch the most recent users of a location that lack a fresh identity, within 30 s."""
        candidates = await self._identities.find_candidates(
            location_id, timedelta(days=days), BACKFILL_LIMIT, include_failed=include_failed
        )
        found = await self._force_and_wait(
            candidates.ig_user_ids, BACKFILL_WAIT_S, candidates.read_at
        )
        results = [_result(cached, since) for cached, since in found]
        counts = {o: sum(r.outcome == o for r in results) for o in ("resolved", "failed", "queued")}
        return Backfill(
            location_id=location_id,
            days=days,
            candidates=candidates.total,
            attempted=len(results),
            remaining=max(0, candidates.total - len(results)),
            results=results,
            **counts,
        )

    async def _force_and_wait(
        self, ig_user_ids: Sequence[str], wait_s: float, since: datetime | None = None
    ) -> list[tuple[CachedIdentity, datetime]]:
        """Make users due and wait until each is settled or blocked, or the time is up.

        Whoever was fetched from `since` on is settled already.
        """
        if not ig_user_ids:
            return []
        forced = await self._identities.force(ig_user_ids, since)
        for hint in forced.hints:
            self._queue.offer(hint.ig_account_id, hint.ig_user_id, is_live=False)
        known = [ig_user_id for ig_user_id in ig_user_ids if ig_user_id in forced.known]
        callable_users = {hint.ig_user_id for hint in forced.hints}
        found = await self._settled(known, callable_users, forced.forced_at, wait_s)
        return [(cached, forced.forced_at) for cached in found]

    async def _settled(
        self, ig_user_ids: list[str], callable_users: set[str], since: datetime, wait_s: float
    ) -> list[CachedIdentity]:
        deadline = asyncio.get_running_loop().time() + wait_s
        while True:
            changed = self._changed
            found = await self._identities.watch(ig_user_ids)
            left_s = deadline - asyncio.get_running_loop().time()
            is_open = any(
                cached.ig_user_id in callable_users and _outcome(cached, since) is None
                for cached in found
            )
            if not is_open or left_s <= 0:
                return found
            await wait_at_most(changed, min(left_s, _LOOK_AGAIN_S))


def _outcome(cached: CachedIdentity, since: datetime) -> Outcome | None:
    """What has become of a user since a moment of the database's clock; None: still open."""
    if cached.last_fetched_at is not None and cached.last_fetched_at >= since:
        return "resolved"
    if cached.last_failed_at is not None and cached.last_failed_at >= since:
        return "failed"
    return "queued" if cached.pause is not None or not cached.is_participant else None


def _result(cached: CachedIdentity, since: datetime) -> BackfillResult:
    outcome = _outcome(cached, since) or "queued"
    reason = None if outcome == "resolved" else cached.pause or cached.last_reason
    return BackfillResult(
        ig_user_id=cached.ig_user_id,
        outcome=outcome,
        display_name=display_name(cached.ig_user_id, cached.username, cached.name),
        reason=cached.last_reason if outcome == "failed" else reason,
    )
