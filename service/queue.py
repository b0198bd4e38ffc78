"""The queue between receiving and resolving: hints, in turns between accounts, live first.

What stands here may be lost at any moment; what is left to do stands in the tables (`due_at`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable


class Hint(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A user who is probably due; `queued_at` is the loop's time in seconds."""

    ig_account_id: str
    ig_user_id: str
    is_live: bool
    queued_at: float


class QueueClosed(Exception):  # noqa: N818 - the end of work, not an error
    """The queue gives nothing out any more."""


class _Turns:
    """Hints of one rank: each account in its turn, first in first out within an account."""

    def __init__(self) -> None:
        self._by_account: dict[str, deque[Hint]] = {}

    def append(self, hint: Hint) -> None:
        self._by_account.setdefault(hint.ig_account_id, deque()).append(hint)

    def drop(self, ig_account_id: str) -> deque[Hint]:
        return self._by_account.pop(ig_account_id, deque())

    def oldest(self, is_current: Callable[[Hint], bool]) -> list[Hint]:
        heads = (next(filter(is_current, hints), None) for hints in self._by_account.values())
        return [hint for hint in heads if hint is not None]

    def take(
        self, is_held: Callable[[str], bool], is_current: Callable[[Hint], bool]
    ) -> Hint | None:
        """Take the next current hint and send its account to the end of the line."""
        for ig_account_id in tuple(self._by_account):
            if is_held(ig_account_id):
                continue
            hints = self._by_account.pop(ig_account_id)
            hint = _next_current(hints, is_current)
            if hints:
                self._by_account[ig_account_id] = hints
            if hint is not None:
                return hint
        return None


def _next_current(hints: deque[Hint], is_current: Callable[[Hint], bool]) -> Hint | None:
    while hints:
        hint = hints.popleft()
        if is_current(hint):
            return hint
    return None


class TurnQueue:
    """One hint a user, while queued or in flight; holds at most `capacity` hints.

    `is_paused` tells whether an account may not be called: its hints are not taken in, since the
    sweeper finds its users when the pause ends.
    """

    def __init__(self, capacity: int, is_paused: Callable[[str], bool] = lambda _: False) -> None:
        self._capacity = capacity
        self._is_paused = is_paused
        self._live = _Turns()
        self._later = _Turns()
        self._waiting: dict[str, Hint] = {}
        self._in_flight: set[str] = set()
        self._held_until: dict[str, float] = {}
        self._ready = asyncio.Event()
        self._is_closed = False

    @property
    def depth(self) -> int:
        """How many users wait."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """How many users are being resolved."""
        return len(self._in_flight)

    @property
    def is_full(self) -> bool:
        """Tell whether another user would be turned away."""
        return len(self._waiting) >= self._capacity

    @property
    def is_closed(self) -> bool:
        """Tell whether the queue has been closed."""
        return self._is_closed

    def oldest_s(self) -> float:
        """How many seconds the oldest hint has waited."""
        heads = [
            *self._live.oldest(self._is_current),
            *self._later.oldest(self._is_current),
        ]
        now = asyncio.get_running_loop().time()
        return max((now - hint.queued_at for hint in heads), default=0.0)

    def offer(self, ig_account_id: str, ig_user_id: str, *, is_live: bool) -> bool:
        """Take a hint in; false if it is not needed or there is no room.

        A live hint overtakes the same user's later one.
        """
        waiting = self._waiting.get(ig_user_id)
        if ig_user_id in self._in_flight or self._is_closed or self._is_paused(ig_account_id):
            return False
        if waiting is not None and (waiting.is_live or not is_live):
            return False
        if waiting is None and self.is_full:
            return False
        self._append(Hint(ig_account_id, ig_user_id, is_live, asyncio.get_running_loop().time()))
        return True

    async def take(self) -> Hint:
        """Wait for the next hint; its user is in flight until `done`. Raises QueueClosed."""
        while not self._is_closed:
            hint = self._live.take(self._is_held, self._is_current) or self._later.take(
                self._is_held, self._is_current
            )
            if hint is not None:
                del self._waiting[hint.ig_user_id]
                self._in_flight.add(hint.ig_user_id)
                return hint
            self._ready.clear()
            await self._ready.wait()
        raise QueueClosed

    def done(self, ig_user_id: str) -> None:
        """End a user's flight."""
        self._in_flight.discard(ig_user_id)

    def forget(self, ig_user_id: str) -> None:
        """Drop a user's hint, if there is one."""
        self._waiting.pop(ig_user_id, None)

    def drop_account(self, ig_account_id: str) -> int:
        """Drop every hint of an account and say how many they were."""
        dropped = [*self._live.drop(ig_account_id), *self._later.drop(ig_account_id)]
        current = [hint for hint in dropped if self._is_current(hint)]
        for hint in current:
            del self._waiting[hint.ig_user_id]
        return len(current)

    def hold(self, ig_account_id: str, hold_s: float) -> None:
        """Pass an account over for some seconds."""
        loop = asyncio.get_running_loop()
        self._held_until[ig_account_id] = loop.time() + hold_s
        loop.call_later(hold_s, self._unhold, ig_account_id)

    def close(self) -> None:
        """Take nothing in and give nothing out any more."""
        self._is_closed = True
        self._ready.set()

    def _append(self, hint: Hint) -> None:
        self._waiting[hint.ig_user_id] = hint
        (self._live if hint.is_live else self._later).append(hint)
        self._ready.set()

    def _is_current(self, hint: Hint) -> bool:
        return self._waiting.get(hint.ig_user_id) is hint

    def _is_held(self, ig_account_id: str) -> bool:
        return bool(self._held_until) and ig_account_id in self._held_until

    def _unhold(self, ig_account_id: str) -> None:
        until = self._held_until.get(ig_account_id)
        if until is not None and until <= asyncio.get_running_loop().time() + 0.001:
            del self._held_until[ig_account_id]
            self._ready.set()
