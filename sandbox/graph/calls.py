"""The calls to the Graph simulator, and whether they kept a budget."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Iterable

import msgspec

BURST = 2  # calls that a budget allows on top of rate x time

_MAX_CALLS = 200_000


class Call(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """A profile call; the token is a hash only."""

    at_s: float  # time.monotonic(), which all processes of a Linux machine share
    received_at: float  # unix seconds
    ig_user_id: str
    ig_account_id: str | None  # if the token belongs to a known account
    token_sha: str
    answer: str  # "profile", "throttled" or an answer's name
    host: str  # "facebook" or "instagram"
    version: str  # as requested, "" if the path has none
    fields: str
    proof: str  # "missing", "invalid", "right", or "unchecked" without an app secret
    token_in_url: bool
    user_agent: str


def token_sha(token: str) -> str:
    """Hash a token to the 16 hex digits that calls show."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


def most_over_budget(times_s: Iterable[float], rate_per_s: float) -> float:
    """Return the largest excess, over all windows, of calls - rate x T - 2: above 0 is too many.

    `times_s` must not decrease. A window of calls i to j holds j - i + 1 of them in t_j - t_i
    seconds, so the excess is a running maximum against the least (i - rate x t_i) so far: O(n).
    """
    worst, least, start_s = -float(BURST), float("inf"), None
    for index, at_s in enumerate(times_s):
        start_s = at_s if start_s is None else start_s
        offset = index - rate_per_s * (at_s - start_s)
        least = min(least, offset)
        worst = max(worst, offset - least + 1 - BURST)
    return worst


class CallLog:
    """The latest 200,000 profile calls in order of arrival."""

    def __init__(self, max_calls: int = _MAX_CALLS) -> None:
        self._calls: deque[Call] = deque(maxlen=max_calls)
        self._waiters: set[asyncio.Event] = set()
        self.total = 0

    @property
    def calls(self) -> list[Call]:
        """Return the remembered calls, oldest first."""
        return list(self._calls)

    @property
    def forgotten(self) -> int:
        """Return how many calls were dropped since the last `clear`."""
        return self.total - len(self._calls)

    def calls_for(self, ig_user_id: str) -> list[Call]:
        """Return the calls about one user, oldest first."""
        return [call for call in self._calls if call.ig_user_id == ig_user_id]

    def most_over_budget(self, rate_per_s: float) -> float:
        """Return the largest excess of the remembered calls over rate x T + 2."""
        return most_over_budget((call.at_s for call in self._calls), rate_per_s)

    def append(self, call: Call) -> None:
        """Add a call, and wake the waiting tests."""
        self._calls.append(call)
        self.total += 1
        for waiter in self._waiters:
            waiter.set()

    def clear(self) -> None:
        """Forget every call."""
        self._calls.clear()
        self.total = 0

    async def wait_for_calls(
        self, count: int, *, ig_user_id: str | None = None, timeout_s: float = 60
    ) -> None:
        """Return once `count` calls (about one user, if named) have arrived since `clear`.

        Raises TimeoutError.
        """
        arrived = asyncio.Event()
        self._waiters.add(arrived)
        try:
            async with asyncio.timeout(timeout_s):
                while self._count(ig_user_id) < count:
                    arrived.clear()
                    await arrived.wait()
        finally:
            self._waiters.discard(arrived)

    def _count(self, ig_user_id: str | None) -> int:
        return self.total if ig_user_id is None else len(self.calls_for(ig_user_id))
