"""The call budget of all replicas, and the pauses; every Graph call asks here first."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec
from aiolimiter import AsyncLimiter

from service.graph.usage import Usage
from service.logs import TAG, SparingLog
from service.model.calls import APP_SCOPE, account_scope
from service.model.freshness import FOREVER
from service.store.pauses import Pause, Pauses
from service.store.slots import Reservation, Slots

MOST_UNCONNECTED = 10_000
MOST_UNCONNECTED_LISTED = 20
SLOW_FROM_PERCENT = 75.0
FULL_PERCENT = 100.0
_SMALLEST_SHARE = 0.02
_BURST_S = 0.02
_LEAST_BURST = 1.25  # at 1, one late timer would delay all later slots
_RENEW_PACE_S = 20.0
_GOOD_FOR_S = 0.0025  # a slot is valid for half an interval, and at least for a busy loop's delay
_MOST_FORFEITS = 5  # after these a late slot is used, or a slow machine would make no calls
_LEAST_WAIT_S = 0.005


class PauseBoard:
    """The replica's copy of the pauses, kept up to date by notices.

    It is a hint: the statement that reserves a slot decides.
    """

    def __init__(self) -> None:
        self._by_scope: dict[str, tuple[str, float]] = {}
        self._listed: list[Pause] = []
        self._connected: frozenset[str] | None = None
        self._unconnected: dict[str, None] = {}
        self._log = SparingLog()

    @property
    def listed(self) -> list[Pause]:
        """Return the pauses, and the first of the accounts without a connection."""
        return [*self._listed, *self.unconnected]

    @property
    def unconnected(self) -> list[Pause]:
        """Return the first unconnected accounts that users wrote to, as pauses."""
        accounts = itertools.islice(self._unconnected, MOST_UNCONNECTED_LISTED)
        return [Pause(account_scope(a), FOREVER, "no_connection", math.inf) for a in accounts]

    def replace(self, pauses: Sequence[Pause]) -> None:
        """Replace all pauses."""
        now = asyncio.get_running_loop().time()
        self._listed = list(pauses)
        self._by_scope = {pause.scope: (pause.reason, now + pause.left_s) for pause in pauses}

    def connect(self, ig_account_ids: Iterable[str], alias_ids: Iterable[str] = ()) -> None:
        """Replace the connected accounts; `alias_ids` are their other ids."""
        self._connected = frozenset(ig_account_ids)
        known = self._connected.union(alias_ids)
        self._unconnected = {a: None for a in self._unconnected if a not in known}

    def holds(self, ig_account_id: str) -> bool:
        """Return whether an account's users are left to the sweeper: paused, or not connected.

        An unconnected account costs one set lookup: there can be any number of them.
        """
        if self._connected is not None and ig_account_id not in self._connected:
            self._note_unconnected(ig_account_id)
            return True
        return bool(self._by_scope) and self._left_s(account_scope(ig_account_id)) > 0

    def _note_unconnected(self, ig_account_id: str) -> None:
        if ig_account_id not in self._unconnected:
            if len(self._unconnected) < MOST_UNCONNECTED:
                self._unconnected[ig_account_id] = None
            self._log.warning(
                f"{TAG} users wait: their account is not connected",
                ig_account_id=ig_account_id,
                reason="no_connection",
            )

    def app_pause_s(self) -> float:
        """Return how many longer seconds the whole app is paused."""
        return self._left_s(APP_SCOPE)

    def is_paused(self, ig_account_id: str) -> bool:
        """Return whether calls for an account are paused, by the app's pause or its own."""
        return self.reason(ig_account_id) is not None

    def reason(self, ig_account_id: str) -> str | None:
        """Return why calls for an account are paused, by the app or itself; None if not."""
        for scope in (APP_SCOPE, account_scope(ig_account_id)) if self._by_scope else ():
            if self._left_s(scope) > 0:
                return self._by_scope[scope][0]
        return None

    def count(self, kind: Literal["app", "account"], reason: str) -> int:
        """Count the scopes of a kind that are paused for this reason."""
        if (kind, reason) == ("account", "no_connection"):
            return len(self._unconnected)
        return sum(
            1
            for scope, (found, _) in self._by_scope.items()
            if scope.partition(":")[0] == kind and found == reason and self._left_s(scope) > 0
        )

    def paused_accounts(self) -> list[str]:
        """Return the accounts that have their own pause."""
        prefix = account_scope("")
        return [s.removeprefix(prefix) for s in self._by_scope if s.startswith(prefix)]

    def _left_s(self, scope: str) -> float:
        found = self._by_scope.get(scope)
        return max(0.0, found[1] - asyncio.get_running_loop().time()) if found else 0.0


