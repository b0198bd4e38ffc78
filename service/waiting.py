"""Waits with a time limit."""

from __future__ import annotations

import asyncio


async def wait_at_most(event: asyncio.Event, at_most_s: float) -> bool:
    """Wait for an event; false after `at_most_s`."""
    try:
        async with asyncio.timeout(at_most_s):
            return await event.wait()
    except TimeoutError:
        return False
