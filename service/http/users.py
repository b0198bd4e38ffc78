"""The Inbox's routes: identities, one or up to 200 at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from service.errors import UnavailableError
from service.http.answers import Answer
from service.http.problems import bad_request, json_body
from service.model import identity, ig_id, is_fresh, is_stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiohttp import web

    from service.metrics import Metrics
    from service.model import CachedIdentity, Identity, Rules
    from service.queue import TurnQueue
    from service.store.identities import Identities

MOST_IDS = 200

log = structlog.get_logger()


class UserRoutes:
    """Answers with what the cache knows, and queues a refresh of what is stale.

    `on_seen` hears each identity that was looked up.
    """

    def __init__(
        self,
        identities: Identities,
        queue: TurnQueue,
        rules: Rules,
        metrics: Metrics,
        on_seen: Callable[[CachedIdentity], None] = lambda _: None,
    ) -> None:
        self._identities = identities
        self._on_seen = on_seen
        self._queue = queue
        self._rules = rules
        self._lookups = {
            state: metrics.lookups.labels(state)
            for state in ("resolved", "pending", "failed", "unknown")
        }

    async def one(self, request: web.Request) -> web.StreamResponse:
        """Answer with one identity; a user never heard of is `unknown`, not 404."""
        return await self._answer(user_id(request))

    async def one_by_path(self, request: web.Request) -> web.StreamResponse:
        """Answer with one identity, for a path that is known to end with digits."""
        return await self._answer(checked_id(request.raw_path.rpartition("/")[2]))

    async def many(self, request: web.Request) -> web.StreamResponse:
        """Answer with 1 to 200 identities, in the order asked."""
        found = await self.look_up(user_ids(request))
        return Answer(json_body({"users": found}), "application/json")

    async def _answer(self, ig_user_id: str) -> web.StreamResponse:
        (found,) = await self.look_up((ig_user_id,))
        return Answer(json_body(found), "application/json")

    async def look_up(self, ig_user_ids: Sequence[str]) -> list[Identity]:
        """Read identities and make those due that are not fresh."""
        found = await self.look_up_cached(ig_user_ids)
        for cached in found:
            self._on_seen(cached)
        identities = [identity(cached, cached.read_at, self._rules) for cached in found]
        counts: dict[str, int] = {}
        for answered in identities:
            counts[answered.state] = counts.get(answered.state, 0) + 1
        for state, count in counts.items():
            self._lookups[state].inc(count)
        return identities

    async def look_up_cached(self, ig_user_ids: Sequence[str]) -> list[CachedIdentity]:
        """Read what the tables know of users, and make those due that are not fresh."""
        found = await self._identities.look_up(ig_user_ids)
        await self._schedule([cached for cached in found if self._wants_fetch(cached)])
        return found

    def _wants_fetch(self, cached: CachedIdentity) -> bool:
        return (
            cached.is_participant
            and not cached.is_scheduled
            and not is_fresh(cached, cached.read_at, self._rules)
            and not is_stopped(cached, self._rules)
        )

    async def _schedule(self, stale: Sequence[CachedIdentity]) -> None:
        """Queue a refresh; a lookup is answered even where this fails."""
        if not stale:
            return
        try:
            due = await self._identities.schedule_stale([cached.ig_user_id for cached in stale])
        except UnavailableError as error:
            log.warning("refresh not queued", users=len(stale), error=str(error))
            return
        for user in due:
            self._queue.offer(user.ig_account_id, user.ig_user_id, is_live=False)


def user_id(request: web.Request) -> str:
    """Read the user's id from the path; 400 if it is not 1 to 32 digits."""
    return checked_id(request.match_info["igUserId"])


def checked_id(given: str) -> str:
    """Give an id back; 400 if it is not 1 to 32 digits."""
    found = ig_id(given)
    if found is None:
        raise bad_request("igUserId is 1 to 32 digits.")
    return found


def user_ids(request: web.Request) -> list[str]:
    """Read 1 to 200 ids from `ids`; 400 otherwise."""
    given = ",".join(request.query.getall("ids", []))
    if not given:
        raise bad_request("ids is a comma list of 1 to 200 ids.")
    asked = given.split(",", MOST_IDS + 1)
    if len(asked) > MOST_IDS:
        raise bad_request(f"ids has more than {MOST_IDS} ids.")
    found = [ig_id(part) for part in asked]
    if None in found:
        raise bad_request(f"ids: number {found.index(None) + 1} is not 1 to 32 digits.")
    return [ig_user_id for ig_user_id in found if ig_user_id is not None]
