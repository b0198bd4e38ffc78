"""Structured logs: one JSON object a line on standard output."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

TAG = "[Instagram Messaging Profile]"
_TELL_EVERY_S = 10.0

_log = structlog.get_logger()


def configure_logs(log_format: str | None, log_level: str) -> None:
    """Send every log, the libraries' too, to standard output; console format on a terminal."""
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
        logger_factory=lambda *_: _LineWriter(sys.stdout),
        cache_logger_on_first_use=True,
    )
    atexit.register(_let_go)
    logging.basicConfig(
        level=max(logging.WARNING, logging.getLevelName(log_level.upper())),
        handlers=[_ToStructlog()],
        force=True,
    )


def _as_json() -> list[Any]:
    # A traceback's local variables would be keys, tokens and messages in plain.
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
    """Escape what begins a line or moves the cursor: JSON does so by itself, a terminal obeys."""
    return {
        name: value.encode("unicode_escape").decode()
        if isinstance(value, str) and not value.isprintable()
        else value
        for name, value in event.items()
    }


def _plain(value: object) -> str:
    """Write what JSON has no form for; times as RFC 3339."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return str(value)


def _let_go() -> None:
    """Give up what a full disk or a closed pipe did not take: Python would exit with an error."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)


class SparingLog:
    """Warns of an event at once, and of its repetitions together ten seconds later, counted.

    For what strangers or a flood can make happen as often as they like; the fields of a line that
    counts are the last repetition's.
    """

    def __init__(self) -> None:
        self._repeated: dict[str, tuple[int, dict[str, object]]] = {}

    def warning(self, event: str, **fields: object) -> None:
        """Write a line, or count what would have been one."""
        if event in self._repeated:
            self._repeated[event] = (self._repeated[event][0] + 1, fields)
            return
        _log.warning(event, **fields, count=1)
        self._repeated[event] = (0, fields)
        asyncio.get_running_loop().call_later(_TELL_EVERY_S, self._tell_repetitions, event)

    def _tell_repetitions(self, event: str) -> None:
        count, fields = self._repeated.pop(event)
        if count:
            _log.warning(event, **fields, count=count)


class _LineWriter:
    """Writes lines; a full disk or a closed pipe costs the line, never the service."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, UnicodeError):
            LOST_LINES.count += 1

    debug = info = warning = error = critical = exception = msg


class _LostLines:
    count = 0


LOST_LINES = _LostLines()


class _ToStructlog(logging.Handler):
    """Passes the libraries' records on as our own events."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # libraries may have their own
        structlog.get_logger().log(
            level, _message(record), logger=record.name, exc_info=record.exc_info
        )


def _message(record: logging.LogRecord) -> str:
    """A record's text; as it stands where its arguments don't fit."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a library's slip must not fail the library's work
        return f"{record.msg} {record.args!r}"
