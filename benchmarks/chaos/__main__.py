"""`make chaos`: breaks everything at random for some minutes and counts what was lost."""

from __future__ import annotations

import asyncio
import math
import secrets
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import click

from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.report import Tally, show
from benchmarks.chaos.rig import machinery, rig, scratch_folder
from benchmarks.chaos.stream import Stream
from benchmarks.chaos.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.chaos.faults import Fault
    from benchmarks.chaos.rig import Rig

FULL_RUN_S, KILLS, POSTGRES_FAULTS = 600, 50, 20
BUDGET = 20
JITTER_S = 0.05  # between a call that is made and its arrival, on a machine that is being broken
RECOVERED_WITHIN_S = 60.0
SETTLED_WITHIN_S = 420.0  # the longest outage pause is 5 minutes
_OVERLAP = 0.2


@click.command()
@click.option("--seconds", default=FULL_RUN_S, show_default=True, help="How long to break things.")
@click.option("--seed", type=int, help="Draw the same faults as an earlier run.")
@click.option("--rate", default=30.0, show_default=True, help="Deliveries a second.")
@click.option("--services", default=2, show_default=True, help="Service processes.")
@click.option("--only", help="Draw only faults whose name contains this.")
def main(seconds: int, seed: int | None, rate: float, services: int, only: str | None) -> None:
    """Break the real processes at random under a stream of webhooks; fail if anything is lost."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    print(f"seed {seed}", flush=True)
    random = Random(seed)  # noqa: S311 - draws faults, guards nothing
    sys.exit(asyncio.run(_run(seconds, random, rate, services, only or "")))


async def _run(seconds: int, random: Random, rate: float, services: int, only: str) -> int:
    with scratch_folder() as name:
        folder = Path(name)
        async with (
            machinery(folder) as (postgres, graph, keys),
            rig(
                folder, postgres, graph, keys,
                services=services, GRAPH_CALLS_PER_SECOND=str(BUDGET),
            ) as made,
        ):  # fmt: skip
            await made.start_services()
            return await _break(made, Stream(made, random, rate), random, seconds, only)


async def _break(made: Rig, stream: Stream, random: Random, seconds: int, only: str) -> int:
    began_at = time.monotonic()
    tallies = {fault.name: Tally(fault) for fault in FAULTS if only in fault.name}
    diary: list[tuple[float, str]] = []
    async with stream.running() as ledger:
        await stream.first_new_ack_after(0, RECOVERED_WITHIN_S)
        for fault in _deck(random, only):
            if time.monotonic() > began_at + seconds and _is_enough(tallies, seconds, only):
                break
            diary.append((time.monotonic(), fault.name))
            await _inject(made, stream, random, tallies[fault.name])
            await asyncio.sleep(random.uniform(0.2, 1.5))
    lasted_s = time.monotonic() - began_at
    await stream.settle(RECOVERED_WITHIN_S)
    verdict = await judge(made, ledger, budget=BUDGET, settle_s=SETTLED_WITHIN_S, jitter_s=JITTER_S)
    if verdict.over_budget > 0:
        before = [name for at, name in diary if at <= verdict.over_budget_at_s]
        verdict.faults.append(f"the budget was passed after: {', '.join(before[-2:])}")
    verdict.faults += [f"no recovery from {t.fault.name}" for t in tallies.values() if t.never]
    show(list(tallies.values()), ledger, verdict, lasted_s)
    return 1 if verdict.faults else 0


def _deck(random: Random, only: str) -> Iterator[Fault]:
    """Draw faults for ever, each as often as it has cards."""
    cards = [fault for fault in FAULTS if only in fault.name for _ in range(fault.cards)]
    while True:
        random.shuffle(cards)
        yield from cards


def _is_enough(tallies: dict[str, Tally], seconds: int, only: str) -> bool:
    """Tell whether a run of this length has had its share of kills and of Postgres faults."""
    share = min(1.0, seconds / FULL_RUN_S)
    kills = sum(t.times for name, t in tallies.items() if name.startswith("kill"))
    postgres = sum(t.times for t in tallies.values() if t.fault.kind == "postgres")
    is_full = kills >= math.ceil(KILLS * share) and postgres >= math.ceil(POSTGRES_FAULTS * share)
    return is_full or bool(only)


async def _inject(made: Rig, stream: Stream, random: Random, tally: Tally) -> None:
    """Break one thing for a while, sometimes with a kill on top, and time the recovery.

    That is the time from when mending begins until all is ready and a new sender is acknowledged.
    """
    acked = len(stream.ledger.acked)
    fault = tally.fault
    async with fault.broken(made, random):
        if fault.kind in ("postgres", "graph") and random.random() < _OVERLAP:
            again = random.choice(made.services)
            await again.kill()
            await again.start()
        await asyncio.sleep(random.uniform(*fault.hold_s))
        mended_at = time.monotonic()
    await made.ready()
    acked_at = await stream.first_new_ack_after(time.monotonic(), RECOVERED_WITHIN_S)
    tally.acked += len(stream.ledger.acked) - acked
    if acked_at is None:
        tally.never += 1
    else:
        tally.recoveries_s.append(acked_at - mended_at)


if __name__ == "__main__":
    main()
