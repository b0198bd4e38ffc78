"""Sends changes of identities to subscribed clients as Server-Sent Events.

An event is encoded once, however many clients get it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice

import msgspec
import structlog

from service.errors import UnavailableError
from service.failing import log_unexpected
from service.model.contacts import ig_id
from service.model.freshness import CachedIdentity, Rules
from service.model.identity import identity
from service.waiting import wait_at_most

MOST_SUBSCRIPTIONS = 1000
MOST_CHANGED = 10_000
ROOM = 500  # waiting events per client: several batches, so only a slow client falls behind
_BATCH = 100
_AGAIN_S = 0.5
HEARTBEAT = b": still here\n\n"
RELOAD = b"event: reload\ndata: {}\n\n"

log = structlog.get_logger()


class SubscriptionLimitError(Exception):
    """The subscription limit is reached."""


class Subscription:
    """The events that wait to be sent to one client.

    `ids` are the users it subscribed to, None for all; `on_end` is called when it ends, to release
    a sender that waits for the client.
    """

    def __init__(self, ids: frozenset[str] | None, on_end: Callable[[], None]) -> None:
        self.ids = ids
        self._on_end = on_end
        self._events: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self._is_over = False

    async def next(self, at_most_s: float) -> bytes:
        """Wait for events; returns a heartbeat after `at_most_s`, and b"" once it has ended."""
        if not await wait_at_most(self._ready, at_most_s):
            return HEARTBEAT
        events = b"".join(self._events)
        self._events.clear()
        if not self._is_over:
            self._ready.clear()
        return events

    def put(self, event: bytes) -> bool:
        """Add an event; false if the limit is reached."""
        if len(self._events) >= ROOM:
            return False
        self._events.append(event)
        self._ready.set()
        return True

    def reload(self) -> None:
        """Replace the waiting events with one that tells the client to reload."""
        self._events.clear()
        self.put(RELOAD)

    def end(self) -> None:
        """End the subscription; can be called again."""
        if not self._is_over:
            self._is_over = True
            self._ready.set()
            self._on_end()


class Changes:
    """Reads each changed identity once and passes it to the matching subscriptions.

    `look_up` reads identities in the requested order; raises UnavailableError.
    """

    def __init__(
        self,
        look_up: Callable[[Sequence[str]], Awaitable[list[CachedIdentity]]],
        rules: Rules,
    ) -> None:
        self._look_up = look_up
        self._rules = rules
        self._of_everybody: set[Subscription] = set()
        self._by_user: dict[str, set[Subscription]] = {}
        self._all: set[Subscription] = set()
        self._changed: dict[str, None] = {}
        self._has_missed = False
        self._wake = asyncio.Event()
        self._is_closed = False

    @property
    def subscriptions(self) -> int:
        """How many clients are subscribed."""
        return len(self._all)

    def subscribe(
        self, ids: frozenset[str] | None, on_end: Callable[[], None] = lambda: None
    ) -> Subscription:
        """Subscribe to some users, or to all; raises SubscriptionLimitError."""
        if self._is_closed or len(self._all) >= MOST_SUBSCRIPTIONS:
            raise SubscriptionLimitError
        subscription = Subscription(ids, on_end)
        self._all.add(subscription)
        for watchers in self._places(subscription):
            watchers.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a subscription; can be called again."""
        self._all.discard(subscription)
        for watchers in self._places(subscription):
            watchers.discard(subscription)
        for ig_user_id in subscription.ids or ():
            if not self._by_user[ig_user_id]:
                del self._by_user[ig_user_id]

    def note(self, ig_user_ids: Iterable[str]) -> None:
        """Announce that users have changed, on any replica."""
        wanted = (ig_user_id for ig_user_id in ig_user_ids if self._is_wanted(ig_user_id))
        self._changed.update(dict.fromkeys(wanted))
        if len(self._changed) > MOST_CHANGED:
            self.note_gap()
        elif self._changed:
            self._wake.set()

    def note_gap(self) -> None:
        """Announce that any user may have changed: all clients must reload."""
        self._changed.clear()
        self._has_missed = True
        self._wake.set()

    def close(self) -> None:
        """End every subscription and accept no new ones."""
        self._is_closed = True
        for subscription in self._all:
            subscription.end()

    async def run(self) -> None:
        """Send changes until cancelled; while PostgreSQL is unavailable they wait."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._has_missed:
                await self._reload()
            while self._changed:
                await self._announce()

    async def _reload(self) -> None:
        self._has_missed = False
        for subscription in self._all:
            subscription.reload()
        if self._all:
            await asyncio.sleep(_AGAIN_S)  # at most two reloads a second, however many gaps

    async def _announce(self) -> None:
        """Read a batch and send it; senders run before the next batch."""
        batch = list(islice(self._changed, _BATCH))
        for ig_user_id in batch:
            del self._changed[ig_user_id]
        try:
            for cached in await self._look_up(batch):
                self._hand_out(cached)
        except UnavailableError as error:
            log.warning("changed identities not read", users=len(batch), error=str(error))
            self._changed = dict.fromkeys(batch) | self._changed
            await asyncio.sleep(_AGAIN_S)
        except Exception as error:  # noqa: BLE001 - an unreadable row must not stop the service
            log_unexpected("changed identities not shown", error, users=len(batch))
            self.note_gap()
        await asyncio.sleep(0)

    def _hand_out(self, cached: CachedIdentity) -> None:
        watchers = self._of_everybody | self._by_user.get(cached.ig_user_id, set())
        if not watchers:
            return
        event = _event(cached, self._rules)
        for subscription in watchers:
            if not subscription.put(event):
                log.warning("a client that reads too slowly was disconnected", waiting=ROOM)
                self.unsubscribe(subscription)
                subscription.end()

    def _is_wanted(self, ig_user_id: str) -> bool:
        if ig_user_id in self._by_user:
            return True
        return bool(self._of_everybody) and ig_id(ig_user_id) is not None

    def _places(self, subscription: Subscription) -> Iterable[set[Subscription]]:
        if subscription.ids is None:
            return [self._of_everybody]
        return [self._by_user.setdefault(ig_user_id, set()) for ig_user_id in subscription.ids]


def _event(cached: CachedIdentity, rules: Rules) -> bytes:
    shown = msgspec.json.encode(identity(cached, cached.read_at, rules))
    return b"event: identity\ndata: " + shown + b"\n\n"
