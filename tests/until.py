"""How a test waits for what happens elsewhere and tells nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

WITHIN_S = 90.0  # a bound for a broken service on a busy machine, not a measure
_LOOK_AGAIN_S = 0.01
_LOOK_AT_LEAST_EVERY_S = 0.1

Found = TypeVar("Found")


async def until(condition: Callable[[], Awaitable[Found]], within_s: float = WITHIN_S) -> Found:
    """Ask again and again, ever less often, until the answer is true; raises TimeoutError."""
    wait_s = _LOOK_AGAIN_S
    async with asyncio.timeout(within_s):
        while not (found := await condition()):
            await asyncio.sleep(wait_s)
            wait_s = min(1.2 * wait_s, _LOOK_AT_LEAST_EVERY_S)
        return found
