"""Repeated messages and fairness between accounts: `python -m benchmarks.turns`.

Measures how many Graph calls a thousand messages of one user cause, how long a user waits while
another account has 10,000, and what /status shows meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from tests.system.chaos.rig import (
    ACCOUNTS,
    Rig,
    machinery,
    message_from,
    new_user,
    rig,
    scratch_folder,
)

MESSAGES = 1000
FLOOD_USERS = 10_000
A_DELIVERY = 50
CALLS_PER_SECOND = 20
NAMED_WITHIN_S = 120.0


async def main() -> None:
    """Measure with PostgreSQL, the Graph simulator and one process of the service."""
    with scratch_folder() as name:
        async with (
            machinery(Path(name)) as (postgres, graph, keys),
            rig(
                Path(name),
                postgres,
                graph,
                keys,
                GRAPH_CALLS_PER_SECOND=str(CALLS_PER_SECOND),
            ) as world,
        ):
            await world.start_services()
            await _one_flight(world)
            await _turns(world)
            await _pauses(world)


async def _one_flight(world: Rig) -> None:
    user = new_user()
    await asyncio.gather(*(world.write_as(user) for _ in range(MESSAGES)))
    await _named(world, user)
    calls = await world.graph_calls(user)
    print(f"one flight: {MESSAGES} messages of one user -> {len(calls)} Graph call(s)")


async def _turns(world: Rig) -> None:
    flood = [new_user() for _ in range(FLOOD_USERS)]
    for first in range(0, FLOOD_USERS, A_DELIVERY):
        await world.write_as(*flood[first : first + A_DELIVERY])
    depth = (await _status(world))["queue"]["depth"]
    stranger, started_at = new_user(), time.monotonic()
    await world.deliver(message_from(stranger, account=ACCOUNTS[1]))
    await _named(world, stranger)
    waited_s = time.monotonic() - started_at
    print(
        f"turns: behind {depth} queued users of another account, at {CALLS_PER_SECOND} calls/s,"
        f" a user waited {waited_s:.2f} s"
        f" (first come, first served: {depth / CALLS_PER_SECOND:.0f} s)"
    )


async def _pauses(world: Rig) -> None:
    """Print what /status shows during throttling and with a dead token."""
    await world.control_graph("answer", answer="app_throttle")
    await _paused(world, "throttled")
    await world.control_graph("answer", answer=None)
    await world.fetch("DELETE FROM instagram_pauses")
    await world.control_graph(f"accounts/{ACCOUNTS[0]}", answer="token_expired")
    await _paused(world, "token_invalid")


async def _paused(world: Rig, reason: str) -> None:
    async with asyncio.timeout(NAMED_WITHIN_S):
        found = await _status(world)
        while reason not in json.dumps(found["pauses"]):
            await asyncio.sleep(0.1)
            found = await _status(world)
    print(f"status, {reason}: {json.dumps(found)}")


async def _status(world: Rig) -> dict[str, dict[str, int]]:
    headers = {"Authorization": f"Bearer {world.keys.operator}"}
    answer = await world.ask("GET", "/status", headers=headers)
    found: dict[str, dict[str, int]] = json.loads(answer.body)
    return found


async def _named(world: Rig, user: str) -> None:
    async with asyncio.timeout(NAMED_WITHIN_S):
        while b'"resolved"' not in (await world.look_up(user)).body:  # noqa: ASYNC110 - polls like an inbox
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main())
