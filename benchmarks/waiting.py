"""Simulates how long names wait, by budget, accounts and bursts, and compares the service.

`python -m benchmarks.waiting` prints the model's tables of docs/scaling.md. `--real` runs the
service under the same arrivals at a small scale and prints both.

The model is that of the service: one budget, round robin over accounts, one call per user, first in
first out within an account. Calls take no time, since the budget is the limit.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import asyncpg
import click

from sandbox import samples
from tests.system.chaos.rig import ACCOUNTS, PREFIX, Rig, machinery, rig, scratch_folder

SHARES = (50, 90, 99, 100)
_SEED = 1


@dataclass(frozen=True)
class Arrival:
    """The first message of a user to an account."""

    at_s: float
    account: int


def waits_s(arrivals: Sequence[Arrival], per_s: float) -> list[list[float]]:
    """Simulate how long each user waits for the call, by account."""
    accounts = 1 + max(arrival.account for arrival in arrivals)
    queues: list[deque[float]] = [deque() for _ in range(accounts)]
    waits: list[list[float]] = [[] for _ in range(accounts)]
    coming, turns, now_s = deque(sorted(arrivals, key=lambda a: a.at_s)), deque[int](), 0.0
    while coming or turns:
        if not turns:
            now_s = max(now_s, coming[0].at_s)
        while coming and coming[0].at_s <= now_s:
            arrival = coming.popleft()
            if not queues[arrival.account]:
                turns.append(arrival.account)
            queues[arrival.account].append(arrival.at_s)
        account = turns.popleft()
        waits[account].append(now_s - queues[account].popleft())
        if queues[account]:
            turns.append(account)
        now_s += 1 / per_s
    return waits


def poisson(per_s: float, seconds: float, accounts: int, seed: int = _SEED) -> list[Arrival]:
    """Return new users with random arrival times, spread over the accounts."""
    chance, now_s, arrivals = random.Random(seed), 0.0, []  # noqa: S311 - no secret
    while (now_s := now_s + chance.expovariate(per_s)) < seconds:
        arrivals.append(Arrival(now_s, chance.randrange(accounts)))
    return arrivals


def burst(at_s: float, users: int, account: int) -> list[Arrival]:
    """Return a burst of one account, as after a campaign."""
    return [Arrival(at_s, account)] * users


def percentiles(waits: Iterable[float]) -> list[float]:
    """Return the 50th, 90th, 99th and 100th percentile."""
    ordered = sorted(waits)
    return [ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in SHARES]


def shown(waits: Iterable[Iterable[float]]) -> str:
    """Return the percentiles of some accounts together as text."""
    found = zip(SHARES, percentiles(chain.from_iterable(waits)), strict=True)
    return ", ".join(f"p{share} {wait:.2f} s" for share, wait in found)


@click.command()
@click.option("--real", is_flag=True, help="Run the service too, at a small scale.")
def main(*, real: bool) -> None:
    """Print how long names wait."""
    for per_s, load in ((10, 0.5), (10, 0.9), (50, 0.9), (200, 0.9), (200, 0.99)):
        waits = waits_s(poisson(per_s * load, 1800, 50), per_s)
        print(f"budget {per_s}/s, new users {per_s * load:g}/s: {shown(waits)}")
    flood = poisson(5, 1800, 49) + burst(300, 5000, 49)
    others = waits_s(flood, 10)
    print(f"a flood of 5000 in one account, budget 10/s: {shown(others[49:])}")
    print(f"  everybody else meanwhile: {shown(others[:49])}")
    if real:
        asyncio.run(_compare())


async def _compare() -> None:
    """Send the same arrivals to the service with a budget of 20, and print both."""
    per_s, accounts = 20.0, len(ACCOUNTS)
    arrivals = poisson(14, 20, accounts - 1) + burst(5, 150, accounts - 1)
    model = waits_s(arrivals, per_s)
    with scratch_folder() as name:
        async with (
            machinery(Path(name)) as (postgres, graph, keys),
            rig(Path(name), postgres, graph, keys, GRAPH_CALLS_PER_SECOND=str(per_s)) as made,
        ):
            await made.start_services()
            real = await _real(made, arrivals)
    for title, rows in (("the flood", slice(-1, None)), ("everybody else", slice(0, -1))):
        print(f"{title}, model: {shown(model[rows])}")
        print(f"{title}, real:  {shown(real[rows])}")


async def _real(made: Rig, arrivals: Sequence[Arrival]) -> list[list[float]]:
    """Send each user's message when it is due; returns the waits for names by account."""
    await made.connect_accounts()
    sent: dict[str, tuple[int, float]] = {}
    began_s = time.time() + 0.5

    async def send(number: int, arrival: Arrival) -> None:
        await asyncio.sleep(max(0.0, began_s + arrival.at_s - time.time()))
        user, account = f"9{number:015}", ACCOUNTS[arrival.account]
        sent[user] = (arrival.account, time.time())
        body = samples.delivery(samples.entry(account, samples.message(user, account)))
        headers = samples.signed_headers(body, made.keys.app_secret)
        url = f"{made.services[0].url}{PREFIX}/webhook"
        async with made.session.post(url, data=body, headers=headers) as response:
            response.raise_for_status()

    await asyncio.gather(*(send(n, a) for n, a in enumerate(sorted(arrivals, key=_at))))
    fetched = await _fetched(made.role_dsn, len(arrivals))
    waits: list[list[float]] = [[] for _ in ACCOUNTS]
    for user, (account, sent_s) in sent.items():
        waits[account].append(max(0.0, fetched[user] - sent_s))
    return waits


def _at(arrival: Arrival) -> float:
    return arrival.at_s


async def _fetched(dsn: str, users: int) -> dict[str, float]:
    """Wait until so many users have names; returns the time of each."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(120):
            while True:
                rows = await connection.fetch(
                    "SELECT ig_user_id, last_fetched_at FROM instagram_user_cache"
                    " WHERE last_fetched_at IS NOT NULL"
                )
                if len(rows) >= users:
                    return {row["ig_user_id"]: row["last_fetched_at"].timestamp() for row in rows}
                await asyncio.sleep(0.2)
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
