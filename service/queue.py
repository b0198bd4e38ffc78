"""The queue between receiving and resolving: fair between accounts, live messages first.

A hint can be lost at any time: the tables (`due_at`) record what is to be done.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from service.waiting import loop_time


class Hint(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A user who is probably due; `queued_at` is the loop time in seconds."""

    ig_account_id: str
    ig_user_id: str
    is_live: bool
    queued_at: float


_Line = OrderedDict[str, Hint]  # by user, oldest first


class QueueClosed(Exception):  # noqa: N818 - the normal end of a worker, not an error
    """The queue is closed, and returns no more hints."""


class _Turns:
    """Hints of one priority: round robin over accounts, first in first out within an account.

    Every operation takes constant time, and empty accounts are removed. Held accounts are set
    aside.
    """

    def __init__(self) -> None:
        self._in_turn: OrderedDict[str, _Line] = OrderedDict()
        self._aside: dict[str, _Line] = {}

    def append(self, hint: Hint, *, is_held: bool) -> None:
        lines = self._aside if is_held else self._in_turn
        lines.setdefault(hint.ig_account_id, OrderedDict())[hint.ig_user_id] = hint

    def remove(self, hint: Hint) -> None:
        lines = self._in_turn if hint.ig_account_id in self._in_turn else self._aside
        del lines[hint.ig_account_id][hint.ig_user_id]
        if not lines[hint.ig_account_id]:
            del lines[hint.ig_account_id]

    def drop(self, ig_account_id: str) -> _Line:
        line = self._in_turn.pop(ig_account_id, None)
        return line or self._aside.pop(ig_account_id, OrderedDict())

    def set_aside(self, ig_account_id: str) -> None:
        if ig_account_id in self._in_turn:
            self._aside[ig_account_id] = self._in_turn.pop(ig_account_id)

    def bring_back(self, ig_account_id: str) -> None:
        if ig_account_id in self._aside:
            self._in_turn[ig_account_id] = self._aside.pop(ig_account_id)

    def take(self) -> Hint | None:
        """Take the next hint and move its account to the end."""
        if not self._in_turn:
            return None
        ig_account_id, line = next(iter(self._in_turn.items()))
        _, hint = line.popitem(last=False)
        if line:
            self._in_turn.move_to_end(ig_account_id)
        else:
            del self._in_turn[ig_account_id]
        return hint


class TurnQueue:
    """Holds at most `capacity` hints, one per user while queued or in flight.

    `is_blocked` returns whether an account cannot be called (paused, or not connected): its hints
    are not accepted, since the sweeper finds its users once it can be called.
    """

    def __init__(
        self,
        capacity: int,
        is_blocked: Callable[[str], bool] = lambda _: False,
        clock: Callable[[], float] = loop_time,
    ) -> None:
        self._capacity = capacity
        self._is_blocked = is_blocked
        self._clock = clock
        self._live = _Turns()
        self._later = _Turns()
        self._waiting: OrderedDict[str, Hint] = OrderedDict()
        self._in_flight: set[str] = set()
        self._held_until: dict[str, float] = {}
        self._ready = asyncio.Event()
        self._is_closed = False

    @property
    def depth(self) -> int:
        """How many users are queued."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """How many users are being resolved."""
        return len(self._in_flight)

    @property
    def is_full(self) -> bool:
        """Return whether another user would be refused."""
        return len(self._waiting) >= self._capacity

    @property
    def is_closed(self) -> bool:
        """Return whether the queue is closed."""
        return self._is_closed

    def oldest_s(self) -> float:
        """How many seconds the oldest hint has waited."""
        if not self._waiting:
            return 0.0
        oldest = next(iter(self._waiting.values()))  # in order of arrival
        return self._clock() - oldest.queued_at

    def offer(self, ig_account_id: str, ig_user_id: str, *, is_live: bool) -> bool:
        """Queue a hint; false if it is not needed or the queue is full.

        A live hint replaces the same user's hint of lower priority.
        """
        waiting = self._waiting.get(ig_user_id)
        if ig_user_id in self._in_flight or self._is_closed or self._is_blocked(ig_account_id):
            return False
        if waiting is None:
            if self.is_full:
                return False
        elif waiting.is_live or not is_live:
            return False
        else:
            self.forget(ig_user_id)
        self._append(Hint(ig_account_id, ig_user_id, is_live, self._clock()))
        return True

    async def take(self) -> Hint:
        """Wait for the next hint; its user is in flight until `done`. Raises QueueClosed."""
        while not self._is_closed:
            hint = self._live.take() or self._later.take()
            if hint is not None:
                del self._waiting[hint.ig_user_id]
                self._in_flight.add(hint.ig_user_id)
                return hint
            self._ready.clear()
            await self._ready.wait()
        raise QueueClosed

    def done(self, ig_user_id: str) -> None:
        """Mark a user as no longer in flight."""
        self._in_flight.discard(ig_user_id)

    def forget(self, ig_user_id: str) -> None:
        """Drop a user's hint, if there is one."""
        hint = self._waiting.pop(ig_user_id, None)
        if hint is not None:
            self._turns_of(hint).remove(hint)

    def drop_account(self, ig_account_id: str) -> int:
        """Drop all hints of an account; returns how many."""
        dropped = [*self._live.drop(ig_account_id), *self._later.drop(ig_account_id)]
        for ig_user_id in dropped:
            del self._waiting[ig_user_id]
        return len(dropped)

    def hold(self, ig_account_id: str, hold_s: float) -> None:
        """Skip an account for some seconds."""
        loop = asyncio.get_running_loop()
        self._held_until[ig_account_id] = loop.time() + hold_s
        for turns in (self._live, self._later):
            turns.set_aside(ig_account_id)
        loop.call_later(hold_s, self._unhold, ig_account_id)

    def close(self) -> None:
        """Refuse new hints and return no more."""
        self._is_closed = True
        self._ready.set()

    def _append(self, hint: Hint) -> None:
        self._waiting[hint.ig_user_id] = hint
        self._turns_of(hint).append(hint, is_held=hint.ig_account_id in self._held_until)
        self._ready.set()

    def _turns_of(self, hint: Hint) -> _Turns:
        return self._live if hint.is_live else self._later

    def _unhold(self, ig_account_id: str) -> None:
        until = self._held_until.get(ig_account_id)
        if until is not None and until <= asyncio.get_running_loop().time() + 0.001:
            del self._held_until[ig_account_id]
            for turns in (self._live, self._later):
                turns.bring_back(ig_account_id)
            self._ready.set()
