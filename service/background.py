"""The background tasks of a running service, and what happens when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack

import structlog

from service.logs import traceback_without_values

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

log = structlog.get_logger()


class BackgroundTasks:
    """Runs tasks until each is stopped, in the reverse order of their start.

    A task that fails with an unexpected error is restarted after a pause that doubles from 1 s to
    1 min: one bad row or client must not end the process. `on_failure` is called with the task's
    name each time. A vital task, which handles its own failures, ends the service instead.
    """

    def __init__(
        self,
        stack: AsyncExitStack,
        on_failure: Callable[[str], None],
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._stack = stack
        self._on_failure = on_failure
        self._first_pause_s = first_pause_s
        self._vital: list[asyncio.Task[None]] = []

    def start(
        self, name: str, work: Callable[[], Coroutine[None, None, None]], *, is_vital: bool = False
    ) -> None:
        """Start a task, which is cancelled when the stack unwinds."""
        running = work() if is_vital else self._keep_running(name, work)
        task = asyncio.create_task(running, name=name)
        if is_vital:
            self._vital.append(task)
        self._stack.push_async_callback(self._stop, task)

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for the stop event; raises the error of a vital task that ends first."""
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([stopped, *self._vital], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for task in self._vital:
            if task.done():
                log.error("a background task died: stopping", task=task.get_name())
                task.result()
                raise RuntimeError(f"the background task {task.get_name()} ended by itself")

    async def _keep_running(
        self, name: str, work: Callable[[], Coroutine[None, None, None]]
    ) -> None:
        pause_s = self._first_pause_s
        while True:
            started_at = asyncio.get_running_loop().time()
            try:
                await work()
                reason = "it ended by itself"
            except Exception as error:  # noqa: BLE001 - the other tasks must continue
                reason = traceback_without_values(error)
            self._on_failure(name)
            if asyncio.get_running_loop().time() - started_at > LONGEST_PAUSE_S:
                pause_s = self._first_pause_s
            log.error(
                "a background task failed: it starts again",
                task=name,
                again_in_s=pause_s,
                exception=reason,
            )
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    async def _stop(self, task: asyncio.Task[None]) -> None:
        if task in self._vital:
            self._vital.remove(task)
        task.cancel()
        await asyncio.wait([task])
