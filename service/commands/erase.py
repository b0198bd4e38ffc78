"""`participants erase`: erases the users whose ids are read from stdin."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import BinaryIO

from service.commands.api import OperatorApi
from service.commands.output import DONE, INCOMPLETE, INTERRUPTED, complain, say
from service.commands.signals import cancelled_by_signals
from service.model.contacts import ig_id
from service.settings import ClientSettings
from service.wording import count

BATCH = 1000
MOST_NAMED = 10
LONGEST_LINE = 16 * 1024
_SEPARATORS = re.compile(r"[\s,;\"']+")


async def erase_from_stdin(settings: ClientSettings, url: str | None, stream: BinaryIO) -> int:
    """Run the command; returns the exit code: 1 if something was not an id, 130 after Ctrl-C.

    The ids are separated by line ends, blanks, commas or semicolons. All replicas forget the users.
    """
    erased, invalid = 0, 0
    with cancelled_by_signals() as signals:
        async with OperatorApi.open(settings, url) as api:
            try:
                for batch, others in _batches(stream):
                    for where in others[: max(0, MOST_NAMED - invalid)]:
                        complain(f"{where} has something that is not an id: skipped")
                    invalid += len(others)
                    erased += await api.erase(batch) if batch else 0
            finally:
                say(f"{count(erased, 'user')} erased.")
    if signals:
        say("Interrupted. Run it again with the same list: erased users stay erased.")
        return INTERRUPTED
    return INCOMPLETE if invalid else DONE


def _batches(stream: BinaryIO) -> Iterator[tuple[list[str], list[str]]]:
    """Yield 1,000 ids at a time, and the line numbers of anything else."""
    ids: list[str] = []
    invalid: list[str] = []
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), start=1):
        for word in _SEPARATORS.split(line.decode("ascii", "replace")):
            if found := ig_id(word):
                ids.append(found)
            elif word:
                invalid.append(f"line {number}")
            if len(ids) == BATCH:
                yield ids, invalid
                ids, invalid = [], []
    yield ids, invalid


def prompt(stream: BinaryIO) -> None:
    """Print on a terminal what is read from it."""
    if stream.isatty():
        sys.stderr.write("Reading ids of users to erase from this terminal; Ctrl-D ends them.\n")
