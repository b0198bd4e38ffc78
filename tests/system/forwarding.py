"""`python -m tests.system.forwarding`: breaks everything around forwarding, and counts losses.

Two service processes acknowledge a stream of deliveries and forward them to a receiver. One fault
after another hits the services, PostgreSQL and the receiver. At the end every acknowledged delivery
must have reached the receiver, byte for byte and with a valid signature.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
import click

from sandbox import samples
from tests.service.receiver import Receiver
from tests.system.chaos.faults import killed, postgres_frozen, postgres_killed, stopped
from tests.system.chaos.rig import ACCOUNTS, Rig, machinery, new_user, rig, scratch_folder

DELIVERED_WITHIN_S = 120.0


@dataclass
class Stream:
    """Sends deliveries one after another, and records those acknowledged."""

    rig: Rig
    fault: str = "none"
    acked: set[bytes] = field(default_factory=set)
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    async def run(self, rate: float, over: asyncio.Event) -> None:
        """Send at a rate, to each service in turn, until the stream is stopped."""
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                if over.is_set():
                    return
                tasks.create_task(self._send(number))
                await asyncio.sleep(1 / rate)

    async def _send(self, number: int) -> None:
        user, account = new_user(), ACCOUNTS[number % len(ACCOUNTS)]
        body = samples.delivery(
            samples.entry(account, samples.message(user, account, f"message {number} \u2713"))
        )
        fault, started_at = self.fault, time.perf_counter()
        service = self.rig.services[number % len(self.rig.services)]
        try:
            status = str((await self.rig.deliver(body, service)).status)
        except (aiohttp.ClientError, TimeoutError, OSError):
            status = "not answered"
        self.answers[fault, status] += 1
        if status == "200":
            self.acked.add(body)
            self.seconds.setdefault(fault, []).append(time.perf_counter() - started_at)


@asynccontextmanager
async def _hanging(receiver: Receiver) -> AsyncIterator[None]:
    receiver.hang()
    try:
        yield
    finally:
        receiver.release()


@asynccontextmanager
async def _down(receiver: Receiver) -> AsyncIterator[None]:
    await receiver.stop()
    try:
        yield
    finally:
        await receiver.start()


@asynccontextmanager
async def _failing(receiver: Receiver) -> AsyncIterator[None]:
    receiver.statuses.extend([500] * 100_000)
    try:
        yield
    finally:
        receiver.statuses.clear()


@asynccontextmanager
async def _down_for_an_hour(receiver: Receiver, rig: Rig) -> AsyncIterator[None]:
    """Stop the receiver, and make every stored time an hour older."""
    async with _down(receiver):
        yield
        await rig.fetch(
            "UPDATE instagram_forwards SET received_at = received_at - interval '1 hour',"
            " due_at = due_at - interval '1 hour', give_up_at = give_up_at - interval '1 hour'"
        )


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


def _faults(
    rig: Rig, receiver: Receiver, random: Random
) -> dict[str, Callable[[], AbstractAsyncContextManager[None]]]:
    return {
        "none": _nothing,
        "service kill -9": lambda: killed(rig, random),
        "service SIGTERM": lambda: stopped(rig, random),
        "postgres kill -9": lambda: postgres_killed(rig, random),
        "postgres frozen": lambda: postgres_frozen(rig, random),
        "receiver hangs": lambda: _hanging(receiver),
        "receiver is down": lambda: _down(receiver),
        "receiver answers 500": lambda: _failing(receiver),
        "receiver is down for an hour": lambda: _down_for_an_hour(receiver, rig),
    }


async def _break(stream: Stream, receiver: Receiver, seconds: float, random: Random) -> None:
    faults = _faults(stream.rig, receiver, random)
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        for name, fault in faults.items():
            stream.fault = name
            async with fault():
                await asyncio.sleep(random.uniform(1.5, 3.0))
            stream.fault = "after a fault"
            await asyncio.sleep(1)


async def _until_forwarded(rig: Rig) -> bool:
    """Wait until the outbox is empty; waits between attempts are shortened."""
    ends_at = time.monotonic() + DELIVERED_WITHIN_S
    while time.monotonic() < ends_at:
        await rig.fetch("UPDATE instagram_forwards SET due_at = now() WHERE lease IS NULL")
        ((left,),) = await rig.fetch("SELECT count(*) FROM instagram_forwards")
        if not left:
            return True
        await asyncio.sleep(0.5)
    return False


def _show(stream: Stream, receiver: Receiver) -> int:
    secret = stream.rig.keys.app_secret.encode()
    got = Counter(post.body for post in receiver.posts)
    lost = stream.acked - got.keys()
    forged = sum(
        post.headers.get("X-Hub-Signature-256")
        != f"sha256={hmac.digest(secret, post.body, hashlib.sha256).hex()}"
        for post in receiver.posts
    )
    print(
        "| while | acked | refused | not answered | ack p50 | ack p99 |\n|---|--:|--:|--:|--:|--:|"
    )
    for fault in dict.fromkeys(fault for fault, _ in stream.answers):
        took = sorted(stream.seconds.get(fault, [0.0]))
        p99 = took[min(len(took) - 1, int(len(took) * 0.99))]
        counts = [stream.answers[fault, status] for status in ("200", "503", "not answered")]
        print(
            f"| {fault} | {' | '.join(map(str, counts))} | {statistics.median(took) * 1000:.1f} ms"
            f" | {p99 * 1000:.0f} ms |"
        )
    others = {status for _, status in stream.answers} - {"200", "503", "not answered"}
    print(
        f"{len(stream.acked)} acknowledged, {len(got.keys() & stream.acked)} of them forwarded,"
        f" {sum(got.values()) - len(got)} forwarded again, {len(lost)} lost,"
        f" {forged} without a good signature, other answers: {sorted(others)},"
        f" at most {receiver.most_at_once} at a time"
    )
    return 1 if lost or forged or others else 0


async def _run(seconds: float, rate: float, random: Random) -> int:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(scratch_folder()))
        postgres, graph, keys = await stack.enter_async_context(machinery(folder))
        receiver = await stack.enter_async_context(Receiver())
        broken = await stack.enter_async_context(
            rig(folder, postgres, graph, keys, services=2, FORWARD_URLS=receiver.url)
        )
        await broken.start_services()
        stream, over = Stream(broken), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stream.run(rate, over))
            await _break(stream, receiver, seconds, random)
            over.set()
        is_forwarded = await _until_forwarded(broken)
        if not is_forwarded:
            print(f"Deliveries still wait {DELIVERED_WITHIN_S:.0f} s after the last fault.")
        return _show(stream, receiver) or int(not is_forwarded)


@click.command()
@click.option("--seconds", default=120.0, show_default=True, help="How long to break things.")
@click.option("--rate", default=30.0, show_default=True, help="Deliveries a second.")
@click.option("--seed", default=1, show_default=True, help="Draw the same waits again.")
def main(seconds: float, rate: float, seed: int) -> None:
    """Break the dependencies of forwarding; fail if an acknowledged delivery is lost."""
    sys.exit(asyncio.run(_run(seconds, rate, Random(seed))))  # noqa: S311 - not a secret


if __name__ == "__main__":
    main()
