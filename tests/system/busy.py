"""Runs the tests repeatedly beside busy processes: `make test-busy`.

A test that depends on the speed of the machine will fail here. Stops at the first failed run; the
busy processes end with this one.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack

import click

# Ends when its standard input is closed, so it does not outlive its parent.
_BUSY = """
import sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), __import__("os")._exit(0)), daemon=True).start()
while True:
    pass
"""


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--runs", type=click.IntRange(1, 100), default=10, show_default=True)
@click.option("--busy", type=click.IntRange(0, 16), default=4, show_default=True)
@click.argument("arguments", nargs=-1)
def main(runs: int, busy: int, arguments: tuple[str, ...]) -> None:
    """Run the tests several times, as `make test` does; ARGUMENTS are passed to pytest."""
    command = (sys.executable, "-m", "pytest", *arguments)
    with ExitStack() as stack:
        for _ in range(busy):
            process = subprocess.Popen([sys.executable, "-c", _BUSY], stdin=subprocess.PIPE)  # noqa: S603
            stack.callback(process.wait)
            stack.callback(process.kill)
        for run in range(1, runs + 1):
            started_at = time.monotonic()
            code = subprocess.call(command)  # noqa: S603
            took_s = time.monotonic() - started_at
            print(f"run {run} of {runs}: {'passed' if code == 0 else 'FAILED'} in {took_s:.0f} s")
            if code != 0:
                sys.exit(code)


if __name__ == "__main__":
    main()
