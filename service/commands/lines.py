"""Reads participants from CSV or JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO

import msgspec

from service.commands.output import CommandError
from service.model.contacts import event_time, ig_id
from service.wording import printable

LONGEST_LINE = 16 * 1024
COLUMNS = ("ig_account_id", "ig_user_id", "last_message_at")
_DELIMITERS = (",", ";", "\t")


class Participant(msgspec.Struct, frozen=True):
    """A line that can be stored; `last_at` is in UTC and not in the future."""

    ig_account_id: str
    ig_user_id: str
    last_at: datetime


class BadLine(msgspec.Struct, frozen=True):
    """A skipped line and the reason, without its content, which can be personal."""

    number: int
    reason: str


class _JsonLine(msgspec.Struct):
    ig_account_id: str | int
    ig_user_id: str | int
    last_message_at: str | int | float | None = None


class _BadValueError(Exception):
    """A line is invalid; the message says why."""


def read_participants(stream: BinaryIO, now: datetime) -> Iterator[Participant | BadLine]:
    """Read to the end, with one line in memory at a time; raises CommandError for a wrong header.

    The first line that is not blank decides the format: JSON lines begin with a brace. In CSV the
    header is optional, its columns can be in any order, and other columns are ignored. A time is
    RFC 3339, Unix seconds or milliseconds; `now` replaces a missing or future time.
    """
    parser: _JsonLines | _CsvLines | None = None
    for number, line in _numbered(stream):
        if line is None:
            yield BadLine(number, f"is longer than {LONGEST_LINE:,} bytes")
            continue
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
            if not text.strip():
                continue
            if parser is None:
                parser = _JsonLines() if text.lstrip().startswith("{") else _CsvLines(text)
                if isinstance(parser, _CsvLines) and parser.has_header:
                    continue
            yield _participant(*parser.read(text), now)
        except UnicodeDecodeError:
            yield BadLine(number, "is not UTF-8")
        except _BadValueError as error:
            yield BadLine(number, str(error))


class _JsonLines:
    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_JsonLine)

    def read(self, text: str) -> tuple[object, object, object]:
        try:
            line = self._decoder.decode(text)
        except msgspec.ValidationError as error:  # contains the place and the type, not the value
            raise _BadValueError(f"does not fit: {error}") from None
        except (ValueError, RecursionError):
            raise _BadValueError("is not a JSON object") from None
        return line.ig_account_id, line.ig_user_id, line.last_message_at


class _CsvLines:
    def __init__(self, first: str) -> None:
        self._delimiter = max(_DELIMITERS, key=first.count)
        names = [cell.strip().lower() for cell in self._cells(first)]
        self.has_header = not any(ig_id(name) for name in names)
        self._places = _places(names) if self.has_header else {c: i for i, c in enumerate(COLUMNS)}

    def read(self, text: str) -> tuple[object, object, object]:
        cells = [cell.strip() for cell in self._cells(text)]
        account, user, last_at = (self._cell(cells, column) for column in COLUMNS)
        return account, user, last_at or None

    def _cell(self, cells: Sequence[str], column: str) -> str:
        place = self._places.get(column)
        return cells[place] if place is not None and place < len(cells) else ""

    def _cells(self, text: str) -> list[str]:
        try:
            return next(csv.reader([text], delimiter=self._delimiter, strict=True))
        except (csv.Error, StopIteration):
            raise _BadValueError("is not a line of CSV") from None


def parse_time(value: object, now: datetime) -> datetime:
    """Read a time in RFC 3339, Unix seconds or milliseconds; raises ValueError if it is neither."""
    if isinstance(value, str) and not value.lstrip("-").replace(".", "", 1).isdigit():
        said_at = datetime.fromisoformat(value)
        said_at = said_at.replace(tzinfo=UTC) if said_at.tzinfo is None else said_at
        return min(said_at.astimezone(UTC), now)
    number = float(value) if isinstance(value, str | int | float) else 0.0
    if not 0 < number < 1e14:  # noqa: PLR2004 - the year 5138 in milliseconds
        raise ValueError("not a time")
    return event_time(number, now)


def _places(names: Sequence[str]) -> dict[str, int]:
    missing = [column for column in COLUMNS[:2] if column not in names]
    if missing:
        raise CommandError(
            f"The header has no {' and no '.join(missing)}. It needs {', '.join(COLUMNS[:2])} and "
            f"can have {COLUMNS[2]}; it has: {printable(', '.join(names))[:200]}"
        )
    return {column: names.index(column) for column in COLUMNS if column in names}


def _participant(account: object, user: object, last_at: object, now: datetime) -> Participant:
    ids = []
    for column, value in zip(COLUMNS, (account, user), strict=False):
        found = ig_id(value)
        if found is None:
            raise _BadValueError(f"{column} {_what_is_wrong(value)}")
        ids.append(found)
    try:
        return Participant(ids[0], ids[1], now if last_at is None else parse_time(last_at, now))
    except (ValueError, OverflowError, OSError):
        raise _BadValueError("last_message_at is neither RFC 3339 nor Unix seconds") from None


def _what_is_wrong(value: object) -> str:
    if value in ("", None):
        return "is missing"
    is_rounded = isinstance(value, str) and "e+" in value.lower()
    return "is not 1 to 32 digits" + (" (a spreadsheet has rounded it)" if is_rounded else "")


def _numbered(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Number the lines from 1; a line that is too long is None."""
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        is_whole = line.endswith(b"\n") or len(line) <= LONGEST_LINE
        yield number, line if is_whole else None
        while not is_whole:
            rest = stream.readline(LONGEST_LINE)
            is_whole = rest.endswith(b"\n") or not rest
