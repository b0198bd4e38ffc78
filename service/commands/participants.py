"""`participants import` from stdin: users who wrote before this service was installed."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO, Self, TypeVar

from service.commands.lines import BadLine, Participant, read_participants
from service.commands.output import DONE, INCOMPLETE, INTERRUPTED, CommandError, Meter, say
from service.errors import UnavailableError
from service.model.contacts import Contact
from service.settings import StoreSettings
from service.store.checkup import Checkup
from service.store.database import Database
from service.store.journal import Journal
from service.wording import count

Result = TypeVar("Result")

BATCH = 1000
WRITE_AGAIN_AFTER_S = (0.5, 2.0, 5.0)
MOST_NAMED = 10
MOST_UNCONNECTED = 10_000  # unconnected accounts that are counted separately


class Recorder:
    """Journals participants as the webhook does: resolves aliases, and skips own ids."""

    def __init__(self, journal: Journal, account_of: Mapping[str, str]) -> None:
        self.stored = 0
        self.own_ids = 0
        self.unconnected: Counter[str] = Counter()
        self._journal = journal
        self._account_of = account_of

    async def store(self, participants: Sequence[Participant]) -> None:
        """Commit one batch; raises UnavailableError after about 10 s without the database."""
        contacts = [self._contact(each) for each in participants if not self._is_own_id(each)]
        for wait_s in WRITE_AGAIN_AFTER_S:
            try:
                await self._journal.write(contacts)
                break
            except UnavailableError:
                await asyncio.sleep(wait_s)
        else:
            await self._journal.write(contacts)
        self.stored += len(contacts)

    def _contact(self, participant: Participant) -> Contact:
        account = self._account_of.get(participant.ig_account_id)
        if account is None:
            account = participant.ig_account_id
            if account in self.unconnected or len(self.unconnected) < MOST_UNCONNECTED:
                self.unconnected[account] += 1
        at = participant.last_at
        return Contact(account, participant.ig_user_id, at, at, wrote=False)

    def _is_own_id(self, participant: Participant) -> bool:
        user = participant.ig_user_id
        is_own = user in self._account_of or user == participant.ig_account_id
        self.own_ids += is_own
        return is_own


class CtrlC:
    """Interrupts the import at Ctrl-C, and does not lose it.

    asyncio's handler loses a Ctrl-C that comes when the work ends, or whose cancellation is
    suppressed; Python ignores a KeyboardInterrupt in some callbacks, such as those of weak
    references. The import would then wait for more input.
    """

    def __init__(self) -> None:
        self._has_come = False
        self._cancel: Callable[[], object] | None = None

    def __enter__(self) -> Self:
        self._usual = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._usual)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C has come."""
        if self._has_come:
            raise KeyboardInterrupt

    def run(self, runner: asyncio.Runner, work: Coroutine[object, object, Result]) -> Result:
        """Run `work`; Ctrl-C cancels it and raises KeyboardInterrupt, even if it has ended."""
        loop = runner.get_loop()
        task = loop.create_task(work)

        async def ended() -> Result:
            return await task

        self._cancel = partial(loop.call_soon_threadsafe, task.cancel)
        try:
            result = runner.run(ended())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            self._cancel = None
        self.check()
        return result

    def _interrupt(self, *_: object) -> None:
        self._has_come = True
        if self._cancel is None:
            raise KeyboardInterrupt
        self._cancel()


class Import:
    """One import from a stream, which is read outside the event loop, so that Ctrl-C works."""

    def __init__(self, stream: BinaryIO, meter: Meter) -> None:
        self.recorder: Recorder | None = None
        self.bad_lines = 0
        self.safe_lines = 0
        self._lines = read_participants(stream, datetime.now(UTC))
        self._meter = meter
        self._read = 0
        self._started_at = time.monotonic()

    def run(self, settings: StoreSettings) -> None:
        """Store every good line, a thousand at a time; raises UnavailableError."""
        stack = AsyncExitStack()
        with CtrlC() as ctrl_c, asyncio.Runner() as runner:
            try:
                self.recorder = ctrl_c.run(runner, open_recorder(settings, stack))
                for batch in self._batches(ctrl_c):
                    ctrl_c.run(runner, self.recorder.store(batch))
                    self.safe_lines = self._read
                    self._meter.show(self._describe())
            finally:
                runner.run(stack.aclose())

    def _batches(self, ctrl_c: CtrlC) -> Iterator[list[Participant]]:
        batch: list[Participant] = []
        while (line := next(self._lines, None)) is not None:
            self._read += 1
            if isinstance(line, BadLine):
                self.bad_lines += 1
                self._meter.note(f"line {line.number} {line.reason}: skipped")
                continue
            batch.append(line)
            if len(batch) == BATCH:
                yield batch
                batch = []
            ctrl_c.check()
        if batch:
            yield batch

    def _describe(self) -> str:
        rate = self._read / max(time.monotonic() - self._started_at, 0.001)
        return f"{self._read:,} lines read, {self.bad_lines:,} bad, {rate:,.0f} a second"


async def open_recorder(settings: StoreSettings, stack: AsyncExitStack) -> Recorder:
    """Connect to the database and read the ids of connected accounts."""
    database = await stack.enter_async_context(Database.connect(settings.dsn, pool_size=2))
    account_of = await Checkup(database, settings.rules).read_directory()
    return Recorder(Journal(database, settings.rules), account_of)


def import_from_stdin(settings: StoreSettings) -> int:
    """Run the command; returns the exit code: 1 if a line was bad, 130 after Ctrl-C."""
    if sys.stdin.isatty():
        sys.stderr.write("Reading CSV or JSON lines from this terminal; Ctrl-D ends them.\n")
    with Meter("import", sys.stderr) as meter:
        work = Import(sys.stdin.buffer, meter)
        try:
            work.run(settings)
        except KeyboardInterrupt:
            _sum_up(work, is_whole=False)
            say("Interrupted. What is stored stays; you can run the same import again.")
            return INTERRUPTED
        except UnavailableError as error:
            _sum_up(work, is_whole=False)
            raise CommandError(_unavailable(error)) from None
    _sum_up(work)
    return INCOMPLETE if work.bad_lines else DONE


def say_what_was_stored(recorder: Recorder, *, is_whole: bool = True) -> None:
    """Print how many participants are stored; an interrupted batch can be stored too."""
    at_least = "" if is_whole else "At least "
    stored = count(recorder.stored, "participant")
    say(f"{at_least}{stored} stored (those known already count too).")
    if recorder.own_ids:
        say(f"{count(recorder.own_ids, 'line')} left out: an account's own id is not a user.")
    if recorder.unconnected:
        named = sorted(recorder.unconnected)[:MOST_NAMED]
        more = ", …" if len(recorder.unconnected) > MOST_NAMED else ""
        say(
            f"{sum(recorder.unconnected.values()):,} of these get no name until their account is "
            f"connected: {', '.join(named)}{more}"
        )


def _sum_up(work: Import, *, is_whole: bool = True) -> None:
    if work.recorder is None:
        return
    say_what_was_stored(work.recorder, is_whole=is_whole)
    if work.bad_lines:
        say(f"{count(work.bad_lines, 'bad line')} skipped; each is listed above.")
    if work.recorder.stored:
        say("A running service fetches them from now on, within its budget; see `backfill`.")


def _unavailable(error: UnavailableError) -> str:
    return (
        f"PostgreSQL does not answer ({error}). What is stored stays: run the same import again "
        "when DATABASE_URL answers; what is known already is not stored twice."
    )
