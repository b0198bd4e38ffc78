"""Reads single keys from the terminal, and opens a browser."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import termios
import tty
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

GONE = "q"  # the key of a closed terminal
_ESCAPE = "\x1b"
_MOST_BYTES = 64


@asynccontextmanager
async def pressed_keys() -> AsyncIterator[asyncio.Queue[str] | None]:
    """Return the queue of the keys that are pressed; None unless this is a terminal's foreground.

    The terminal does not echo them, and is restored when the block ends. Ctrl-C and Ctrl-Z work as
    usual. A closed terminal counts as `q`.
    """
    if not _is_interactive():
        yield None
        return
    terminal = _Terminal(sys.stdin.fileno())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCONT, terminal.resume)
    terminal.resume()
    try:
        yield terminal.keys
    finally:
        loop.remove_signal_handler(signal.SIGCONT)
        terminal.restore()


def _is_interactive() -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return _is_foreground(sys.stdin.fileno())


def _is_foreground(terminal: int) -> bool:
    return not _has_hung_up(terminal) and os.tcgetpgrp(terminal) == os.getpgrp()


def _has_hung_up(terminal: int) -> bool:
    try:
        os.tcgetpgrp(terminal)
    except OSError:
        return True
    return False


class _Terminal:
    """The terminal of a file descriptor, read by key while this process is in the foreground."""

    def __init__(self, descriptor: int) -> None:
        self.keys: asyncio.Queue[str] = asyncio.Queue()
        self._descriptor = descriptor
        self._usual = termios.tcgetattr(descriptor)
        self._loop = asyncio.get_running_loop()

    def resume(self) -> None:
        """Start reading keys, unless this process is in the background."""
        if _is_foreground(self._descriptor):
            tty.setcbreak(self._descriptor, termios.TCSANOW)
            self._loop.add_reader(self._descriptor, self._read)
        else:
            self._loop.remove_reader(self._descriptor)

    def restore(self) -> None:
        """Stop reading, and restore the terminal."""
        self._loop.remove_reader(self._descriptor)
        if _is_foreground(self._descriptor):
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._usual)

    def _read(self) -> None:
        typed = self._typed()
        if typed is None:
            self._loop.remove_reader(self._descriptor)
        elif typed == _ESCAPE or not typed.startswith(_ESCAPE):  # not an arrow or function key
            for key in typed:
                self.keys.put_nowait(key)

    def _typed(self) -> str | None:
        """Return the typed keys; None if this process cannot read, or not now."""
        if not (_is_foreground(self._descriptor) or _has_hung_up(self._descriptor)):
            return None  # reading would stop this process
        try:
            typed = os.read(self._descriptor, _MOST_BYTES)
        except OSError:
            typed = b""
        if not typed:
            self.keys.put_nowait(GONE)
            return None
        return typed.decode(errors="ignore")


class Browser:
    """The web browser of this machine."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def open(self, url: str) -> bool:
        """Open a page; returns False without a screen or a browser."""
        program = self._program()
        if program is None:
            return False
        silent = subprocess.DEVNULL
        subprocess.run(  # noqa: S603 - the user's browser
            ["/bin/sh", "-c", '"$0" "$1" &', program, url],
            stdin=silent,
            stdout=silent,
            stderr=silent,
            start_new_session=True,
            check=True,
        )
        return True

    def _program(self) -> str | None:
        named = self._environment.get("BROWSER")
        if named and (found := shutil.which(named)):
            return found
        has_screen = any(self._environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
        return shutil.which("xdg-open") if has_screen else None
