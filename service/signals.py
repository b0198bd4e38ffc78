"""Signal handling: the first signal requests a stop, the second ends the process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def first_signal_calls(
    callback: Callable[[signal.Signals], None], numbers: Sequence[signal.Signals]
) -> Iterator[None]:
    """Call back in the running loop at the first signal; the second has its default effect.

    These are Python's handlers, not the loop's, so a busy loop cannot delay the second signal.
    """
    loop = asyncio.get_running_loop()

    def handle(number: int, _: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        loop.call_soon_threadsafe(callback, signal.Signals(number))

    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:
                signal.signal(number, handler)
