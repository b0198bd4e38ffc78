"""The tables that a run prints."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.system.chaos.faults import Fault
from tests.system.chaos.stream import Ledger
from tests.system.chaos.verdict import Verdict

_TO_SETTLE_S = 0.3  # from an answer to its commit, at most


class Diary:
    """Records which faults were injected last at any time."""

    def __init__(self) -> None:
        self._moments: list[float] = []
        self._names: list[str] = []

    def note(self, name: str) -> None:
        """Record that a fault is injected now."""
        self._moments.append(time.monotonic())
        self._names.append(name)

    def last(self, at: float, count: int = 1) -> list[str]:
        """Return the names of the last faults before a time."""
        return self._names[: bisect_right(self._moments, at)][-count:]


@dataclass
class Tally:
    """The results of one fault: how often, acknowledgements meanwhile, and recovery times.

    Acknowledgements are of new senders: all until the recovery, and those during the fault. A loss
    is charged to the last fault before its acknowledgement, a repeated call to the last fault
    before the lost answer could have been settled.
    """

    fault: Fault
    acked: int = 0
    acked_broken: int = 0
    lost: int = 0
    repeated: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    gaps_s: list[float] = field(default_factory=list)
    never: int = 0

    @property
    def times(self) -> int:
        """How often the fault was injected."""
        return len(self.recoveries_s) + self.never


def charge(tallies: Mapping[str, Tally], diary: Diary, ledger: Ledger, verdict: Verdict) -> None:
    """Charge losses and repeated calls to the faults before them."""
    for participant in verdict.lost:
        for name in diary.last(ledger.acked[participant]):
            tallies[name].lost += 1
    for at in verdict.repeated_after_s:
        for name in diary.last(at + _TO_SETTLE_S):
            tallies[name].repeated += 1


def show(tallies: Sequence[Tally], ledger: Ledger, verdict: Verdict, lasted_s: float) -> None:
    """Print the faults, their results and the verdict."""
    console = Console(width=130)
    console.print(_faults(tallies, len(verdict.lost), len(verdict.repeated_after_s)))
    console.print(
        f"{lasted_s:.0f} s; {ledger.sent} deliveries, {ledger.resent} sent again; "
        f"answers {dict(ledger.answers)}; lookups {dict(ledger.lookups)}; "
        f"slowest answer {ledger.slowest_s:.2f} s; left out {ledger.left_out}"
    )
    console.print(
        f"acknowledged participants {len(ledger.acked)}: {dict(verdict.standings)}; "
        f"pictures {verdict.pictures}; Graph calls {verdict.calls}, "
        f"repeated {len(verdict.repeated_after_s)}, over budget {max(0.0, verdict.over_budget):.2f}"
    )
    for fault in verdict.faults:
        console.print(f"FAULT: {fault}", style="bold red", markup=False)
    console.print("Nothing was lost." if not verdict.faults else "The run has failed.")


def _faults(tallies: Sequence[Tally], lost: int, repeated: int) -> Table:
    counts = ("times", "acked", "while broken", "lost", "repeated")
    times = ("longest without", "recovery p50", "max", "never")
    table = Table("fault", *counts, *times, title="Chaos")
    for tally in tallies:
        seconds = tally.recoveries_s
        table.add_row(
            tally.fault.name,
            *map(str, _counts(tally)),
            f"{max(tally.gaps_s):.2f} s" if tally.gaps_s else "-",
            f"{median(seconds):.2f} s" if seconds else "-",
            f"{max(seconds):.2f} s" if seconds else "-",
            str(tally.never),
        )
    injected, acked, acked_broken, *_ = map(sum, zip(*map(_counts, tallies), strict=True))
    table.add_section()
    table.add_row("all", *map(str, (injected, acked, acked_broken, lost, repeated)))
    return table


def _counts(tally: Tally) -> tuple[int, int, int, int, int]:
    return (tally.times, tally.acked, tally.acked_broken, tally.lost, tally.repeated)
