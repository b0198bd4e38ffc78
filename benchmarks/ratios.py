"""The service beside a bare aiohttp server: medians of ratios, in one interleaved run.

64 TCP connections, logging at info, metrics on. The bare server answers with constants
(`benchmarks/bare.py`): its rate is the most that aiohttp allows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks import overload, payloads
from benchmarks.findings import (
    Findings,
    Samples,
    Scale,
    cpu_ratio,
    interleaved,
    middle,
    plain,
    ratio,
)
from benchmarks.loads import Sample, check_each_once, closed_loop
from benchmarks.lookups import latency
from benchmarks.receiving import BARE, DEFAULT_BUDGET
from benchmarks.target import Target
from benchmarks.world import World

ROUNDS = 6
_LATENCY_ROUNDS = 3
BATCH = 50
_MOST_PER_S = 16_000  # prepared new senders for each second
_GOALS = {"lookup": 0.92, "known": 0.82, "new": 0.72}
_NAMES = {
    "lookup": "Lookups of one",
    "known": "Acks of known senders",
    "new": "Acks of new senders",
}


async def run(world: World, scale: Scale) -> Findings:
    """Compare lookups and acknowledgements with the bare server; measure latency and overload."""
    found = Findings()
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(world.service(**DEFAULT_BUDGET))
        bare = await stack.enter_async_context(world.beside("bare", BARE))
        users = payloads.new_users(max(scale.users, BATCH))
        await ours.make_known(users)
        targets = {"ours": ours.target, "bare": bare}
        loads = _loads(world, scale, users, targets)
        if not scale.is_tiny:
            for load in loads.values():
                await load()
        samples = await interleaved(loads, 1 if scale.is_tiny else ROUNDS)
        _tell(found, samples)
        half_per_s = middle(samples["ours lookup"], "per_s") / 2
        p99_ms = await _latencies(world, scale, targets, half_per_s, users)
        found.add("Lookup of one at half load, p99", p99_ms["ours"], "ms", "at most", 3)
        found.add("Lookup of one at this rate, a bare server's p99", p99_ms["bare"], "ms")
    found.raw = plain(samples)
    await _overload(world, scale, found)
    return found


def _loads(
    world: World, scale: Scale, users: list[str], targets: dict[str, Target]
) -> dict[str, Callable[[], Awaitable[Sample]]]:
    def file(name: str, lines: list[str]) -> Path:
        return payloads.write(lines, world.folder / f"ratios-{name}")

    load = partial(
        closed_loop,
        seconds=scale.seconds,
        connections=scale.connections,
        key=world.keys.inbox,
        most=scale.requests,
    )
    acks = payloads.deliveries(users, world.keys.app_secret)
    files = {"lookup": file("lookup", payloads.lookups(users)), "known": file("known", acks)}
    loads: dict[str, Callable[[], Awaitable[Sample]]] = {}
    for kind, path in files.items():
        loads |= {f"{name} {kind}": partial(load, each, path) for name, each in targets.items()}
    fifty = file("fifty", payloads.lookups(users, BATCH))
    loads["ours fifty"] = partial(load, targets["ours"], fifty)

    async def new(target: Target) -> Sample:
        senders = payloads.new_users(scale.most(_MOST_PER_S))
        lines = payloads.deliveries(senders, world.keys.app_secret)
        sample = await load(target, file("new", lines))
        return check_each_once(sample) if target is targets["ours"] else sample

    return loads | {f"{name} new": partial(new, each) for name, each in targets.items()}


def _tell(found: Findings, samples: Samples) -> None:
    for kind, goal in _GOALS.items():
        what, ours, bare = _NAMES[kind], f"ours {kind}", f"bare {kind}"
        found.add(f"{what}, of a bare server's", ratio(samples, ours, bare), "×", "at least", goal)
        found.add(f"{what}, by processor time", cpu_ratio(samples, ours, bare), "×")
        found.add(f"{what}, a second", middle(samples[ours], "per_s"), "/s")
        found.add(f"{what}, processor time", middle(samples[ours], "cpu_us"), "µs")
        found.add(f"{what}, a bare server's", middle(samples[bare], "cpu_us"), "µs")
    pairs = zip(samples["ours fifty"], samples["ours lookup"], strict=True)
    times = median(BATCH * fifty.per_s / one.per_s for fifty, one in pairs)
    what = f"Identities in lookups of {BATCH}, of those in lookups of one"
    found.add(what, times, "×", "at least", 8)


async def _latencies(
    world: World, scale: Scale, targets: dict[str, Target], per_s: float, users: list[str]
) -> dict[str, float]:
    """Return the median of each server's p99 of single lookups, in ms."""
    p99_ms: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(1 if scale.is_tiny else _LATENCY_ROUNDS):
        for name, target in targets.items():
            p99_ms[name].append((await latency(world, scale, target, per_s, users)).p99_ms)
    return {name: median(each) for name, each in p99_ms.items()}


async def _overload(world: World, scale: Scale, found: Findings) -> None:
    took = await overload.measure(world, scale, (1.0, 3.0))
    peak = max(goodput.served_per_s for goodput in took.values())
    share = took[3.0].served_per_s / peak
    found.add("Acks at 3 times what the database takes, of the peak", share, "×", "at least", 0.8)
    found.raw |= {f"overload {load:g}": [asdict(goodput)] for load, goodput in took.items()}
