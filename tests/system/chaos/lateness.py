"""Measures how late processes are scheduled, which delays the observation of calls."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_EVERY_S = 0.01
_REMEMBERED_S = 3.0
_NS = 1e-9


class Waits:
    """The waits of some processes for a processor, with their end times."""

    def __init__(self, pids: Callable[[], Iterable[int]]) -> None:
        self._pids = pids
        self._waited_s: dict[int, float] = {}
        self._ended_at: list[float] = []
        self._lasted_s: list[float] = []

    def look(self) -> None:
        """Record the longest wait since the last call."""
        waited_s = {pid: found for pid in self._pids() if (found := _waited_s(pid)) is not None}
        news = [after - self._waited_s.get(pid, after) for pid, after in waited_s.items()]
        self._waited_s = waited_s
        if (longest_s := max(news, default=0.0)) > _EVERY_S:
            self._lasted_s.append(longest_s)
            self._ended_at.append(time.monotonic())

    def longest_before(self, at_s: float) -> float:
        """Return the longest wait in the three seconds before a monotonic time."""
        moments = (at_s - _REMEMBERED_S, at_s + _EVERY_S)
        first, end = (bisect_right(self._ended_at, moment) for moment in moments)
        return max(self._lasted_s[first:end], default=0.0)

    @property
    def longest_s(self) -> float:
        """The longest wait of all."""
        return max(self._lasted_s, default=0.0)


class Lateness:
    """Measures how long the callers and the observer of calls wait for a processor."""

    def __init__(
        self, callers: Callable[[], Iterable[int]], seers: Callable[[], Iterable[int]]
    ) -> None:
        self._waits = (Waits(callers), Waits(seers))
        self._is_over = threading.Event()

    @contextmanager
    def measured(self) -> Iterator[Lateness]:
        """Measure until the block ends."""
        thread = threading.Thread(target=self._measure, name="lateness", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            thread.join()

    def worst_before(self, at_s: float) -> float:
        """Return by how much the observation of a call can be late at this time."""
        return sum(waits.longest_before(at_s) for waits in self._waits)

    @property
    def worst_s(self) -> float:
        """The longest wait of all."""
        return max(waits.longest_s for waits in self._waits)

    def _measure(self) -> None:
        while not self._is_over.wait(_EVERY_S):
            for waits in self._waits:
                waits.look()


def _waited_s(pid: int) -> float | None:
    """Return how long a process's main thread was ready to run without running."""
    try:
        _, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):  # it has ended
        return None
    return int(waited_ns) * _NS
