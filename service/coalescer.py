"""Many concurrent one-row operations, one statement."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from service.errors import UnavailableError, UnstorableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Collects what arrives while the previous batch runs, and runs it as the next one.

    There is no timer: an idle coalescer runs an item at once. `run` returns one result an item,
    in order. If it raises UnstorableError the batch is halved until the bad item stands alone;
    if it raises UnavailableError everyone who waits is told so. A caller that gives up leaves
    its batch alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_batch: int = 1000,
        max_waiting: int = 100_000,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._runner: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Run one item in the next batch and return its result."""
        return await self._enqueue(item)

    async def submit_all(self, items: Sequence[Item]) -> list[Result]:
        """Run several items, in the same batch where they fit."""
        futures = [self._enqueue(item) for item in items]
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                _retrieve(future)

    def _enqueue(self, item: Item) -> asyncio.Future[Result]:
        if len(self._waiting) >= self._max_waiting:
            raise UnavailableError("too many operations wait for PostgreSQL")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._runner is None:
            self._runner = asyncio.create_task(self._drain(), name="coalescer")
        return future

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._max_batch]
                del self._waiting[: self._max_batch]
                await self._settle(batch)
        finally:
            self._runner = None
            if self._waiting:
                self._fail(self._take_waiting(), UnavailableError("stopped"))

    def _take_waiting(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    async def _settle(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        """Run a batch and hand out what becomes of it; no error leaves here."""
        try:
            results = await self._run([item for item, _ in batch])
        except UnstorableError as error:
            if len(batch) == 1:
                self._fail(batch, error)
            else:
                await self._settle(batch[: len(batch) // 2])
                await self._settle(batch[len(batch) // 2 :])
        except UnavailableError as error:
            self._fail(batch + self._take_waiting(), error)
        except asyncio.CancelledError:
            self._fail(batch, UnavailableError("stopped"))
            raise
        except Exception as error:  # noqa: BLE001 - a bug reaches every caller, not only the task
            self._fail(batch, error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    @staticmethod
    def _fail(batch: list[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
                _retrieve(future)


def _retrieve(future: asyncio.Future[Result]) -> None:
    """Mark an error as seen: another of the same caller's items has already told it."""
    if future.done() and not future.cancelled():
        future.exception()
