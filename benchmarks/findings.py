"""The results of a benchmark: rows of a table, points of a plot, and the raw figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from benchmarks.loads import Sample

Compare = Literal["at least", "at most", ""]


@dataclass(frozen=True)
class Scale:
    """The scale of a benchmark: whole, or only enough to show that it runs."""

    rounds: int
    seconds: float
    requests: int  # after which a closed loop stops; 0: it does not
    users: int
    growth: tuple[int, ...]
    accounts: tuple[int, ...]
    backlog: int
    patience_s: float
    connections: int

    @property
    def open_loop_s(self) -> float:
        """The duration of a load at a fixed rate."""
        return 2 * self.seconds if self.is_tiny else 3 * self.seconds

    def most(self, per_s: int) -> int:
        """Return how many requests a closed loop can send if the server takes `per_s`."""
        if self.requests:  # wrk stops only after it has served every connection that is ready
            return self.requests + 2 * self.connections
        return int(per_s * self.seconds)

    @property
    def is_tiny(self) -> bool:
        """Return whether the figures are too small to mean anything."""
        return self.seconds < 2


FULL = Scale(
    rounds=4,
    seconds=2,
    requests=0,
    users=2000,
    growth=(1_000, 10_000, 100_000, 1_000_000),
    accounts=(1, 10, 100, 1000),
    backlog=100_000,
    patience_s=25,
    connections=64,
)
TINY = Scale(
    rounds=1,
    seconds=0.1,
    requests=20,
    users=20,
    growth=(100, 200),
    accounts=(1, 3),
    backlog=20,
    patience_s=60,
    connections=2,  # few enough for a busy machine
)


@dataclass(frozen=True)
class Row:
    """A figure; `compare` and `goal` are its target."""

    what: str
    value: float
    unit: str = ""
    compare: Compare = ""
    goal: float = 0.0

    @property
    def is_met(self) -> bool | None:
        """Return whether the goal is reached; None if there is none."""
        if not self.compare:
            return None
        return self.value >= self.goal if self.compare == "at least" else self.value <= self.goal


@dataclass
class Findings:
    """The results of one benchmark."""

    rows: list[Row] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def add(
        self, what: str, value: float, unit: str = "", compare: Compare = "", goal: float = 0.0
    ) -> None:
        """Add a row."""
        self.rows.append(Row(what, value, unit, compare, goal))

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"rows": [asdict(row) for row in self.rows], "raw": self.raw}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Findings:
        """Read what `as_json` wrote."""
        return cls([Row(**row) for row in stored["rows"]], dict(stored["raw"]))


Samples = dict[str, "list[Sample]"]


async def interleaved(runs: Mapping[str, Callable[[], Awaitable[Sample]]], rounds: int) -> Samples:
    """Run each one in every round, in reverse order in every second round."""
    found: Samples = {name: [] for name in runs}
    for number in range(rounds):
        names = list(runs) if number % 2 == 0 else list(runs)[::-1]
        for name in names:
            found[name].append(await runs[name]())
    return found


def ratio(samples: Samples, name: str, to: str) -> float:
    """Return the median of the rounds' ratios of requests per second."""
    pairs = zip(samples[name], samples[to], strict=True)
    return median(one.per_s / other.per_s for one, other in pairs)


def cpu_ratio(samples: Samples, name: str, to: str) -> float:
    """Return the same for processor time: how many requests of `name` one of `to` costs."""
    pairs = zip(samples[name], samples[to], strict=True)
    return median(other.cpu_us / one.cpu_us for one, other in pairs)


def middle(samples: Sequence[Sample], figure: str) -> float:
    """Return the median of one figure."""
    return float(median(getattr(sample, figure) for sample in samples))


def plain(samples: Samples) -> dict[str, list[dict[str, float]]]:
    """Return plain values."""
    return {name: [asdict(sample) for sample in found] for name, found in samples.items()}
