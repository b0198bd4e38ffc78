"""Start-up time, memory when idle, and memory for every 100,000 waiting users."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from statistics import median

import aiohttp

from benchmarks import payloads
from benchmarks.findings import Findings, Scale
from benchmarks.loads import BenchmarkError
from benchmarks.world import Ours, World

_PER = 100_000
_A_DELIVERY = 1000
_QUEUE = {"GRAPH_CALLS_PER_SECOND": "0.01", "QUEUE_CAPACITY": str(_PER)}


async def run(world: World, scale: Scale) -> Findings:
    """Measure start-up, and memory when idle and with waiting users."""
    found = Findings()
    async with world.service(**_QUEUE) as ours:
        starts = [await _start_s(ours) for _ in range(scale.rounds)]
        found.add("From start to ready", median(starts), "s", "at most", 1.5)
        await asyncio.sleep(1)
        idle = ours.current.memory_mb()
        found.add("Memory, idle", idle, "MB", "at most", 90)
        queued = await _fill(world, ours, scale.backlog)
        each = (ours.current.memory_mb() - idle) / queued * _PER
        found.add("Memory for 100,000 queued users", each, "MB", "at most", 40)
        found.raw = {"starts_s": starts, "queued": queued}
    return found


async def _start_s(ours: Ours) -> float:
    """Start a new service process and wait until it reports that it is ready."""
    await ours.service.stop()
    began_s = time.monotonic()
    await ours.service.start()
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(OSError):
                async with session.get(f"{ours.service.url}/readyz") as response:
                    if response.status == 200:
                        return time.monotonic() - began_s
            await asyncio.sleep(0.005)


async def _fill(world: World, ours: Ours, wanted: int) -> float:
    """Deliver more users than the budget lets through; gives how many wait."""
    users = payloads.new_users(wanted)
    for line in payloads.deliveries(users, world.keys.app_secret, _A_DELIVERY):
        body = line.split("\t", 3)[3]
        answer = await ours.rig.deliver(body.encode())
        if answer.status != 200:
            raise BenchmarkError(f"a delivery was answered with {answer.status}")
    return await ours.metric("instagram_queue_depth")
