"""How late the machine runs what is due: a measure of what else it has to do."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVERY_S = 0.005
_REMEMBERED_S = 5.0


class Lateness:
    """Sleeps again and again in a thread, and notes by how much each sleep was too long."""

    def __init__(self) -> None:
        self._noted_at: list[float] = []
        self._late_s: list[float] = []
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
        """Give the worst lateness in the five seconds before a moment of the monotonic clock."""
        first, end = (bisect_right(self._noted_at, at) for at in (at_s - _REMEMBERED_S, at_s))
        return max(self._late_s[first:end], default=0.0)

    @property
    def worst_s(self) -> float:
        """The worst of all."""
        return max(self._late_s, default=0.0)

    def _measure(self) -> None:
        before = time.monotonic()
        while not self._is_over.wait(_EVERY_S):
            now = time.monotonic()
            if (late_s := now - before - _EVERY_S) > _EVERY_S:
                self._late_s.append(late_s)
                self._noted_at.append(now)
            before = now
