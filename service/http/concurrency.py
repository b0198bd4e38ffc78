"""Limits on costly requests: how many of a kind can run at once in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from service.http.problems import unavailable


class ConcurrencyLimit:
    """Limits how many requests of one kind run at once; `what` names them in the 503."""

    def __init__(self, most: int, what: str, retry_after_s: int) -> None:
        self._most = most
        self._what = what
        self._retry_after_s = retry_after_s
        self._running = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one request until the block ends; raises 503 if too many run already."""
        if self._running >= self._most:
            detail = f"Too many {self._what} are running; try again."
            raise unavailable(detail, self._retry_after_s)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
