"""Lookups of identities: from memory while they are fresh, else from the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import structlog

from service.errors import UnavailableError
from service.identities.memory import LookupMemory, Mark
from service.metrics import Metrics
from service.model.freshness import (
    CachedIdentity,
    Rules,
    expires_at,
    is_fresh,
    is_stopped,
    picture_expiry,
)
from service.model.identity import identity
from service.queue import TurnQueue
from service.store.identities import Identities

log = structlog.get_logger()
_encode = msgspec.json.Encoder().encode


class Lookups:
    """Reads identities, and makes users due whose identity is not fresh.

    `on_seen` gets each identity read from the tables, and returns whether its picture will be
    copied: such an identity is about to change, so it is not remembered.
    """

    def __init__(
        self,
        identities: Identities,
        memory: LookupMemory,
        queue: TurnQueue,
        rules: Rules,
        metrics: Metrics,
        on_seen: Callable[[CachedIdentity], bool] = lambda _: False,
    ) -> None:
        self._identities = identities
        self._memory = memory
        self._queue = queue
        self._rules = rules
        self._on_seen = on_seen
        self._counts = {
            state: metrics.lookups.labels(state)
            for state in ("resolved", "pending", "failed", "unknown")
        }
        self._remembered = metrics.lookups_from_memory

    def recall(self, ig_user_id: str) -> bytes | None:
        """Return the JSON of a fresh identity in memory; None if `read` is needed."""
        body = self._memory.find(ig_user_id)
        if body is not None:
            self._remembered.inc()
            self._counts["resolved"].inc()
        return body

    async def read(self, ig_user_ids: Sequence[str]) -> list[bytes]:
        """Return the JSON of identities in the requested order, with repeats and unknown users.

        Raises UnavailableError if one is not in memory and PostgreSQL does not answer in time.
        """
        bodies = {
            ig_user_id: body
            for ig_user_id in ig_user_ids
            if (body := self._memory.find(ig_user_id)) is not None
        }
        missing = [ig_user_id for ig_user_id in ig_user_ids if ig_user_id not in bodies]
        states = Counter({"resolved": len(ig_user_ids) - len(missing)})
        self._remembered.inc(states["resolved"])
        if missing:
            mark = self._memory.mark()
            for cached in await self.read_cached(missing):
                bodies[cached.ig_user_id], state = self._show(cached, mark)
                states[state] += 1
        for state, count in states.items():
            self._counts[state].inc(count)
        return [bodies[ig_user_id] for ig_user_id in ig_user_ids]

    async def read_cached(self, ig_user_ids: Sequence[str]) -> list[CachedIdentity]:
        """Read identities from the tables, and make users due whose identity is not fresh."""
        found = await self._identities.look_up(ig_user_ids)
        await self._schedule([cached for cached in found if self._wants_fetch(cached)])
        return found

    def _show(self, cached: CachedIdentity, mark: Mark) -> tuple[bytes, str]:
        shown = identity(cached, cached.read_at, self._rules)
        body = _encode(shown)
        is_about_to_change = self._on_seen(cached)
        fresh_for_s = self._fresh_for_s(cached)
        if fresh_for_s > 0 and not is_about_to_change:
            self._memory.remember(cached.ig_user_id, body, fresh_for_s, mark)
        return body, shown.state

    def _fresh_for_s(self, cached: CachedIdentity) -> float:
        """Return for how many seconds after the read time alone does not change the identity."""
        until = expires_at(cached, self._rules)
        if until is None:
            return 0.0
        if self._rules.pictures == "link" and (end := picture_expiry(cached.profile_pic_url)):
            until = min(until, end)
        return (until - cached.read_at).total_seconds()

    def _wants_fetch(self, cached: CachedIdentity) -> bool:
        return (
            cached.is_participant
            and not cached.is_scheduled
            and not is_fresh(cached, cached.read_at, self._rules)
            and not is_stopped(cached, self._rules)
        )

    async def _schedule(self, stale: Sequence[CachedIdentity]) -> None:
        """Queue a refresh; a failure does not affect the lookup."""
        if not stale:
            return
        try:
            due = await self._identities.schedule_stale([cached.ig_user_id for cached in stale])
        except UnavailableError as error:
            log.warning("refresh not queued", users=len(stale), error=str(error))
            return
        for user in due:
            self._queue.offer(user.ig_account_id, user.ig_user_id, is_live=False)
