import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.coalescer import Coalescer
from service.errors import UnavailableError, UnstorableError
from service.pace import LONGEST_S
from tests.strategies import in_simulated_time

PATIENCE_S = 60


class Statement:
    """Doubles numbers, batch by batch; waits while it is held, and refuses what is bad."""

    def __init__(self, *, bad: frozenset[int] = frozenset()) -> None:
        self.batches: list[list[int]] = []
        self.bad = bad
        self.fails_with: Exception | None = None
        self._started = asyncio.Event()
        self._may_go = asyncio.Event()
        self._may_go.set()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self._started.set()
        await self._may_go.wait()
        if self.fails_with is not None:
            raise self.fails_with
        if self.bad & set(items):
            raise UnstorableError
        return [2 * item for item in items]

    @asynccontextmanager
    async def held(self, coalescer: Coalescer[int, int]) -> AsyncIterator[asyncio.Task[int]]:
        """Keep a batch of the one item 0 running inside the block."""
        self._may_go.clear()
        self._started.clear()
        first = asyncio.create_task(coalescer.submit(0))
        await self._started.wait()
        yield first
        self._may_go.set()


@pytest.fixture
def statement() -> Statement:
    return Statement()


async def submitted(coalescer: Coalescer[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Submit each item by itself, and see to it that it waits."""
    tasks = [asyncio.create_task(coalescer.submit(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def outcomes(*tasks: asyncio.Task[int]) -> list[Any]:
    """Results or the types of errors, within a bound."""
    async with asyncio.timeout(PATIENCE_S):
        found = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(one) if isinstance(one, BaseException) else one for one in found]


async def test_an_idle_coalescer_runs_an_item_by_itself(statement: Statement) -> None:
    coalescer = Coalescer(statement)
    assert [await coalescer.submit(n) for n in (1, 2)] == [2, 4]
    assert statement.batches == [[1], [2]]


async def test_what_arrives_while_a_batch_runs_is_the_next_batch(statement: Statement) -> None:
    coalescer = Coalescer(statement)
    async with statement.held(coalescer) as first:
        rest = await submitted(coalescer, *range(1, 101))
    assert await outcomes(first, *rest) == [2 * n for n in range(101)]
    assert statement.batches == [[0], list(range(1, 101))]


async def test_a_batch_is_never_larger_than_it_may_be(statement: Statement) -> None:
    coalescer = Coalescer(statement, max_batch=3)
    assert await coalescer.submit_all(range(8)) == [2 * n for n in range(8)]
    assert statement.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_several_items_of_one_caller_share_a_batch_repeats_too(statement: Statement) -> None:
    assert await Coalescer(statement).submit_all([5, 3, 5]) == [10, 6, 10]
    assert statement.batches == [[5, 3, 5]]


async def test_no_items_are_no_statement(statement: Statement) -> None:
    assert await Coalescer(statement).submit_all([]) == []
    assert statement.batches == []


@given(st.sets(st.integers(0, 40)), st.integers(1, 41), st.integers(1, 50))
def test_only_what_cannot_be_stored_fails(bad: set[int], count: int, max_batch: int) -> None:
    async def main() -> None:
        statement = Statement(bad=frozenset(bad))
        coalescer = Coalescer(statement, max_batch=max_batch)
        tasks = await submitted(coalescer, *range(count))
        expected = [UnstorableError if n in bad else 2 * n for n in range(count)]
        assert await outcomes(*tasks) == expected
        stored = [n for batch in statement.batches if not bad & set(batch) for n in batch]
        assert stored == [n for n in range(count) if n not in bad]

    asyncio.run(main())


async def test_one_bad_item_of_a_caller_fails_the_call_and_not_its_other_items() -> None:
    statement = Statement(bad=frozenset({2}))
    with pytest.raises(UnstorableError):
        await Coalescer(statement).submit_all([1, 2, 3, 4])
    assert [3, 4] in statement.batches


async def test_who_waits_while_postgres_is_away_is_told_at_once(statement: Statement) -> None:
    coalescer = Coalescer(statement, max_batch=2)
    async with statement.held(coalescer) as first:
        rest = await submitted(coalescer, *range(1, 10))
        statement.fails_with = UnavailableError()
    assert await outcomes(first, *rest) == [UnavailableError] * 10
    assert statement.batches == [[0]]


async def test_after_a_failure_the_next_item_runs(statement: Statement) -> None:
    coalescer = Coalescer(statement)
    statement.fails_with = UnavailableError()
    with pytest.raises(UnavailableError):
        await coalescer.submit(1)
    statement.fails_with = None
    assert await coalescer.submit(2) == 4


async def test_a_bug_reaches_every_caller_of_its_batch_and_no_other(statement: Statement) -> None:
    coalescer = Coalescer(statement, max_batch=2)
    statement.fails_with = ZeroDivisionError()
    async with statement.held(coalescer) as first:
        rest = await submitted(coalescer, 1, 2)
    assert await outcomes(first, *rest) == [ZeroDivisionError] * 3
    statement.fails_with = None
    assert await coalescer.submit(3) == 6


async def test_too_few_results_are_a_bug_that_reaches_the_callers() -> None:
    async def too_few(items: Sequence[int]) -> list[int]:
        return list(items)[1:]

    tasks = await submitted(Coalescer(too_few), 1, 2, 3)
    done, pending = await asyncio.wait(tasks, timeout=0.5)
    for task in pending:
        task.cancel()
    assert not pending
    assert all(task.exception() for task in done)


async def test_a_caller_that_gives_up_while_waiting_leaves_the_batch_alone(
    statement: Statement,
) -> None:
    coalescer = Coalescer(statement)
    async with statement.held(coalescer) as first:
        one, two, three = await submitted(coalescer, 1, 2, 3)
        two.cancel()
        await asyncio.wait([two])
    assert await outcomes(first, one, two, three) == [0, 2, asyncio.CancelledError, 6]


async def test_a_caller_that_gives_up_while_its_batch_runs_leaves_it_alone(
    statement: Statement,
) -> None:
    coalescer = Coalescer(statement)
    async with statement.held(coalescer) as first:
        rest = await submitted(coalescer, 1)
        first.cancel()
        await asyncio.wait([first])
    assert await outcomes(first, *rest) == [asyncio.CancelledError, 2]
    assert statement.batches == [[0], [1]]


async def test_a_caller_of_many_that_gives_up_leaves_others_alone(statement: Statement) -> None:
    coalescer = Coalescer(statement)
    async with statement.held(coalescer):
        many = asyncio.create_task(coalescer.submit_all([1, 2, 3]))
        (other,) = await submitted(coalescer, 4)
        many.cancel()
        await asyncio.wait([many])
    assert await outcomes(other) == [8]


@pytest.mark.parametrize("error", [UnavailableError, UnstorableError])
async def test_a_failure_that_meets_a_caller_who_is_gone_is_no_trouble(
    statement: Statement, error: type[Exception]
) -> None:
    coalescer = Coalescer(statement)
    async with statement.held(coalescer) as first:
        statement.fails_with = error()
        first.cancel()
        await asyncio.wait([first])
    with pytest.raises(error):
        await coalescer.submit(1)


async def test_waiting_is_bounded(statement: Statement) -> None:
    coalescer = Coalescer(statement, max_waiting=2)
    async with statement.held(coalescer):
        rest = await submitted(coalescer, 1, 2)
        with pytest.raises(UnavailableError):
            await coalescer.submit(3)
        with pytest.raises(UnavailableError):
            await coalescer.submit_all([4, 5])
    assert await outcomes(*rest) == [2, 4]
    assert await coalescer.submit(6) == 12


def test_whoever_waits_too_long_is_told_in_the_running_batch_or_behind_it() -> None:
    async def main() -> None:
        statement, waited_s = Statement(), {}
        coalescer, clock = Coalescer(statement, patience_s=3), asyncio.get_running_loop().time

        async def ask(item: int) -> None:
            asked_at_s = clock()
            with pytest.raises(UnavailableError):
                await coalescer.submit(item)
            waited_s[item] = clock() - asked_at_s

        async with statement.held(coalescer) as first:
            early = asyncio.create_task(ask(1))
            await asyncio.sleep(1)
            late = asyncio.create_task(ask(2))
            await asyncio.gather(early, late)
            with pytest.raises(UnavailableError):
                await first
        await asyncio.sleep(0.1)  # the statement that took too long has ended
        assert waited_s == {1: pytest.approx(3, abs=0.1), 2: pytest.approx(3, abs=0.1)}
        assert await coalescer.submit(3) == 6

    in_simulated_time(main())


def test_whoever_is_served_in_time_is_left_alone() -> None:
    async def main() -> None:
        coalescer = Coalescer(Statement(), patience_s=3)
        assert await coalescer.submit(1) == 2
        await asyncio.sleep(2)
        assert await coalescer.submit(2) == 4
        await asyncio.sleep(10)
        assert await coalescer.submit(3) == 6

    in_simulated_time(main())


class SlowStatement:
    """Takes as long as it is told, for each item too, but at most 2 s; counts what it was given."""

    def __init__(self, takes_s: float, item_s: float = 0.0) -> None:
        self.takes_s = takes_s
        self.item_s = item_s
        self.items = 0

    async def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.items += len(items)
        takes_s = self.takes_s + len(items) * self.item_s
        await asyncio.sleep(min(2.0, takes_s))
        if takes_s > 2:
            raise UnavailableError
        return items


class Clients:
    """Callers that arrive at a steady rate, whatever becomes of those before them."""

    def __init__(self, coalescer: Coalescer[int, int]) -> None:
        self._coalescer = coalescer
        self.served_after_s: list[float] = []
        self.refused_after_s: list[float] = []

    async def arrive(self, for_s: float, per_second: float) -> None:
        """Come until the time is up, and wait for the last one's answer."""
        clock = asyncio.get_running_loop().time
        began_at = clock()
        tasks: list[asyncio.Task[None]] = []
        while (passed_s := clock() - began_at) < for_s:
            tasks += [
                asyncio.create_task(self._ask())
                for _ in range(int(passed_s * per_second) - len(tasks))
            ]
            await asyncio.sleep(0.05)
        await asyncio.gather(*tasks)

    async def _ask(self) -> None:
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        try:
            await self._coalescer.submit(0)
        except UnavailableError:
            self.refused_after_s.append(clock() - asked_at)
        else:
            self.served_after_s.append(clock() - asked_at)


BATCH, TAKES_S, WAITS_S = 20, 0.7, 2.5


@pytest.mark.parametrize("load", [0.5, 1.0, 1.5, 5.0])
def test_under_overload_what_the_database_takes_is_served_and_the_rest_refused_at_once(
    load: float,
) -> None:
    async def main() -> None:
        statement, for_s, capacity = SlowStatement(TAKES_S), 60.0, BATCH / TAKES_S
        clients = Clients(Coalescer(statement, max_batch=BATCH, patience_s=WAITS_S))
        await clients.arrive(for_s, load * capacity)
        served, refused = clients.served_after_s, clients.refused_after_s
        assert len(served) >= 0.9 * min(load, 1) * capacity * for_s
        assert max(served) < WAITS_S
        assert statement.items <= 1.02 * len(served)  # nothing runs that nobody waits for
        assert sum(waited_s > 0.1 for waited_s in refused) <= 0.02 * (len(served) + len(refused))
        assert load >= 1 or not refused

    in_simulated_time(main())


def test_statements_that_suddenly_take_longer_go_on_being_of_use() -> None:
    async def main() -> None:
        statement = SlowStatement(0.01)
        clients = Clients(Coalescer(statement, max_batch=BATCH, patience_s=WAITS_S))
        await clients.arrive(3, 200)
        assert not clients.refused_after_s
        before, statement.takes_s = len(clients.served_after_s), TAKES_S
        await clients.arrive(20, 200)
        assert len(clients.served_after_s) - before >= 0.8 * BATCH / TAKES_S * 20
        statement.takes_s = 0.01
        refused = len(clients.refused_after_s)
        await clients.arrive(5, 200)
        assert (
            len(clients.refused_after_s) - refused < 200 * 2 * TAKES_S
        )  # it takes no longer to heal

    in_simulated_time(main())


@pytest.mark.parametrize("load", [1.0, 2.0, 5.0])
@pytest.mark.parametrize(("takes_s", "item_s"), [(0.0, 0.02), (0.2, 0.02), (0.3, 0.01)])
def test_statements_are_kept_small_where_each_item_costs_time(
    takes_s: float, item_s: float, load: float
) -> None:
    async def main() -> None:
        statement, for_s = SlowStatement(takes_s, item_s), 30.0
        in_a_second = (LONGEST_S - takes_s) / item_s / LONGEST_S
        clients = Clients(Coalescer(statement, patience_s=WAITS_S))
        await clients.arrive(for_s, load * in_a_second)
        served = len(clients.served_after_s)
        assert served >= 0.8 * min(load, 1) * in_a_second * for_s

    in_simulated_time(main())


def test_after_a_statement_beyond_all_patience_the_next_is_tried() -> None:
    async def main() -> None:
        statement = SlowStatement(10.0)  # given up after 2 s
        coalescer = Coalescer(statement, patience_s=WAITS_S)
        with pytest.raises(UnavailableError):
            await coalescer.submit(1)
        await asyncio.sleep(10)
        statement.takes_s = 0.01
        assert await coalescer.submit(2) == 2

    in_simulated_time(main())


async def test_whoever_waits_when_the_loop_ends_is_told(statement: Statement) -> None:
    coalescer = Coalescer(statement)
    async with statement.held(coalescer) as first:
        rest = await submitted(coalescer, 1, 2)
        (runner,) = (task for task in asyncio.all_tasks() if task.get_name() == "coalescer")
        runner.cancel()
        assert await outcomes(first, *rest) == [UnavailableError] * 3


async def test_no_failure_is_left_for_the_loop_to_complain_of(statement: Statement) -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: complaints.append(said))
    coalescer = Coalescer(statement, max_waiting=5)
    async with statement.held(coalescer) as first:
        many = asyncio.create_task(coalescer.submit_all([1, 2, 3]))
        too_many = asyncio.create_task(coalescer.submit_all([4, 5, 6]))
        await asyncio.sleep(0)
        statement.fails_with = UnavailableError()
    await asyncio.gather(first, many, too_many, return_exceptions=True)
    del first, many, too_many
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []
