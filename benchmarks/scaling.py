"""Replicas and a broker: acknowledgements, publications, and a budget shared by four processes.

`python -m benchmarks.scaling` prints the figures of docs/scaling.md; they depend on the machine.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import click

from benchmarks import payloads
from benchmarks.loads import closed_loop
from benchmarks.target import Target
from benchmarks.world import ACCOUNT
from sandbox.graph.calls import most_over_budget
from service.graph.budget import Budget, PauseBoard
from service.receiving.intake.broker import Broker
from service.store.database import Database
from service.store.pauses import Pauses
from service.store.slots import Slots
from tests.system.chaos.nodes import Node
from tests.system.chaos.processes import GraphProcess, PostgresProcess, spawn
from tests.system.chaos.rig import Keys, Rig, machinery, rig, scratch_folder

Machines = tuple[PostgresProcess, GraphProcess, Keys]

PARTS = ("budget", "acks", "publishes")
PROCESSES, WORKERS = 4, 4
RATES_PER_S = (1, 10, 50, 200)
CALLS_TIMED_S = {1: 40, 10: 20, 50: 15, 200: 15}
PUBLISHERS = 500
_PAYLOAD = b"[" + b"x" * 170 + b"]"  # the size of a contact
_MOST_PER_S = 6000


@click.group(invoke_without_command=True)
@click.option("--seconds", default=8, show_default=True, help="How long each load lasts.")
@click.option("--only", type=click.Choice(PARTS), help="Measure one part.")
@click.pass_context
def main(context: click.Context, seconds: int, only: str | None) -> None:
    """Measure all of it."""
    if context.invoked_subcommand is None:
        asyncio.run(_measure(seconds, [only] if only else PARTS))


@main.command(hidden=True)
@click.argument("dsn")
@click.argument("rate", type=float)
@click.argument("seconds", type=float)
def callers(dsn: str, rate: float, seconds: float) -> None:
    """Take slots in the budget for some seconds, and print their times."""
    print(json.dumps(asyncio.run(_call(dsn, rate, seconds))))


async def _measure(seconds: int, parts: Collection[str]) -> None:
    with scratch_folder() as name:
        folder = Path(name)
        async with machinery(folder) as machines:
            if "budget" in parts:
                await _measure_budgets(folder, machines)
            if "acks" in parts:
                await _measure_acks(folder, machines, seconds)
            if "publishes" in parts:
                for always in (False, True):
                    async with _nats(always=always) as url:
                        await _measure_publishing(url, seconds, always=always)


async def _measure_budgets(folder: Path, machines: Machines) -> None:
    for rate in RATES_PER_S:
        async with rig(folder, *machines) as made:
            await _measure_budget(made.role_dsn, rate)


async def _measure_acks(folder: Path, machines: Machines, seconds: int) -> None:
    for replicas in (1, 2):
        async with rig(folder, *machines, services=replicas) as made:
            await made.start_services()
            per_s = await _acks_per_s(made, folder, seconds)
            print(f"acks, {replicas} on PostgreSQL: {per_s:.0f}/s", flush=True)
    async with (
        _nats(always=False) as url,
        rig(folder, *machines, services=1, INTAKE_URL=url) as made,
    ):
        await made.start_services()
        per_s = await _acks_per_s(made, folder, seconds)
        print(f"acks, 1 through JetStream: {per_s:.0f}/s", flush=True)


async def _measure_budget(dsn: str, rate: float) -> None:
    """Compare the slots of four processes that want more with the budget."""
    seconds = CALLS_TIMED_S[int(rate)]
    arguments = ("-m", "benchmarks.scaling", "callers", dsn, str(rate), str(seconds))
    running = [await spawn(*arguments, stdout=asyncio.subprocess.PIPE) for _ in range(PROCESSES)]
    outputs = await asyncio.gather(*(process.communicate() for process in running))
    times = sorted(at_s for out, _ in outputs for at_s in json.loads(out))
    got = (len(times) - 1) / (times[-1] - times[0])
    print(
        f"budget {rate:g}/s over {PROCESSES} processes: {len(times)} calls, {got:.3f}/s "
        f"({100 * got / rate - 100:+.2f} %), most over rate x T + 2 in any window: "
        f"{max(0.0, most_over_budget(times, rate)):.2f}",
        flush=True,
    )


async def _call(dsn: str, rate: float, seconds: float) -> list[float]:
    times: list[float] = []
    end_s = time.monotonic() + seconds

    async def work(budget: Budget) -> None:
        while time.monotonic() < end_s:
            if await budget.wait_for_slot(ACCOUNT) is not None:
                times.append(time.monotonic())

    async with Database.connect(dsn) as database:
        slots = Slots(database, 1 / rate)
        budget = Budget(slots, Pauses(database), PauseBoard(), lambda *_: None)
        await asyncio.gather(*(work(budget) for _ in range(WORKERS)))
    return times


async def _acks_per_s(made: Rig, folder: Path, seconds: int) -> float:
    """Return the acknowledgements per second of all replicas together, for new senders."""
    runs = []
    for service in made.services:
        users = payloads.new_users(_MOST_PER_S * seconds // len(made.services))
        lines = payloads.deliveries(users, made.keys.app_secret)
        file = payloads.write(lines, folder / f"new-{service.port}")
        runs.append(closed_loop(Target("ours", service.url, (service.pid,)), file, seconds))
    return sum(sample.per_s for sample in await asyncio.gather(*runs))


async def _measure_publishing(url: str, seconds: int, *, always: bool) -> None:
    """Measure publications, as many at a time as by a busy replica."""
    broker, count, end_s = Broker(url), 0, time.monotonic() + seconds
    await broker.prepare()

    async def publish() -> None:
        nonlocal count
        while time.monotonic() < end_s:
            await broker.publish(_PAYLOAD)
            count += 1

    await asyncio.gather(*(publish() for _ in range(PUBLISHERS)))
    await broker.close()
    synced = "each an fsync" if always else "fsync every 2 min"
    print(f"JetStream publishes, one node, {synced}: {count / seconds:.0f}/s", flush=True)


@asynccontextmanager
async def _nats(*, always: bool) -> AsyncIterator[str]:
    """Run one node on loopback, killed when the block ends."""
    with tempfile.TemporaryDirectory(prefix="nats-") as folder:
        config = Path(folder) / "nats.conf"
        config.write_text("jetstream { sync_interval: always }\n" if always else "")
        node = Node(Path(folder), "-c", str(config))
        try:
            await node.start()
            yield node.url
        finally:
            await node.stop()


if __name__ == "__main__":
    main()
