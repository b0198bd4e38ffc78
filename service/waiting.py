"""Waits with a time limit, and the clock of such limits."""

from __future__ import annotations

import asyncio


async def wait_at_most(event: asyncio.Event, at_most_s: float) -> bool:
    """Wait for an event; false after `at_most_s`."""
    try:
        async with asyncio.timeout(at_most_s):
            return await event.wait()
    except TimeoutError:
        return False


def loop_time() -> float:
    """Return the running event loop's time in seconds.

    Before Python 3.12, asking for the loop costs a system call: for every request, pass a loop's
    own `time`.
    """
    return asyncio.get_running_loop().time()
