"""Combines concurrent one-row operations into one statement.

An operation that cannot finish in time is refused immediately, as in CoDel and Facebook's adaptive
queues: late work costs the database as much as useful work, so under overload an unbounded queue
serves nobody in time (Nichols and Jacobson, "Controlling Queue Delay", 2012; Maurer, "Fail at
Scale", 2015; both ACM Queue). Those queues serve the newest first, since they do not know how long
clients wait. Here all callers have the same known patience, so the oldest go first, and the queue
stays short enough for the last to be served in time.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

from service.errors import UnavailableError, UnstorableError
from service.pace import LONGEST_S, Pace

_FORESEEN = 0.6  # share of the patience: an estimate can be too short on a busy machine
_MARGIN = 1.25  # for the operations that already wait
_OVERLOADED = "overloaded: it could not be done in time"

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Call(Generic[Item, Result]):
    """The items of one caller, and a future for their results."""

    __slots__ = ("future", "items", "until_s")

    def __init__(
        self,
        items: Sequence[Item],
        future: asyncio.Future[list[Result]],
        until_s: float = math.inf,
    ) -> None:
        self.items = items
        self.future = future
        self.until_s = until_s

    def succeed(self, results: list[Result]) -> None:
        if not self.future.done():
            self.future.set_result(results)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            _retrieve(self.future)


class Coalescer(Generic[Item, Result]):
    """Collects the items that arrive while a batch runs, and runs them as the next batch.

    There is no delay: an idle coalescer runs an item immediately. `run` returns one result per
    item, in order. If it raises UnstorableError, the batch is halved until the bad item is alone;
    if it raises UnavailableError, all waiting callers get it. A cancelled caller does not affect
    its batch.

    With `patience_s`, a caller that cannot be served in that time gets UnavailableError:
    immediately if the duration of recent statements predicts it, and before its items are part of
    a statement; else when the time is over. All callers share one timer: one each would cost 5 %
    of an acknowledgement.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_batch: int = 1000,
        max_waiting: int = 100_000,
        patience_s: float = math.inf,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._patience_s = patience_s
        self._pace = Pace(max_batch)
        self._statement = (0, 0.0)  # the running one: its item count and its start
        self._timer: asyncio.TimerHandle | None = None
        self._running: Sequence[_Call[Item, Result]] = ()
        self._waiting: deque[_Call[Item, Result]] = deque()
        self._items_waiting = 0
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Run one item in the next batch and return its result."""
        return (await self._enqueue((item,)))[0]

    async def submit_all(self, items: Sequence[Item]) -> list[Result]:
        """Run several items, in the same batch if they fit."""
        size = self._max_batch
        if len(items) <= size:
            return await self._enqueue(items) if items else []
        self._check_room(len(items), asyncio.get_running_loop().time())
        parts = [self._enqueue(items[at : at + size]) for at in range(0, len(items), size)]
        try:
            return [result for results in await asyncio.gather(*parts) for result in results]
        finally:
            for part in parts:
                _retrieve(part)

    def _check_room(self, count: int, now_s: float) -> None:
        if self._items_waiting + count > self._max_waiting:
            raise UnavailableError("too many operations wait for PostgreSQL")
        if self._runner is None or self._patience_s == math.inf:
            return
        wait_s = self._wait_s(self._items_waiting + count, now_s)
        if wait_s > _FORESEEN * self._patience_s:
            raise UnavailableError(_OVERLOADED)

    def _wait_s(self, items: int, now_s: float) -> float:
        """Estimate how long the running statement and then this many items will take."""
        most = self._pace.most_items
        statements, rest = divmod(items, most)
        own_s = statements * self._pace.takes_s(most) + (self._pace.takes_s(rest) if rest else 0.0)
        running, began_at = self._statement
        if not running:
            return own_s
        ran_s = now_s - began_at
        left_s = max(0.0, self._pace.takes_s(running) - ran_s)
        return left_s + max(own_s, ran_s if items else 0.0)

    def _enqueue(self, items: Sequence[Item]) -> asyncio.Future[list[Result]]:
        # before Python 3.12, asking for the running loop costs a system call
        loop = self._runner.get_loop() if self._runner else asyncio.get_running_loop()
        now_s = loop.time()
        self._check_room(len(items), now_s)
        call: _Call[Item, Result] = _Call(items, loop.create_future(), now_s + self._patience_s)
        if self._timer is None and call.until_s < math.inf:
            self._timer = loop.call_at(call.until_s, self._turn_late_away)
        self._waiting.append(call)
        self._items_waiting += len(items)
        if self._runner is None:
            self._runner = asyncio.create_task(self._drain(), name="coalescer")
        return call.future

    def _turn_late_away(self) -> None:
        """Fail the calls that have waited too long, and schedule the next check."""
        self._timer = None
        loop = asyncio.get_running_loop()
        for call in itertools.chain(self._running, self._waiting):
            if call.until_s > loop.time():
                self._timer = loop.call_at(call.until_s, self._turn_late_away)
                return
            call.fail(UnavailableError("not done in time"))

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._settle_or_stop(self._take_batch(self._pace.most_items))
                self._refuse_hopeless()  # only after a statement: one is always tried
        finally:
            self._runner = None
            _fail(self._take_waiting(), UnavailableError("stopped"))

    def _refuse_hopeless(self) -> None:
        """Refuse the calls whose answer would be too late at the current duration of statements."""
        now, items = asyncio.get_running_loop().time(), 0
        all_by = now + _MARGIN * self._wait_s(self._items_waiting, now)
        if not self._waiting or all_by < self._waiting[0].until_s:
            return
        hopeful: deque[_Call[Item, Result]] = deque()
        for call in self._waiting:
            if now + _MARGIN * self._wait_s(items + len(call.items), now) <= call.until_s:
                hopeful.append(call)
                items += len(call.items)
            else:
                call.fail(UnavailableError(_OVERLOADED))
        self._waiting, self._items_waiting = hopeful, items

    def _take_batch(self, at_most: int) -> list[_Call[Item, Result]]:
        """Take waiting calls with at most `at_most` items in total, at least one call."""
        batch: list[_Call[Item, Result]] = []
        while self._waiting and ((size := len(self._waiting[0].items)) <= at_most or not batch):
            batch.append(self._waiting.popleft())
            at_most -= size
            self._items_waiting -= size
        return batch

    def _take_waiting(self) -> list[_Call[Item, Result]]:
        return self._take_batch(self._items_waiting)

    async def _settle_or_stop(self, batch: Sequence[_Call[Item, Result]]) -> None:
        self._running = batch
        try:
            await self._settle(batch)
        finally:
            self._running = ()
            _fail(batch, UnavailableError("stopped"))  # the calls without an answer

    async def _settle(self, batch: Sequence[_Call[Item, Result]]) -> None:
        """Run a batch and pass on its results or its error; raises nothing."""
        try:
            results = await self._attempt([item for call in batch for item in call.items])
        except UnstorableError as error:
            await self._settle_apart(batch, error)
        except UnavailableError as error:
            _fail([*batch, *self._take_waiting()], error)
        except Exception as error:  # noqa: BLE001 - a bug reaches every caller, not only the task
            _fail(batch, error)
        else:
            at = 0
            for call in batch:
                call.succeed(results[at : at + len(call.items)])
                at += len(call.items)

    async def _attempt(self, items: list[Item]) -> list[Result]:
        results = list(await self._timed(items))
        if len(results) != len(items):
            raise ValueError(f"{len(items)} items gave {len(results)} results")
        return results

    async def _timed(self, items: list[Item]) -> Sequence[Result]:
        clock = asyncio.get_running_loop().time
        self._statement = (len(items), clock())
        try:
            results = await self._run(items)
        except UnavailableError:
            if (took_s := clock() - self._statement[1]) > LONGEST_S:
                self._pace.note_too_long(len(items), took_s)
            raise
        else:
            self._pace.note_done(len(items), clock() - self._statement[1])
        finally:
            self._statement = (0, 0.0)
        return results

    async def _settle_apart(
        self, batch: Sequence[_Call[Item, Result]], error: UnstorableError
    ) -> None:
        """Run the halves of a refused batch; a single caller's items are halved too."""
        if len(batch) > 1:
            await self._settle(batch[: len(batch) // 2])
            await self._settle(batch[len(batch) // 2 :])
            return
        (call,) = batch
        half = len(call.items) // 2
        if not half:
            call.fail(error)
            return
        new_future = asyncio.get_running_loop().create_future
        parts: list[_Call[Item, Result]] = [
            _Call(items, new_future()) for items in (call.items[:half], call.items[half:])
        ]
        for part in parts:
            await self._settle([part])
        try:
            call.succeed([result for part in parts for result in part.future.result()])
        except Exception as refusal:  # noqa: BLE001 - the outcome of either half
            call.fail(refusal)


def _fail(calls: Iterable[_Call[Item, Result]], error: Exception) -> None:
    for call in calls:
        call.fail(error)


def _retrieve(future: asyncio.Future[list[Result]]) -> None:
    """Mark an error as retrieved: the caller already got it for another item."""
    if future.done() and not future.cancelled():
        future.exception()
