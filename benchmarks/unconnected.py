"""Users of unconnected accounts: `python -m benchmarks.unconnected [ACCOUNTS …]`.

One user writes to each of many unconnected accounts, then one to the connected account. Measures
how long the last one waits for a name.
"""

from __future__ import annotations

import asyncio
import sys
import time
from http import HTTPStatus
from pathlib import Path

import aiohttp

from sandbox import samples
from tests.system.chaos.rig import (
    ACCOUNTS,
    Rig,
    machinery,
    message_from,
    new_user,
    rig,
    scratch_folder,
)

SIZES = (1_000, 20_000, 100_000)
A_DELIVERY = 500
AT_ONCE = 4
PROBES = 5
NAMED_WITHIN_S = 600.0


async def main(sizes: list[int]) -> None:
    """Measure each size with a new PostgreSQL, the Graph simulator and one process."""
    for size in sizes:
        with scratch_folder() as name:
            async with (
                machinery(Path(name)) as (postgres, graph, keys),
                rig(Path(name), postgres, graph, keys) as world,
            ):
                await world.start_services()
                await _measure(world, size)


async def _measure(world: Rig, size: int) -> None:
    waits_s = [await _wait_for_a_name(world)]
    began_s = time.monotonic()
    writing = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(
        *(
            _write(world, writing, range(at, min(size, at + A_DELIVERY)))
            for at in range(0, size, A_DELIVERY)
        )
    )
    written_s = time.monotonic() - began_s
    after_s = [await _wait_for_a_name(world) for _ in range(PROBES)]
    pauses = await world.fetch("SELECT count(*) FROM instagram_pauses")
    print(
        f"{size:>7,} unconnected accounts, written in {written_s:.1f} s: a user of a connected"
        f" account waits {max(after_s):.2f} s at most of {PROBES} (before: {waits_s[0]:.2f} s),"
        f" {pauses[0][0]} pauses",
        flush=True,
    )


async def _write(world: Rig, writing: asyncio.Semaphore, numbers: range) -> None:
    entries = [
        samples.entry(account, samples.message(new_user(), account))
        for account in (f"9917{number:08}" for number in numbers)
    ]
    async with writing:
        body = samples.delivery(*entries)
        while not await _is_taken(world, body):  # noqa: ASYNC110 - retries like Meta
            await asyncio.sleep(0.1)


async def _is_taken(world: Rig, body: bytes) -> bool:
    try:
        return (await world.deliver(body)).status == HTTPStatus.OK
    except aiohttp.ClientError:  # a 503 before the body was read closes the connection
        return False


async def _wait_for_a_name(world: Rig) -> float:
    user, began_s = new_user(), time.monotonic()
    await world.deliver(message_from(user, account=ACCOUNTS[0]))
    async with asyncio.timeout(NAMED_WITHIN_S):
        while b'"resolved"' not in (await world.look_up(user)).body:  # noqa: ASYNC110 - polls like an inbox
            await asyncio.sleep(0.01)
    return time.monotonic() - began_s


if __name__ == "__main__":
    asyncio.run(main([int(size) for size in sys.argv[1:]] or list(SIZES)))
