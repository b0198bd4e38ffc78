"""Background tasks: one odd row or client does not end the process."""

import asyncio
from contextlib import AsyncExitStack

import pytest
import structlog

from service.background import BackgroundTasks

SECRET = "a row with s3cret in it"


class Flaky:
    """Fails a number of times with a value in its error, then works until it is stopped."""

    def __init__(self, failures: int) -> None:
        self.starts = 0
        self.works = asyncio.Event()
        self._failures = failures

    async def run(self) -> None:
        self.starts += 1
        if self.starts <= self._failures:
            raise ValueError(SECRET)
        self.works.set()
        await asyncio.Event().wait()


async def test_a_task_that_fails_starts_again_and_says_where_it_failed() -> None:
    failed: list[str] = []
    flaky = Flaky(failures=2)
    with structlog.testing.capture_logs() as lines:
        async with AsyncExitStack() as stack:
            tasks = BackgroundTasks(stack, failed.append, first_pause_s=0.001)
            tasks.start("flaky", flaky.run)
            await flaky.works.wait()
    assert (flaky.starts, failed) == (3, ["flaky", "flaky"])
    assert [line["again_in_s"] for line in lines] == [0.001, 0.002]
    assert "test_background.py" in lines[0]["exception"]
    assert SECRET not in str(lines)


async def test_a_task_that_ends_by_itself_starts_again() -> None:
    starts = asyncio.Semaphore(0)

    async def end() -> None:
        starts.release()

    async with AsyncExitStack() as stack:
        BackgroundTasks(stack, lambda _: None, first_pause_s=0.001).start("short", end)
        for _ in range(3):
            await starts.acquire()


async def test_a_vital_task_that_fails_ends_the_service() -> None:
    async with AsyncExitStack() as stack:
        tasks = BackgroundTasks(stack, lambda _: None)
        tasks.start("resolver", Flaky(failures=1).run, is_vital=True)
        with pytest.raises(ValueError, match="s3cret"):
            await tasks.until(asyncio.Event())


async def test_tasks_stop_in_the_reverse_order_of_their_start() -> None:
    stopped: list[str] = []
    started = asyncio.Semaphore(0)

    async def work(name: str) -> None:
        started.release()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(name)

    async with AsyncExitStack() as stack:
        tasks = BackgroundTasks(stack, lambda _: None)
        for name in ("first", "second"):
            tasks.start(name, lambda name=name: work(name))  # type: ignore[misc]
            await started.acquire()
        stop = asyncio.Event()
        stop.set()
        await tasks.until(stop)
    assert stopped == ["second", "first"]
