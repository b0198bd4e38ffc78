"""`make soak`: sends half of the machine's limit for minutes, and watches memory."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import quantiles

import aiohttp
import click
from rich.console import Console
from rich.table import Table

from tests.system.chaos.processes import Service
from tests.system.chaos.rig import ACCOUNTS, Rig, machinery, message_from, rig, scratch_folder
from tests.system.chaos.verdict import complaints

FULL_RUN_S = 600
CLIENTS = 64
MEASURE_S = 10.0
USERS = 50_000
NEW_SHARE = 0.05
SAMPLE_EVERY_S = 10.0
MOST_GROWTH = 0.10  # from the middle of the run to its end
MOST_UNDER_WAY = 2000


@dataclass
class Sample:
    """Ten seconds of a soak."""

    at_s: float
    resident_mib: float
    acked: int
    p50_ms: float
    p99_ms: float
    waiting: int


class Traffic:
    """Deliveries of known senders, and a share of new ones."""

    def __init__(self, made: Rig, random: Random) -> None:
        self._made = made
        self._random = random
        self._next = 3 * 10**15
        self._known: list[tuple[str, str]] = []
        self.answers: Counter[str] = Counter()
        self.took_s: list[float] = []
        self.left_out = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """Return how many deliveries are unanswered."""
        return len(self._tasks)

    async def flat_out(self, seconds: float) -> float:
        """Send at full speed; returns the acknowledgements per second."""
        until, before = time.monotonic() + seconds, self.answers["200"]

        async def client() -> None:
            while time.monotonic() < until:
                await self._deliver()

        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return (self.answers["200"] - before) / seconds

    async def at_rate(self, rate: float, seconds: float) -> None:
        """Send at a fixed rate, whatever the answers."""
        began_at = at = time.monotonic()
        while at < began_at + seconds:
            at += 1 / rate
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            if len(self._tasks) >= MOST_UNDER_WAY:
                self.left_out += 1
                continue
            task = asyncio.create_task(self._deliver())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self) -> None:
        account, user = self._sender()
        began_at = time.monotonic()
        try:
            answer = await self._made.deliver(message_from(user, account=account))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self.answers[type(error).__name__] += 1
            return
        self.answers[str(answer.status)] += 1
        self.took_s.append(time.monotonic() - began_at)

    def _sender(self) -> tuple[str, str]:
        is_new = len(self._known) < CLIENTS or self._random.random() < NEW_SHARE
        if not is_new:
            return self._random.choice(self._known)
        self._next += 1
        sender = (self._random.choice(ACCOUNTS), str(self._next))
        if len(self._known) < USERS:
            self._known.append(sender)
        else:
            self._known[self._random.randrange(USERS)] = sender
        return sender


@click.command()
@click.option("--seconds", default=FULL_RUN_S, show_default=True, help="How long.")
@click.option("--rate", type=float, help="Deliveries a second [default: half of what goes].")
def main(seconds: int, rate: float | None) -> None:
    """Send at half of the machine's rate, and fail if memory keeps growing."""
    sys.exit(asyncio.run(_soak(seconds, rate)))


async def _soak(seconds: int, rate: float | None) -> int:
    with scratch_folder() as name:
        folder = Path(name)
        async with (
            machinery(folder) as (postgres, graph, keys),
            rig(folder, postgres, graph, keys, GRAPH_CALLS_PER_SECOND="100") as made,
        ):
            await made.start_services()
            traffic = Traffic(made, Random(1))  # noqa: S311 - not a secret
            most = await traffic.flat_out(MEASURE_S)
            samples = await _hold(made, traffic, rate or most / 2, seconds)
            faults = [*_faults(traffic, samples), *complaints(made)]
            _show(most, rate or most / 2, traffic, samples, faults)
    return 1 if faults else 0


async def _hold(made: Rig, traffic: Traffic, rate: float, seconds: int) -> list[Sample]:
    samples: list[Sample] = []
    began_at = time.monotonic()
    sending = asyncio.create_task(traffic.at_rate(rate, seconds))
    while not sending.done():
        traffic.took_s.clear()
        before = traffic.answers["200"]
        await asyncio.wait([sending], timeout=SAMPLE_EVERY_S)
        cuts = quantiles(traffic.took_s or [0.0, 0.0], n=100)
        samples.append(
            Sample(
                time.monotonic() - began_at,
                _resident_mib(made.services[0]),
                traffic.answers["200"] - before,
                cuts[49] * 1000,
                cuts[98] * 1000,
                traffic.under_way,
            )
        )
    sending.result()
    return samples


def _faults(traffic: Traffic, samples: list[Sample]) -> list[str]:
    faults = [f"answered {a}: {n}" for a, n in traffic.answers.items() if a != "200"]
    half = samples[len(samples) // 2 :]
    grown = half[-1].resident_mib / half[0].resident_mib - 1
    if grown > MOST_GROWTH:
        faults.append(f"memory grew by {grown:.0%} in the second half")
    return faults


def _show(
    most: float, rate: float, traffic: Traffic, samples: list[Sample], faults: list[str]
) -> None:
    table = Table("s", "resident MiB", "acked", "p50 ms", "p99 ms", "under way", title="Soak")
    for sample in samples[:: max(1, len(samples) // 20)]:
        table.add_row(
            f"{sample.at_s:.0f}",
            f"{sample.resident_mib:.1f}",
            str(sample.acked),
            f"{sample.p50_ms:.1f}",
            f"{sample.p99_ms:.1f}",
            str(sample.waiting),
        )
    console = Console(width=100)
    console.print(table)
    console.print(
        f"flat out {most:.0f} acks/s with this client on this machine; held {rate:.0f}/s; "
        f"answers {dict(traffic.answers)}; left out {traffic.left_out}"
    )
    for fault in faults:
        console.print(f"FAULT: {fault}", style="bold red", markup=False)


def _resident_mib(service: Service) -> float:
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
