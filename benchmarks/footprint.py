"""Start-up time; memory when idle, and for every 100,000 users who wait."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from statistics import median
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.findings import Findings, Scale
from benchmarks.world import ACCOUNT

if TYPE_CHECKING:
    from benchmarks.world import Ours, World

_PER = 100_000
_QUEUE = {"GRAPH_CALLS_PER_SECOND": "0.01", "QUEUE_CAPACITY": str(_PER)}


async def run(world: World, scale: Scale) -> Findings:
    """Measure what the service takes before it does anything, and while it waits."""
    found = Findings()
    async with world.service(**_QUEUE) as ours:
        starts = [await _start_s(ours) for _ in range(scale.rounds)]
        found.add("From start to ready", median(starts), "s", "at most", 1.5)
        await asyncio.sleep(1)
        idle = _memory_mb(ours)
        found.add("Memory, idle", idle, "MB", "at most", 90)
        queued = await _fill(ours, scale)
        each = (_memory_mb(ours) - idle) / queued * _PER
        found.add("Memory for 100,000 queued users", each, "MB", "at most", 40)
        found.raw = {"starts_s": starts, "queued": queued}
    return found


async def _start_s(ours: Ours) -> float:
    """Start the service anew and wait until it says that it is ready."""
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


def _memory_mb(ours: Ours) -> float:
    return ours.current.memory_mb()


async def _fill(ours: Ours, scale: Scale) -> int:
    """Have the sweeper take due users in, until the queue has what there is."""
    wanted = scale.backlog
    await ours.add_due(wanted)
    await ours.service.stop()
    await ours.service.start()
    await ours.rig.ready()
    depth = 0
    async with asyncio.timeout(60):
        while depth < 0.95 * min(wanted, _PER):
            await asyncio.sleep(0.1)
            depth = await ours.depth()
    return depth


__all__ = ["ACCOUNT", "run"]
