"""A program under load: its processes, and what they use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Target:
    """A program under load; `pids` are all of its processes."""

    name: str
    url: str
    pids: tuple[int, ...]
    is_frozen_between: bool = False
    dsn: str = ""

    def cpu_s(self) -> float:
        """Return the used processor time."""
        return sum(_cpu_s(pid) for pid in self.pids)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let it run within the block only: a worker would continue during other loads."""
        if not self.is_frozen_between:
            yield
            return
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.pids:
            os.kill(pid, number)

    def memory_mb(self) -> float:
        """Return the resident memory."""
        return sum(_memory_mb(pid) for pid in self.pids)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)