class Budget:
    """Slots for Graph calls: at most rate × T + 2 in any T seconds, over all replicas.

    `on_slow` is called with an account near its own limit, and for how many seconds to skip it.
    """

    def __init__(
        self,
        slots: Slots,
        pauses: Pauses,
        board: PauseBoard,
        on_slow: Callable[[str, float], None],
    ) -> None:
        self._slots = slots
        self._pauses = pauses
        self._board = board
        self._interval_s = slots.interval_s
        self._on_slow = on_slow
        burst = max(_LEAST_BURST, _BURST_S / self._interval_s)
        self._good_for_s = max(self._interval_s / 2, _GOOD_FOR_S)
        self._limiter = AsyncLimiter(burst, burst * self._interval_s)
        self._usage: dict[str, Usage] = {}
        self._shared_pace = 1.0
        self._shared_at = 0.0

    @property
    def patience_s(self) -> float:
        """How long a worker waits for a slot before it releases its claim."""
        return 5 + 2 * self._interval_s

    async def wait_for_slot(
        self, ig_account_id: str, ig_user_id: str = "", *, is_probe: bool = False
    ) -> Reservation | None:
        """Wait for a slot and take it; returns the reservation if paused, None after a timeout.

        A slot that arrives late, after a stall of PostgreSQL or of this process, is forfeited:
        using it would exceed the rate of the next window. No slot is reserved that could arrive
        after the timeout, since nobody else could use it. Only workers wait here: many waiters
        would starve each other.
        """
        now = asyncio.get_running_loop().time
        asks_until_s, forfeits = now() + self.patience_s - self._slots.most_ahead_s, 0
        while now() <= asks_until_s:
            slot = await self._slots.reserve(ig_account_id, ig_user_id, is_probe=is_probe)
            if slot.paused_by is not None:
                return slot
            until_s = slot.at_s
            if until_s is None:
                until_s = now() + max(slot.full_for_s or 0.0, _LEAST_WAIT_S)
                if until_s > asks_until_s:
                    return None
            await asyncio.sleep(max(0.0, until_s - now()))
            is_probe = is_probe or slot.is_probe  # also if this slot is not used
            if slot.at_s is None:
                continue
            is_late = now() > slot.at_s + self._good_for_s
            if not is_late or forfeits == _MOST_FORFEITS:
                return await self._take(slot, ig_account_id, is_probe=is_probe)
            forfeits += 1
        return None

    async def _take(self, slot: Reservation, ig_account_id: str, *, is_probe: bool) -> Reservation:
        """Take a slot whose time has come; a pause made since then forfeits it."""
        await self._limiter.acquire()
        if is_probe:
            return slot
        return msgspec.structs.replace(slot, paused_by=self._board.reason(ig_account_id))

    def note_usage(self, ig_account_id: str, usage: Usage) -> None:
        """Remember an answer's usage headers until `act_on_usage`."""
        self._usage[ig_account_id] = usage

    async def act_on_usage(self, ig_account_id: str) -> None:
        """Reduce the rate before Meta throttles: from 75 % of a limit, down to zero at 100 %."""
        usage = self._usage.pop(ig_account_id, None)
        if usage is None:
            return
        if usage.app is not None and usage.app >= FULL_PERCENT:
            await self._pauses.pause(APP_SCOPE, "throttled", usage.regain_s)
        elif usage.app is not None:
            await self._set_pace(_share(usage.app))
        if usage.account >= FULL_PERCENT:
            await self._pauses.pause(account_scope(ig_account_id), "throttled", usage.regain_s)
        elif usage.account > SLOW_FROM_PERCENT:
            self._on_slow(ig_account_id, self._interval_s / _share(usage.account))

    async def _set_pace(self, share: float) -> None:
        """Share the pace with all replicas if it has changed or is about to lapse."""
        now = asyncio.get_running_loop().time()
        is_news = abs(share - self._shared_pace) > 0.01  # noqa: PLR2004 - one per cent
        if is_news or (share < 1 and now - self._shared_at > _RENEW_PACE_S):
            self._shared_pace, self._shared_at = share, now
            await self._pauses.set_pace(share)


def _share(percent: float) -> float:
    """Return the share of the rate that remains at a used percentage."""
    left = (FULL_PERCENT - percent) / (FULL_PERCENT - SLOW_FROM_PERCENT)
    return min(1.0, max(_SMALLEST_SHARE, left))
