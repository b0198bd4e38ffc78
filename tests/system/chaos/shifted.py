"""Runs the service with a wall clock that a file moves forward: a double, in seconds.

`python -m tests.system.chaos.shifted FILE serve`. Only Python's clocks are moved, which are all
that the service reads; setting the machine's clock would affect other processes too.
"""

from __future__ import annotations

import datetime as dt
import importlib
import mmap
import runpy
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

_REAL = dt.datetime


def main(file: Path, *arguments: str) -> None:
    """Move the clocks, then become the service."""
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)

    def offset_s() -> float:
        return float(struct.unpack("d", offset[:8])[0])

    for library in ("asyncpg", "msgspec"):  # which must import the real datetime
        importlib.import_module(library)
    _shift_time(offset_s)
    _shift_datetime(offset_s)
    sys.argv = ["service", *arguments]
    runpy.run_module("service", run_name="__main__", alter_sys=True)


def _shift_time(offset_s: Callable[[], float]) -> None:
    real = time.time
    time.time = lambda: real() + offset_s()


def _shift_datetime(offset_s: Callable[[], float]) -> None:
    class _AnyDatetime(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, _REAL)

    class Shifted(_REAL, metaclass=_AnyDatetime):
        """A datetime whose `now` is in the future; it returns ordinary datetimes."""

        __slots__ = ()  # the size of the real one, which C libraries check

        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return _REAL.now(tz) + dt.timedelta(seconds=offset_s())

        @classmethod
        def fromtimestamp(cls, timestamp: float, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
            return _REAL.fromtimestamp(timestamp, tz)

    dt.datetime = Shifted  # type: ignore[misc]


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
