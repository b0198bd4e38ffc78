"""Lookups of one, 50 and 200 users, compared with a bare server, asyncpg and a competitor."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from statistics import median

import asyncpg

from benchmarks import payloads
from benchmarks.competitors.environment import inline, make_known
from benchmarks.findings import Findings, Samples, Scale, interleaved, middle, plain, ratio
from benchmarks.loads import Latency, closed_loop, open_loop
from benchmarks.receiving import BARE
from benchmarks.target import Target
from benchmarks.world import Ours, World
from service.store.queries import read_queries

COMPETITORS = (inline,)
_SIZES = (1, 50, 200)
_LOOKING_UP = read_queries("looking_up")


async def run(world: World, scale: Scale) -> Findings:
    """Measure lookups."""
    found = Findings()
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(world.service())
        bare = await stack.enter_async_context(world.beside("bare", BARE))
        others = [await stack.enter_async_context(each(world)) for each in COMPETITORS]
        users = payloads.new_users(max(scale.users, *_SIZES))
        await ours.make_known(users)
        for other in others:
            await make_known(other, users)
        samples = await _closed(world, scale, ours.target, bare, others, users)
        _tell(found, samples)
        half_per_s = middle(samples["ours"], "per_s") / 2
        took = await latency(world, scale, ours.target, half_per_s, users)
        for name, value in (("p50", took.p50_ms), ("p99", took.p99_ms), ("p99.9", took.p999_ms)):
            found.add(f"Lookup of one at {half_per_s:.0f}/s, {name}", value, "ms")
        await _raw(ours, found, users, scale)
        found.raw = plain(samples)
    return found


async def _closed(
    world: World,
    scale: Scale,
    ours: Target,
    bare: Target,
    others: list[Target],
    users: list[str],
) -> Samples:
    runs = {}
    for size in _SIZES:
        file = payloads.write(payloads.lookups(users, size), world.folder / f"lookups-{size}")
        load = partial(
            closed_loop,
            file=file,
            seconds=scale.seconds,
            connections=scale.connections,
            key=world.keys.inbox,
            most=scale.requests,
        )
        suffix = "" if size == 1 else f" {size}"
        runs[f"ours{suffix}"] = partial(load, ours)
        if size < max(_SIZES):
            runs |= {f"{other.name}{suffix}": partial(load, other) for other in others}
        if size == 1:
            runs["bare"] = partial(load, bare)
    if not scale.is_tiny:
        for warm_up in runs.values():
            await warm_up()
    return await interleaved(runs, scale.rounds)


def _tell(found: Findings, samples: Samples) -> None:
    def identities(name: str, size: int) -> list[float]:
        return [sample.per_s * size for sample in samples[name]]

    found.add("Lookups of one", middle(samples["ours"], "per_s"), "/s")
    found.add("Identities a second in lookups of 50", median(identities("ours 50", 50)), "/s")
    found.add("Identities a second in lookups of 200", median(identities("ours 200", 200)), "/s")
    if "inline" in samples:
        times = ratio(samples, "ours", "inline")
        found.add("Times the lookups of one of FastAPI", times, "×", "at least", 2.5)
        times = ratio(samples, "ours 50", "inline 50")
        found.add("Times the lookups of 50 of FastAPI", times, "×", "at least", 2.5)


async def latency(
    world: World, scale: Scale, target: Target, per_s: float, users: list[str]
) -> Latency:
    """Measure the latency of single lookups at a fixed rate."""
    raw = [payloads.raw_request(line, world.keys.inbox) for line in payloads.lookups(users)]
    count = int(per_s * scale.open_loop_s)
    return await open_loop(target, (raw * (count // len(raw) + 1))[:count], per_s)


async def _raw(ours: Ours, found: Findings, users: list[str], scale: Scale) -> None:
    """Run the same statement in a loop, for one and for 32 users at a time."""
    connection = await asyncpg.connect(ours.rig.owner_dsn)
    statement = await connection.prepare(_LOOKING_UP["look_up"])
    try:
        for size in (1, 32):
            count, ends_at = 0, time.monotonic() + scale.seconds
            while time.monotonic() < ends_at:
                at = count % (len(users) - size)
                await statement.fetch(users[at : at + size], timedelta(days=7), False)  # noqa: FBT003
                count += size
            found.add(f"Raw asyncpg, statements of {size}: identities", count / scale.seconds, "/s")
    finally:
        await connection.close()
