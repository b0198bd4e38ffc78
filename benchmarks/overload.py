"""Overload: acknowledged deliveries by sent deliveries, with a slow PostgreSQL.

Storing a participant takes 10 ms (a trigger sleeps), so the database's limit is known, 100 a
second, and is far below the rate at which the machine can send and refuse. New senders arrive at
half to five times that rate; above 1 the curve must stay flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from benchmarks import payloads
from benchmarks.findings import Findings, Scale
from benchmarks.loads import Goodput, overload
from benchmarks.world import Ours, World

ROW_S = 0.01
CAPACITY_PER_S = 1 / ROW_S
LOADS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
_CLIENTS = 2000
_GOAL = 0.8

_SLOW_DOWN = (
    f"""
CREATE FUNCTION slow_down() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN PERFORM pg_sleep({ROW_S}); RETURN NEW; END $body$
""",
    """
CREATE TRIGGER slow_down BEFORE INSERT ON instagram_participants
FOR EACH ROW EXECUTE FUNCTION slow_down()
""",
)


async def run(world: World, scale: Scale) -> Findings:
    """Measure each load separately, from the smallest to the largest."""
    found = Findings()
    took = await measure(world, scale, (0.05,) if scale.is_tiny else LOADS)
    for load, goodput in took.items():
        share = goodput.served_per_s / (min(load, 1.0) * CAPACITY_PER_S)
        what = f"Acks at {load:g} times what the database takes, {CAPACITY_PER_S:g}/s"
        found.add(what, goodput.served_per_s, "/s")
        found.add(f"{what}, of what is possible", share, "×", "at least", _GOAL)
        found.add(f"{what}, the slowest", goodput.served_max_ms, "ms")
    found.raw = {f"{load:g}": asdict(goodput) for load, goodput in took.items()}
    return found


async def measure(world: World, scale: Scale, loads: Sequence[float]) -> dict[float, Goodput]:
    """Send new senders at each load, one after the other, to a service with a slow PostgreSQL."""
    seconds = 1 if scale.is_tiny else 4 * scale.seconds
    async with world.service(GRAPH_CALLS_PER_SECOND="1") as ours:
        for statement in _SLOW_DOWN:
            await ours.rig.fetch(statement)
        return {load: await _measure(world, ours, load * CAPACITY_PER_S, seconds) for load in loads}


async def _measure(world: World, ours: Ours, per_s: float, seconds: float) -> Goodput:
    lines = payloads.deliveries(payloads.new_users(int(per_s * seconds)), world.keys.app_secret)
    requests = [payloads.raw_request(line, "") for line in lines]
    return await overload(ours.target, requests, per_s, connections=min(_CLIENTS, len(requests)))
