"""How a test waits for what happens elsewhere and tells nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from sandbox.ports import listens

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


async def until_it_listens(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    """Wait until a program accepts connections at its port; fails with its log if it ends."""

    async def is_there() -> bool:
        assert process.returncode is None, log.read_text()
        return await listens(port)

    await until(is_there)
