"""Fetches that a client waits for, refresh and backfill; any replica can resolve them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from service.model.freshness import CachedIdentity, Rules, is_fresh
from service.model.identity import display_name
from service.queue import TurnQueue
from service.store.identities import Forced, Identities
from service.waiting import wait_at_most

BACKFILL_LIMIT = 50
BACKFILL_WAIT_S = 30.0
REFRESH_WAIT_S = 10.0
FINDING_AT_ONCE = 2  # heavy reads at a time: deliveries and lookups need the other sessions
_LOOK_AGAIN_S = 1.0

Outcome = Literal["resolved", "failed", "queued"]


class BackfillResult(msgspec.Struct, frozen=True, rename="camel"):
    """The outcome for one user of a backfill."""

    ig_user_id: str
    outcome: Outcome
    display_name: str
    reason: str | None


class Backfill(msgspec.Struct, frozen=True, rename="camel"):
    """The report of a backfill request.

    `waiting`, `stopped` and `paused` count users of those days who still have no fresh identity.
    Attempted users count there only if their account is paused.
    """

    location_id: str
    days: int
    candidates: int
    attempted: int
    resolved: int
    failed: int
    queued: int
    remaining: int
    waiting: int
    stopped: int
    paused: int
    waiting_until: datetime | None
    asked_at: datetime
    results: list[BackfillResult]


class RequestedFetches:
    """Makes users due, queues them behind live messages, and waits for their outcome."""

    def __init__(
        self,
        identities: Identities,
        queue: TurnQueue,
        rules: Rules,
        evict: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._evict = evict
        self._identities = identities
        self._queue = queue
        self._rules = rules
        self._waiters: dict[str, set[asyncio.Event]] = {}  # by user
        self._finding = asyncio.Semaphore(FINDING_AT_ONCE)

    def note_change(self, ig_user_ids: Iterable[str] | None = None) -> None:
        """Recheck these users, who changed on some replica, immediately; None: all users."""
        for ig_user_id in list(self._waiters) if ig_user_ids is None else ig_user_ids:
            for changed in self._waiters.get(ig_user_id, ()):
                changed.set()

    async def refresh(self, ig_user_id: str) -> CachedIdentity | None:
        """Clear a user's failures and fetch again, within 10 s; None if the user is unknown."""
        await self._identities.clear_failures(ig_user_id)
        forced = await self._force([ig_user_id], include_fresh=True)
        if not forced.known:
            return None

        def outcome(cached: CachedIdentity) -> Outcome | None:
            return _outcome(cached, forced.forced_at)

        found = (await self._settled([ig_user_id], forced, outcome, REFRESH_WAIT_S))[0]
        self._evict(ig_user_id)  # the next lookup reads the refreshed identity
        return found

    async def backfill(
        self,
        location_id: str,
        days: int,
        *,
        include_failed: bool,
        failed_before: datetime | None = None,
    ) -> Backfill:
        """Fetch a location's most recent users without a fresh identity, within 30 s."""
        within = timedelta(days=days)
        async with self._finding:
            left_out = await self._identities.count_left_out(
                location_id, within, include_failed=include_failed
            )
            candidates = await self._identities.find_candidates(
                location_id,
                within,
                BACKFILL_LIMIT,
                include_failed=include_failed,
                failed_before=failed_before,
            )
        results = await self._fetch(candidates.ig_user_ids)
        counts = {o: sum(r.outcome == o for r in results) for o in ("resolved", "failed", "queued")}
        return Backfill(
            location_id=location_id,
            days=days,
            candidates=candidates.total,
            attempted=len(results),
            remaining=max(0, candidates.total - len(results)),
            results=results,
            waiting=left_out.waiting,
            stopped=left_out.stopped,
            paused=left_out.paused,
            waiting_until=left_out.waiting_until,
            asked_at=left_out.asked_at,
            **counts,
        )

    async def _fetch(self, ig_user_ids: Sequence[str]) -> list[BackfillResult]:
        """Make users without a fresh identity due, and wait for their outcomes."""
        forced = await self._force(ig_user_ids, include_fresh=False)

        def outcome(cached: CachedIdentity) -> Outcome | None:
            is_resolved = is_fresh(cached, cached.read_at, self._rules)  # none was before
            return "resolved" if is_resolved else _outcome(cached, forced.forced_at)

        known = [user for user in ig_user_ids if user in forced.known]
        found = await self._settled(known, forced, outcome, BACKFILL_WAIT_S)
        return [_result(cached, outcome(cached) or "queued") for cached in found]

    async def _force(self, ig_user_ids: Sequence[str], *, include_fresh: bool) -> Forced:
        forced = await self._identities.force(ig_user_ids, include_fresh=include_fresh)
        for hint in forced.hints:
            self._queue.offer(hint.ig_account_id, hint.ig_user_id, is_live=False)
        return forced

    async def _settled(
        self,
        ig_user_ids: Sequence[str],
        forced: Forced,
        outcome: Callable[[CachedIdentity], Outcome | None],
        wait_s: float,
    ) -> list[CachedIdentity]:
        """Wait until each user has an outcome or is blocked, or the time is up."""
        now = asyncio.get_running_loop().time
        deadline = now() + wait_s
        callable_users = {hint.ig_user_id for hint in forced.hints}
        found: dict[str, CachedIdentity] = {}
        still_open: Sequence[str] = ig_user_ids
        with self._notified(ig_user_ids) as changed:
            while still_open:
                changed.clear()
                found |= {c.ig_user_id: c for c in await self._identities.watch(still_open)}
                still_open = [
                    u for u in still_open if u in callable_users and not outcome(found[u])
                ]
                left_s = deadline - now()
                if left_s <= 0:
                    break
                if still_open:
                    await wait_at_most(changed, min(left_s, _LOOK_AGAIN_S))
        return [found[ig_user_id] for ig_user_id in ig_user_ids]

    @contextmanager
    def _notified(self, ig_user_ids: Sequence[str]) -> Iterator[asyncio.Event]:
        """Yield an event that is set when one of these users changes."""
        changed = asyncio.Event()
        for ig_user_id in ig_user_ids:
            self._waiters.setdefault(ig_user_id, set()).add(changed)
        try:
            yield changed
        finally:
            for ig_user_id in set(ig_user_ids):
                self._waiters[ig_user_id].discard(changed)
                if not self._waiters[ig_user_id]:
                    del self._waiters[ig_user_id]


def _outcome(cached: CachedIdentity, since: datetime) -> Outcome | None:
    """Return a user's outcome since a time of the database's clock; None while it is open."""
    if cached.last_fetched_at is not None and cached.last_fetched_at >= since:
        return "resolved"
    if cached.last_failed_at is not None and cached.last_failed_at >= since:
        return "failed"
    has_unclear_failure = cached.unclear_at is not None and cached.unclear_at >= since
    is_blocked = cached.pause is not None or not cached.is_participant
    return "queued" if has_unclear_failure or is_blocked else None


def _result(cached: CachedIdentity, outcome: Outcome) -> BackfillResult:
    reasons = {"resolved": None, "failed": cached.last_reason}
    return BackfillResult(
        ig_user_id=cached.ig_user_id,
        outcome=outcome,
        display_name=display_name(cached.ig_user_id, cached.username, cached.name),
        reason=reasons.get(outcome, cached.pause or cached.unclear_reason or cached.last_reason),
    )
