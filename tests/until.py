"""How a test waits for what happens elsewhere and tells nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

WITHIN_S = 90.0  # a bound for a broken service on a busy machine, not a measure
_LOOK_AGAIN_S = 0.01

Found = TypeVar("Found")


async def until(condition: Callable[[], Awaitable[Found]], within_s: float = WITHIN_S) -> Found:
    """Ask again and again until the answer is true, and give it; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not (found := await condition()):  # noqa: ASYNC110 - not our event
            await asyncio.sleep(_LOOK_AGAIN_S)
        return found
