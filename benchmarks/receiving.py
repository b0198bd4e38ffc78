"""Acknowledgements: new and known senders, batches of 50, compared with other servers."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from benchmarks import payloads
from benchmarks.competitors.environment import inline, make_known, queued
from benchmarks.findings import Findings, Samples, Scale, interleaved, middle, plain, ratio
from benchmarks.loads import Sample, check_each_once, closed_loop, open_loop
from benchmarks.target import Target
from benchmarks.world import Ours, World

COMPETITORS = (inline, queued)
DEFAULT_BUDGET = {"GRAPH_CALLS_PER_SECOND": "10"}  # resolving continues meanwhile
BARE = [sys.executable, "-m", "benchmarks.bare"]
_BATCH = 50
_MOST_PER_S = {1: 16_000, _BATCH: 800}  # prepared deliveries for each second, by their size


async def run(world: World, scale: Scale) -> Findings:
    """Measure acknowledgements."""
    found = Findings()
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(world.service(**DEFAULT_BUDGET))
        bare = await stack.enter_async_context(world.beside("bare", BARE))
        others = [await stack.enter_async_context(each(world)) for each in COMPETITORS]
        bench = _Bench(world, scale, ours, [ours.target, bare, *others])
        known = await bench.known()
        new = await bench.new()
        batches = await bench.batches()
        found.add("Acks of new senders", middle(new["ours"], "per_s"), "/s")
        found.add("Acks of known senders", middle(known["ours"], "per_s"), "/s")
        _against(found, "acks of new senders", new)
        _against(found, "acks of known senders", known)
        per_s = middle(batches["ours"], "per_s") * _BATCH
        found.add("Acks of 50-item deliveries, participants", per_s, "/s")
        await bench.latency(found, middle(new["ours"], "per_s") / 2)
        found.raw = {"new": plain(new), "known": plain(known), "batches": plain(batches)}
    return found


class _Bench:
    def __init__(self, world: World, scale: Scale, ours: Ours, targets: list[Target]) -> None:
        self._world = world
        self._scale = scale
        self._ours = ours
        self._targets = targets
        self._secret = world.keys.app_secret

    async def known(self) -> Samples:
        """Measure known senders with a fresh identity."""
        users = payloads.new_users(self._scale.users)
        await self._ours.make_known(users)
        for target in self._targets:
            await make_known(target, users)
        file = self._file("known", payloads.deliveries(users, self._secret))
        runs = {each.name: partial(self._run, each, file) for each in self._targets}
        if not self._scale.is_tiny:
            for warm_up in runs.values():
                await warm_up()
        return await interleaved(runs, self._scale.rounds)

    async def new(self) -> Samples:
        """Measure new senders."""
        runs = {each.name: partial(self._run_new, each) for each in self._targets}
        return await interleaved(runs, self._scale.rounds)

    async def batches(self) -> Samples:
        """Measure deliveries with fifty new senders."""
        run = partial(self._run_new, self._targets[0], batch=_BATCH)
        return await interleaved({"ours": run}, self._scale.rounds)

    async def latency(self, found: Findings, per_s: float) -> None:
        """Measure the latency for new senders at a fixed rate."""
        users = payloads.new_users(int(per_s * self._scale.open_loop_s))
        lines = payloads.deliveries(users, self._secret)
        requests = [payloads.raw_request(line, "") for line in lines]
        took = await open_loop(self._ours.target, requests, per_s)
        for name, value in (("p50", took.p50_ms), ("p99", took.p99_ms), ("p99.9", took.p999_ms)):
            found.add(f"Ack of a new sender at {per_s:.0f}/s, {name}", value, "ms")

    async def _run_new(self, target: Target, batch: int = 1) -> Sample:
        users = payloads.new_users(self._scale.most(_MOST_PER_S[batch]) * batch)
        file = self._file("new", payloads.deliveries(users, self._secret, batch))
        sample = await self._run(target, file)
        return check_each_once(sample) if target is self._targets[0] else sample

    async def _run(self, target: Target, file: Path) -> Sample:
        scale = self._scale
        return await closed_loop(
            target,
            file,
            scale.seconds,
            connections=scale.connections,
            most=scale.requests,
        )

    def _file(self, name: str, lines: list[str]) -> Path:
        return payloads.write(lines, self._world.folder / name)


def _against(found: Findings, what: str, samples: Samples) -> None:
    if "inline" in samples:
        times = ratio(samples, "ours", "inline")
        found.add(f"Times the {what} of FastAPI fetching inline", times, "×", "at least", 3)
    if "queued" in samples:
        times = ratio(samples, "ours", "queued")
        found.add(f"Times the {what} of FastAPI with procrastinate", times, "×")
