"""The rate limit that the Graph simulator can enforce."""

import math
from collections import deque

from sandbox.graph.calls import BURST


class Throttle:
    """Accepts at most rate x window + 2 calls in any window; refused calls count too."""

    def __init__(self, calls_per_s: float, window_s: float = 1.0) -> None:
        if calls_per_s <= 0 or window_s <= 0:
            raise ValueError("a throttle needs calls per second and a window above 0")
        self._limit = math.ceil(calls_per_s * window_s) + BURST
        self._window_s = window_s
        self._times_s: deque[float] = deque(maxlen=self._limit + 1)

    def admit(self, now_s: float) -> bool:
        """Count a call at `now_s` (monotonic); returns whether it is accepted."""
        while self._times_s and self._times_s[0] <= now_s - self._window_s:
            self._times_s.popleft()
        self._times_s.append(now_s)
        return len(self._times_s) <= self._limit

    @property
    def percent(self) -> int:
        """Return how much of the limit the window of the last call has used, 0 to 100."""
        return min(100, 100 * len(self._times_s) // self._limit)
