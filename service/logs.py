"""Structured logs: one JSON object a line on standard output."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable, MutableMapping
from datetime import datetime
from typing import Any, TextIO

import structlog

TAG = "[Instagram Messaging Profile]"
_SUMMARY_AFTER_S = 10.0
_MOST_WAITING_CHARACTERS = 4 * 1024 * 1024
_FLUSH_WITHIN_S = 2.0

_log = structlog.get_logger()


def configure_logs(log_format: str | None, log_level: str) -> None:
    """Send every log, the libraries' too, to standard output; console format on a terminal.

    At exit, waiting lines have two seconds to be written.
    """
    writer = _Current.writer = _Writer()
    writer.start()
    atexit.register(_close_output, writer)
    console = log_format == "console" or (log_format is None and sys.stdout.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[Any] = _on_a_terminal() if console else _as_json()
    structlog.configure(
        processors=shared + final,
        wrapper_class=structlog.make_filtering_bound_logger(log_level),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelName(log_level.upper())),
        handlers=[_ToStructlog()],
        force=True,
    )


def _close_output(writer: _Writer) -> None:
    """Close standard output if it does not accept lines: Python would hang or fail at exit."""
    writer.flush(_FLUSH_WITHIN_S)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)


def _as_json() -> list[Any]:
    # A traceback's local variables would expose keys, tokens and messages.
    frames_alone = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(frames_alone),
        structlog.processors.JSONRenderer(default=_plain),
    ]


def _on_a_terminal() -> list[Any]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    return [_escape_controls, renderer]


def _escape_controls(_: object, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Escape control characters, which a terminal would interpret; JSON escapes them itself."""
    return {
        name: value.encode("unicode_escape").decode()
        if isinstance(value, str) and not value.isprintable()
        else value
        for name, value in event.items()
    }


def _plain(value: object) -> str:
    """Convert a value that JSON cannot represent; times become RFC 3339."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def traceback_without_values(error: BaseException) -> str:
    """Format the tracebacks of an error and its causes without messages, which can hold secrets."""
    parts: list[str] = []
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        frames = "".join(traceback.format_tb(found.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{type(found).__name__}")
        found = found.__cause__ or found.__context__
    return "\n\n".join(reversed(parts))


class SparingLog:
    """Logs an event immediately, and the number of its repetitions ten seconds later.

    For events that clients can cause arbitrarily often. The summary has the fields of the last
    repetition.
    """

    def __init__(self) -> None:
        self._repeated: dict[str, tuple[int, dict[str, object]]] = {}

    def warning(self, event: str, **fields: object) -> None:
        """Log a line, or count it as a repetition."""
        if event in self._repeated:
            self._repeated[event] = (self._repeated[event][0] + 1, fields)
            return
        _log.warning(event, **fields, count=1)
        self._repeated[event] = (0, fields)
        asyncio.get_running_loop().call_later(_SUMMARY_AFTER_S, self._log_repetitions, event)

    def _log_repetitions(self, event: str) -> None:
        count, fields = self._repeated.pop(event)
        if count:
            _log.warning(event, **fields, count=count)


class _Writer(threading.Thread):
    """Writes lines from a separate thread, so that a stalled reader does not stop the service.

    A full buffer, a full disk or a closed pipe loses lines; their number is logged once lines can
    be written again.
    """

    def __init__(self) -> None:
        super().__init__(name="log writer", daemon=True)
        self._write_text: Callable[[str], None] | None = None
        self._lines: list[str] = []
        self._characters = 0
        self._is_writing = False
        self._unreported = 0
        self._changed = threading.Condition()

    def put(self, line: str) -> None:
        """Queue a line; it is dropped if too many wait."""
        with self._changed:
            if self._characters + len(line) > _MOST_WAITING_CHARACTERS:
                self._lose(1)
                return
            self._lines.append(line)
            self._characters += len(line)
            self._changed.notify_all()

    debug = info = warning = error = critical = exception = msg = (
        put  # the names that structlog calls
    )

    def run(self) -> None:
        """Write the waiting lines together, for the lifetime of the process."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                lines, self._lines, self._is_writing = self._lines, [], True
            is_written = self._write(lines)
            with self._changed:
                self._characters -= sum(map(len, lines))
                self._is_writing = False
                unreported = self._unreported if is_written else 0
                self._unreported -= unreported
                self._changed.notify_all()
            if unreported:
                structlog.get_logger().warning(
                    "log lines were lost: standard output did not accept them", lines=unreported
                )

    def flush(self, within_s: float) -> bool:
        """Wait until all lines are written; false if that takes longer than `within_s`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._lines and not self._is_writing, timeout=within_s
            )

    def _write(self, lines: list[str]) -> bool:
        if self._write_text is None:
            self._write_text = _writing_to(sys.stdout)
        try:
            self._write_text("".join(f"{line}\n" for line in lines))
        except (
            OSError,
            ValueError,
        ):  # includes a closed stream, and characters that its encoding lacks
            with self._changed:
                self._lose(len(lines))
            return False
        return True

    def _lose(self, lines: int) -> None:
        LOST_LINES.count += lines
        self._unreported += lines


def _writing_to(stream: TextIO) -> Callable[[str], None]:
    """Return a writer that bypasses Python's buffer, whose lock a stalled write holds at exit."""
    try:
        descriptor = os.dup(stream.fileno())  # stays open even if the stream is closed
    except (OSError, ValueError):
        return lambda text: _write_through(stream, text)
    return _Descriptor(descriptor, stream.encoding)


def _write_through(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


class _Descriptor:
    """Writes to a file descriptor; starts a new line after one that a full disk cut off."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._is_torn = False

    def __call__(self, text: str) -> None:
        whole = f"\n{text}" if self._is_torn else text
        left = whole.encode(self._encoding, "backslashreplace")
        while left:
            try:
                written = os.write(self._descriptor, left)
            except BlockingIOError:  # made non-blocking by another process that shares it
                select.select([], [self._descriptor], [])
            else:
                self._is_torn = left[written - 1 : written] != b"\n"
                left = left[written:]


def flush_logs(within_s: float = _FLUSH_WITHIN_S) -> bool:
    """Wait until all lines are written; false if that takes longer than `within_s`."""
    writer = _Current.writer
    return writer is None or writer.flush(within_s)


class _Current:
    writer: _Writer | None = None


class _LostLines:
    count = 0


LOST_LINES = _LostLines()


class _ToStructlog(logging.Handler):
    """Passes the records of libraries to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(
            record.levelno // 10 * 10, logging.CRITICAL
        )  # libraries can define their own levels
        structlog.get_logger().log(
            level, _message(record), logger=record.name, exc_info=record.exc_info
        )


def _message(record: logging.LogRecord) -> str:
    """Return a record's text; without formatting if its arguments do not fit."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a library's logging mistake must not fail its work
        return f"{record.msg} {record.args!r}"
