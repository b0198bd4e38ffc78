"""`make chaos`: breaks everything at random for some minutes, and counts losses."""

from __future__ import annotations

import asyncio
import math
import secrets
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import click

from tests.system.chaos.broker import brokers
from tests.system.chaos.disks import leave_shared_mounts
from tests.system.chaos.failover import PostgresPair, failovers
from tests.system.chaos.faults import FAULTS, Fault
from tests.system.chaos.lateness import Lateness
from tests.system.chaos.report import Diary, Tally, charge, show
from tests.system.chaos.rig import Rig, machinery, rig, scratch_folder
from tests.system.chaos.stream import Stream
from tests.system.chaos.verdict import judge

FULL_RUN_S, KILLS, POSTGRES_FAULTS = 600, 50, 20
BUDGET = 20
WITHHOLDING = 0.1  # of the new senders, whose names come from conversations
JITTER_S = 0.05  # between a call and its arrival, on a machine under faults
RECOVERED_WITHIN_S = 60.0
SETTLED_WITHIN_S = 420.0  # the longest outage pause is 5 minutes
_OVERLAP = 0.2


@click.command()
@click.option("--seconds", default=FULL_RUN_S, show_default=True, help="How long to break things.")
@click.option("--seed", type=int, help="Draw the same faults as an earlier run.")
@click.option("--rate", default=30.0, show_default=True, help="Deliveries a second.")
@click.option("--services", type=int, help="Service processes [default: 2, with --nats 3].")
@click.option("--only", default="", help="Draw only faults whose name contains this.")
@click.option(
    "--jitter", default=JITTER_S, help="Late arrival allowed, in s; inf: no budget judged."
)
@click.option("--nats", is_flag=True, help="Take the intake through three NATS nodes; break them.")
def main(
    seconds: int,
    seed: int | None,
    rate: float,
    services: int | None,
    only: str,
    jitter: float,
    *,
    nats: bool,
) -> None:
    """Break the real processes at random under a stream of webhooks; fail if anything is lost."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    print(f"seed {seed}", flush=True)
    random = Random(seed)  # noqa: S311 - not a secret
    services = services or (3 if nats else 2)
    has_disks = nats and _can_mount()
    sys.exit(
        asyncio.run(
            _run(seconds, random, rate, services, only, jitter, nats=nats, has_disks=has_disks)
        )
    )


def _can_mount() -> bool:
    """Enable disks that can be filled, or print why there are none."""
    try:
        leave_shared_mounts()
    except OSError as error:
        print(f"Full disks are left out, since no disk can be mounted here: {error}", flush=True)
        return False
    return True


async def _run(
    seconds: int,
    random: Random,
    rate: float,
    services: int,
    only: str,
    jitter_s: float,
    *,
    nats: bool,
    has_disks: bool,
) -> int:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(scratch_folder()))
        pair = None if nats else PostgresPair(folder / "postgres")
        postgres, graph, keys = await stack.enter_async_context(machinery(folder, pair))
        budget = str(BUDGET)
        made = await stack.enter_async_context(
            rig(folder, postgres, graph, keys, services=services, GRAPH_CALLS_PER_SECOND=budget)
        )
        faults: Sequence[Fault] = FAULTS
        if pair is not None:
            faults = (*FAULTS, *failovers(pair))
            pair.name_both(made.services[-1])
        else:
            broken = brokers(folder, made.services, has_disks=has_disks)
            faults = (await stack.enter_async_context(broken)).faults()
        tallies = {fault.name: Tally(fault) for fault in faults if only in fault.name}
        if not tallies:
            raise click.UsageError(f"no fault here has a name that contains {only!r}")
        await made.start_services()
        stream = Stream(made, random, rate, WITHHOLDING)
        lateness = Lateness(made.service_pids, made.graph_pids)
        stack.enter_context(lateness.measured())
        return await _break(made, stream, random, tallies, seconds, lateness, jitter_s)


async def _break(
    made: Rig,
    stream: Stream,
    random: Random,
    tallies: Mapping[str, Tally],
    seconds: int,
    lateness: Lateness,
    jitter_s: float,
) -> int:
    began_at, diary = time.monotonic(), Diary()
    async with stream.running() as ledger:
        await stream.first_new_ack_after(0, RECOVERED_WITHIN_S)
        for tally in _deck(random, tallies.values()):
            if time.monotonic() > began_at + seconds and _is_enough(tallies, seconds):
                break
            diary.note(tally.fault.name)
            await _inject(made, stream, random, tally)
            await asyncio.sleep(random.uniform(0.2, 1.5))
    lasted_s = time.monotonic() - began_at
    await stream.settle(RECOVERED_WITHIN_S)
    verdict = await judge(
        made,
        ledger,
        budget=BUDGET,
        settle_s=SETTLED_WITHIN_S,
        jitter_s=jitter_s,
        lateness=lateness,
    )
    if verdict.over_budget > 0:
        before = diary.last(verdict.over_budget_at_s, 2)
        verdict.faults.append(f"the budget was passed after: {', '.join(before)}")
    verdict.faults += [f"no recovery from {t.fault.name}" for t in tallies.values() if t.never]
    charge(tallies, diary, ledger, verdict)
    show(list(tallies.values()), ledger, verdict, lasted_s)
    print(f"A process waited up to {lateness.worst_s * 1000:.0f} ms for a processor.", flush=True)
    return 1 if verdict.faults else 0


def _deck(random: Random, tallies: Iterable[Tally]) -> Iterator[Tally]:
    """Yield faults endlessly, each as often as it has cards."""
    cards = [tally for tally in tallies for _ in range(tally.fault.cards)]
    while True:
        random.shuffle(cards)
        yield from cards


def _is_enough(tallies: Mapping[str, Tally], seconds: int) -> bool:
    """Return whether a run of this length had enough kills and PostgreSQL faults.

    A run with other faults is enough when each of them has occurred.
    """
    if not tallies.keys() >= {fault.name for fault in FAULTS}:
        return all(tally.times for tally in tallies.values())
    share = min(1.0, seconds / FULL_RUN_S)
    kills = sum(t.times for name, t in tallies.items() if name.startswith("kill"))
    postgres = sum(t.times for t in tallies.values() if t.fault.kind == "postgres")
    return kills >= math.ceil(KILLS * share) and postgres >= math.ceil(POSTGRES_FAULTS * share)


async def _inject(made: Rig, stream: Stream, random: Random, tally: Tally) -> None:
    """Break one thing for a while, sometimes with a kill meanwhile, and measure the recovery.

    That is the time from the begin of the repair until a new sender is acknowledged.
    """
    acked, began_at = len(stream.ledger.acked), time.monotonic()
    fault = tally.fault
    async with fault.broken(made, random):
        acked_before = len(stream.ledger.acked)
        if fault.kind in ("postgres", "graph") and random.random() < _OVERLAP:
            again = random.choice(made.services)
            await again.kill()
            await again.start()
        await asyncio.sleep(random.uniform(*fault.hold_s))
        tally.acked_broken += len(stream.ledger.acked) - acked_before
        mended_at = time.monotonic()
    await made.ready()
    acked_at = await stream.first_new_ack_after(time.monotonic(), RECOVERED_WITHIN_S)
    tally.acked += len(stream.ledger.acked) - acked
    tally.gaps_s.append(stream.ledger.longest_gap_s(began_at, acked_at or time.monotonic()))
    if acked_at is None:
        tally.never += 1
    else:
        tally.recoveries_s.append(acked_at - mended_at)


if __name__ == "__main__":
    main()
