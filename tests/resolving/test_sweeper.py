import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import NamedTuple

import pytest
import structlog

from service.errors import UnavailableError
from service.queue import TurnQueue
from service.resolving.sweeper import (
    A_ACCOUNT,
    FULL_INTERVAL_S,
    INTERVAL_S,
    LOW_WATER,
    OVERDUE,
    Sweeper,
)
from service.store.identities import DueUser
from tests.strategies import JumpingLoop, in_jumping_time

CAPACITY = 100_000


class Read(NamedTuple):
    """When the table was read, how long nothing but timers had been waited for, for how many."""

    at_s: float
    waited_s: float
    at_most: int


class Table:
    """Users who are due, as a test wants them; notes how it is read."""

    def __init__(self, due: int = 0) -> None:
        self.due = due
        self.is_away = False
        self.reads: list[Read] = []
        self.was_read = asyncio.Event()

    async def find_due(self, a_account: int, at_most: int, overdue: timedelta) -> list[DueUser]:
        loop = asyncio.get_running_loop()
        waited_s = loop.jumped_s if isinstance(loop, JumpingLoop) else 0.0
        self.reads.append(Read(loop.time(), waited_s, at_most))
        self.was_read.set()
        if self.is_away:
            raise UnavailableError("PostgreSQL is unavailable")
        assert overdue == OVERDUE
        return [DueUser("A", f"a{n}") for n in range(min(self.due, a_account, at_most))]

    async def next_read(self) -> Read:
        """Wait for the next sweep."""
        self.was_read.clear()
        await self.was_read.wait()
        return self.reads[-1]


async def while_running(sweeper: Sweeper, work: Coroutine[None, None, None]) -> None:
    running = asyncio.create_task(sweeper.run())
    try:
        await work
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_who_is_due_is_queued_behind_live_messages() -> None:
    queue = TurnQueue(CAPACITY)
    assert not await Sweeper(Table(due=2).find_due, queue, CAPACITY).sweep()
    assert queue.offer("B", "b", is_live=True)
    taken = [await queue.take() for _ in range(3)]
    assert [(hint.ig_user_id, hint.is_live) for hint in taken] == [
        ("b", True),
        ("a0", False),
        ("a1", False),
    ]


async def test_who_is_queued_or_in_flight_already_is_not_queued_again() -> None:
    queue = TurnQueue(CAPACITY)
    queue.offer("A", "a0", is_live=True)
    queue.offer("A", "a1", is_live=True)
    await queue.take()
    await Sweeper(Table(due=3).find_due, queue, CAPACITY).sweep()
    assert (queue.depth, queue.in_flight) == (2, 1)


async def test_a_sweep_brings_so_many_of_an_account_and_says_that_there_may_be_more() -> None:
    queue = TurnQueue(CAPACITY)
    assert await Sweeper(Table(due=A_ACCOUNT + 1).find_due, queue, CAPACITY).sweep()
    assert queue.depth == A_ACCOUNT


@pytest.mark.parametrize(("capacity", "low_water"), [(CAPACITY, LOW_WATER), (10, 5), (1, 1)])
async def test_nothing_is_read_while_the_queue_is_not_low(capacity: int, low_water: int) -> None:
    table, queue = Table(), TurnQueue(capacity)
    sweeper = Sweeper(table.find_due, queue, capacity)
    for number in range(low_water - 1):
        queue.offer("B", f"b{number}", is_live=True)
    await sweeper.sweep()
    queue.offer("B", "the last", is_live=True)
    assert await sweeper.sweep()
    assert [read.at_most for read in table.reads] == [low_water]


def test_it_sweeps_every_second_and_sooner_while_there_is_more() -> None:
    async def main() -> None:
        table, queue = Table(), TurnQueue(CAPACITY)

        async def watch() -> None:
            first, second = await table.next_read(), await table.next_read()
            assert second.at_s - first.at_s >= INTERVAL_S * 0.99
            table.due = A_ACCOUNT
            third, fourth = await table.next_read(), await table.next_read()
            assert fourth.waited_s - third.waited_s <= FULL_INTERVAL_S * 1.01

        await while_running(Sweeper(table.find_due, queue, CAPACITY), watch())

    in_jumping_time(main())


def test_it_sweeps_at_once_when_something_has_become_due() -> None:
    async def main() -> None:
        table = Table()
        sweeper = Sweeper(table.find_due, TurnQueue(CAPACITY), CAPACITY)

        async def watch() -> None:
            first = await table.next_read()
            sweeper.wake()
            second = await table.next_read()
            assert second.waited_s == first.waited_s

        await while_running(sweeper, watch())

    in_jumping_time(main())


def test_while_postgres_is_away_it_says_so_and_tries_on() -> None:
    async def main() -> None:
        table, queue = Table(due=1), TurnQueue(CAPACITY)
        table.is_away = True

        async def watch() -> None:
            await table.next_read()
            table.is_away = False
            await table.next_read()
            await table.next_read()
            assert queue.depth == 1

        with structlog.testing.capture_logs() as lines:
            await while_running(Sweeper(table.find_due, queue, CAPACITY), watch())
        assert [(line["event"], line["error"]) for line in lines] == [
            ("sweep postponed", "PostgreSQL is unavailable")
        ]

    in_jumping_time(main())
