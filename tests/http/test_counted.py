"""One replica counts the users, and tells the others."""

import asyncio
from typing import Any, cast

from service.errors import UnavailableError
from service.http.counted import COUNT_EVERY_S, COUNTS_CHANNEL, CountedUsers
from service.metrics import Metrics
from tests.strategies import in_jumping_time

FIGURES = {"resolved": 7, "pending": 2, "failed": 1}


class Table:
    """Gives the figures, unless it is away; counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.is_away = False

    async def read(self) -> dict[str, int]:
        self.reads += 1
        if self.is_away:
            raise UnavailableError
        return FIGURES


class Replicas:
    """Several, on one table; notices reach all of them, or none."""

    def __init__(self, table: Table, count: int) -> None:
        self.are_heard = True
        counts = cast("Any", table)
        self.all = [CountedUsers(counts, self._announce, Metrics()) for _ in range(count)]

    async def run(self, for_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.run()) for each in self.all]
            await asyncio.sleep(for_s)
            for task in tasks:
                task.cancel()

    async def _announce(self, channel: str, payload: str) -> None:
        assert channel == COUNTS_CHANNEL
        for each in self.all if self.are_heard else ():
            each.hear(payload)


def test_many_replicas_count_as_often_as_one_and_all_know() -> None:
    async def main() -> None:
        table, for_s = Table(), 600.0
        replicas = Replicas(table, 10)
        await replicas.run(for_s)
        assert [each.by_state for each in replicas.all] == [FIGURES] * 10
        # all count once at their start, then the first one
        assert table.reads <= 10 + 1.5 * for_s / COUNT_EVERY_S[0]

    in_jumping_time(main())


def test_a_replica_that_hears_nothing_counts_for_itself() -> None:
    async def main() -> None:
        table = Table()
        replicas = Replicas(table, 2)
        replicas.are_heard = False
        await replicas.run(60.0)
        assert [each.by_state for each in replicas.all] == [FIGURES] * 2

    in_jumping_time(main())


def test_while_postgres_is_away_the_last_figures_stay() -> None:
    async def main() -> None:
        table = Table()
        replicas = Replicas(table, 1)
        await replicas.run(1.0)
        table.is_away = True
        await replicas.run(60.0)
        assert table.reads > 2
        assert replicas.all[0].by_state == FIGURES

    in_jumping_time(main())


def test_a_notice_of_something_else_is_left_alone() -> None:
    async def main() -> None:
        (counted,) = Replicas(Table(), 1).all
        for payload in ("", "{", "[]", '{"resolved": 1}', '{"resolved": "x"}'):
            counted.hear(payload)
        assert set(counted.by_state.values()) == {0}

    in_jumping_time(main())
