"""The tables that a run prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.chaos.faults import Fault
    from benchmarks.chaos.stream import Ledger
    from benchmarks.chaos.verdict import Verdict


@dataclass
class Tally:
    """What one fault has done so far: how often, under how many acks, how soon it was over."""

    fault: Fault
    acked: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    never: int = 0

    @property
    def times(self) -> int:
        """How often the fault was injected."""
        return len(self.recoveries_s) + self.never


def show(tallies: Sequence[Tally], ledger: Ledger, verdict: Verdict, lasted_s: float) -> None:
    """Print what was broken, what came of it, and the verdict."""
    console = Console(width=110)
    console.print(_faults(tallies, len(verdict.lost), verdict.repeated))
    console.print(
        f"{lasted_s:.0f} s; {ledger.sent} deliveries, {ledger.resent} sent again; "
        f"answers {dict(ledger.answers)}; lookups {dict(ledger.lookups)}; "
        f"slowest answer {ledger.slowest_s:.2f} s; left out {ledger.left_out}"
    )
    console.print(
        f"acknowledged participants {len(ledger.acked)}: {dict(verdict.standings)}; "
        f"Graph calls {verdict.calls}, repeated {verdict.repeated}, "
        f"over budget {max(0.0, verdict.over_budget):.2f}"
    )
    for fault in verdict.faults:
        console.print(f"FAULT: {fault}", style="bold red", markup=False)
    console.print("Nothing was lost." if not verdict.faults else "The run has failed.")


def _faults(tallies: Sequence[Tally], lost: int, repeated: int) -> Table:
    table = Table("fault", "times", "acked", "recovery p50", "max", "never", title="Chaos")
    for tally in tallies:
        seconds = tally.recoveries_s
        table.add_row(
            tally.fault.name,
            str(tally.times),
            str(tally.acked),
            f"{median(seconds):.2f} s" if seconds else "-",
            f"{max(seconds):.2f} s" if seconds else "-",
            str(tally.never),
        )
    total = sum(tally.times for tally in tallies)
    table.add_section()
    table.add_row(
        f"lost: {lost}; repeated: {repeated}",
        str(total),
        str(sum(tally.acked for tally in tallies)),
    )
    return table
