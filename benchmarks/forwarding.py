"""`python -m benchmarks.forwarding`: the cost of durable forwarding for an acknowledgement.

Two services on one machine, one with FORWARD_URLS and one without, get the same new senders in
turn. The receiver checks each signature and answers 200. Then both get the same open load, well
below their limit, to measure the latency.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from benchmarks import payloads
from benchmarks.findings import interleaved, middle, ratio
from benchmarks.loads import Sample, closed_loop, open_loop
from benchmarks.receiving import BARE, DEFAULT_BUDGET
from benchmarks.world import Ours, World, world
from tests.system.chaos.rig import PREFIX

ROUNDS, SECONDS, MOST_PER_S = 5, 4, 8000
RATE_PER_S, OPEN_LOOP_S = 300, 8


async def _run() -> None:
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(world())
        receiver = await stack.enter_async_context(made.beside("bare", BARE))
        plain = await stack.enter_async_context(made.service("plain", **DEFAULT_BUDGET))
        url = f"{receiver.url}{PREFIX}/webhook"
        forwarding = await stack.enter_async_context(
            made.service("forwarding", FORWARD_URLS=url, **DEFAULT_BUDGET)
        )

        def load(ours: Ours) -> Callable[[], Awaitable[Sample]]:
            async def acks() -> Sample:
                senders = payloads.new_users(MOST_PER_S * SECONDS)
                lines = payloads.deliveries(senders, made.keys.app_secret)
                path = payloads.write(lines, made.folder / "forwarding")
                return await closed_loop(ours.target, path, seconds=SECONDS, key=made.keys.inbox)

            return acks

        samples = await interleaved({"plain": load(plain), "forwarding": load(forwarding)}, ROUNDS)
        for name, taken in samples.items():
            print(f"acks of new senders, {name}: {middle(taken, 'per_s'):,.0f}/s")
        print(f"ratio: {ratio(samples, 'forwarding', 'plain'):.2f} x, median of {ROUNDS} rounds")
        waiting = await forwarding.metric("instagram_forwards_waiting")
        print(f"deliveries that wait after the load: {waiting:,.0f}")
        began_s = time.monotonic()
        while await forwarding.metric("instagram_forwards_waiting") > 0:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.5)
        print(f"forwarded {waiting / (time.monotonic() - began_s):,.0f}/s once the load had ended")
        for ours in (plain, forwarding):
            await _show_latency(made, ours)


async def _show_latency(made: World, ours: Ours) -> None:
    senders = payloads.new_users(RATE_PER_S * OPEN_LOOP_S)
    lines = payloads.deliveries(senders, made.keys.app_secret)
    requests = [payloads.raw_request(line, made.keys.inbox) for line in lines]
    took = await open_loop(ours.target, requests, RATE_PER_S)
    print(
        f"{ours.target.name} at {RATE_PER_S}/s: p50 {took.p50_ms:.1f} ms, p99 {took.p99_ms:.1f} ms"
    )


if __name__ == "__main__":
    asyncio.run(_run())
