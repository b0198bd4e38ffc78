"""Turns SIGINT, SIGTERM and SIGHUP into a cancellation, so that a command prints its summary."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from service.signals import first_signal_calls

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def cancelled_by_signals() -> Iterator[list[signal.Signals]]:
    """Cancel the current task at a signal, and record it; a second one ends the process."""
    task = asyncio.current_task()
    received: list[signal.Signals] = []

    def cancel(number: signal.Signals) -> None:
        received.append(number)
        if task is not None:
            task.cancel()

    with first_signal_calls(cancel, SIGNALS):
        yield received
