"""What the commands print: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, TextIO

import msgspec
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from service.errors import ServiceError
from service.wording import printable_lines

DONE, INCOMPLETE, REFUSED, INTERRUPTED = 0, 1, 2, 130
WIDE = 200  # columns where no terminal sets the width: nothing wraps in a file or a pipe
LINE_EVERY_S = 5.0


class CommandError(ServiceError):
    """A command cannot do what was requested; the message says what to do."""

    exit_code = REFUSED


def console(stream: TextIO) -> Console:
    """Return a console that does not change text, and wraps only for a terminal."""
    width = None if stream.isatty() else WIDE
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def say(text: str = "", style: str = "") -> None:
    """Write one line of the result."""
    console(sys.stdout).print(cell(text, style), soft_wrap=True)


def cell(text: str, style: str = "") -> Text:
    """Remove control characters from text, which a terminal would interpret."""
    return Text(printable_lines(text), style)


def complain(text: str) -> None:
    """Write one line of an error to stderr."""
    console(sys.stderr).print(cell(text, "red"), soft_wrap=True)


def say_json(value: object) -> None:
    """Write the one JSON object of `--json`, with control characters escaped."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write("".join(map(_json_character, text)) + "\n")
    sys.stdout.flush()


def _json_character(ch: str) -> str:
    """Write a character of JSON text; outside of strings, only line feeds need escapes."""
    if ch.isprintable() or ch == "\n":
        return ch
    units = ch.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


class _Bar(Progress):
    """A bar with the state as text below it."""

    def __init__(self, stream: TextIO) -> None:
        self.words = ""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn())
        super().__init__(*columns, console=console(stream), transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """Draw the bar, then the text."""
        yield self.make_tasks_table(self.tasks)
        yield cell(self.words)


class Meter:
    """Shows the progress of a long command: a bar on a terminal, else a line every 5 seconds."""

    def __init__(
        self, what: str, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._shown_at: float | None = None
        self._bar: _Bar | None = None
        if stream.isatty():
            self._bar = _Bar(stream)
            self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, now: str, done: int = 0, total: int | None = None) -> None:
        """Show the state as text, and as a share if the total is known."""
        if self._bar is not None:
            self._bar.words = now
            self._bar.update(self._task, completed=done, total=total)
        elif self._shown_at is None or self._clock() - self._shown_at >= LINE_EVERY_S:
            self._shown_at = self._clock()
            self.note(now)

    def note(self, line: str) -> None:
        """Print a permanent line."""
        if self._bar is not None:
            self._bar.console.print(cell(line), soft_wrap=True)
        else:
            self._stream.write(printable_lines(line) + "\n")
            self._stream.flush()
