"""`backfill`: sends backfill requests until every user of a location has been tried."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from http import HTTPStatus
from typing import Protocol

from service.commands.api import ApiError, BackfillRound, OperatorApi, UnreachableError
from service.commands.backfill_report import Ending, Report, at_least, by_reason, tell
from service.commands.output import (
    DONE,
    INCOMPLETE,
    INTERRUPTED,
    REFUSED,
    CommandError,
    Meter,
    say_json,
)
from service.commands.signals import cancelled_by_signals
from service.settings import ClientSettings
from service.wording import duration

AGAIN_AFTER_S = (1.0, 2.0, 5.0, 10.0)  # while the service is unavailable

_EXIT_CODES: dict[Ending, int] = {
    "done": DONE,
    "some_left": INCOMPLETE,
    "no_progress": INCOMPLETE,
    "interrupted": INTERRUPTED,
    "error": REFUSED,
}


class Rounds(Protocol):
    """Requests backfill rounds."""

    async def backfill(
        self,
        location_id: str,
        days: int,
        *,
        include_failed: bool,
        failed_before: datetime | None = None,
    ) -> BackfillRound:
        """Fetch up to 50 users and report."""
        ...


class Tally:
    """The latest result of each user, over all rounds.

    `remaining` is what the service counted beyond its last round; None before the first.
    """

    def __init__(self) -> None:
        self.remaining: int | None = None
        self.last = BackfillRound(0, 0, [])
        self.began_at: datetime | None = None
        self.rounds = 0
        self.resolved: set[str] = set()
        self.failed: dict[str, str] = {}
        self.queued: dict[str, str] = {}
        self._least_left: float = float("inf")

    @property
    def done(self) -> int:
        """How many users have been tried."""
        return len(self.resolved) + len(self.failed)

    @property
    def left(self) -> int:
        """How many users are still to be tried, up to the limit of the service's count."""
        return (self.remaining or 0) + len(self.queued)

    def add(self, found: BackfillRound) -> bool:
        """Count a round; false if it had no new result."""
        done_before = self.done
        self.rounds += 1
        self.remaining = found.remaining
        self.last = found
        self.began_at = self.began_at or found.asked_at
        self.queued = {}
        for user in found.results:
            self._count(user.ig_user_id, user.outcome, user.reason or "")
        is_first, has_shrunk = self.rounds == 1, self.left < self._least_left
        self._least_left = min(self._least_left, self.left)
        return self.done > done_before or (has_shrunk and not is_first)

    def _count(self, ig_user_id: str, outcome: str, reason: str) -> None:
        if outcome == "resolved":
            self.resolved.add(ig_user_id)
            self.failed.pop(ig_user_id, None)
        elif outcome == "failed":
            self.resolved.discard(ig_user_id)
            self.failed[ig_user_id] = reason or "unknown"
        else:
            self.queued[ig_user_id] = reason


class Backfilling:
    """One run of the command."""

    def __init__(
        self,
        api: Rounds,
        location_id: str,
        days: int,
        *,
        include_failed: bool,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.tally = Tally()
        self._api = api
        self._location_id = location_id
        self._days = days
        self._include_failed = self._was_asked_for_failed = include_failed
        self._sleep = sleep
        self._started_at = time.monotonic()

    async def run(self, meter: Meter) -> Ending:
        """Send requests until nothing remains or a round has no new result."""
        while True:
            has_progressed = self.tally.add(await self._round_with_retries(meter))
            if self.tally.left == 0:
                return await self._end(meter)
            if not has_progressed:
                return "no_progress"
            meter.show(self.describe(), self.tally.done, self.tally.done + self.tally.left)

    async def _end(self, meter: Meter) -> Ending:
        """If users failed, send one more request, whose answer says what they wait for."""
        if self.tally.failed:
            self._include_failed = False
            self.tally.add(await self._round_with_retries(meter))
        last = self.tally.last
        is_done = not (last.waiting or last.stopped or last.paused)
        return "done" if is_done and self.tally.left == 0 else "some_left"

    async def _round_with_retries(self, meter: Meter) -> BackfillRound:
        """Request a round; after the first success, wait for a service that is unavailable."""
        for wait_s in AGAIN_AFTER_S if self.tally.rounds else ():
            try:
                return await self._round()
            except UnreachableError as error:
                pause_s = wait_s
                meter.note(f"{error} Trying again in {duration(pause_s)}.")
            except ApiError as error:
                if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                pause_s = max(wait_s, error.retry_after_s or 0)
                meter.note(f"{error} Trying again in {duration(pause_s)}.")
            await self._sleep(pause_s)
        return await self._round()

    async def _round(self) -> BackfillRound:
        try:
            return await self._api.backfill(
                self._location_id,
                self._days,
                include_failed=self._include_failed,
                failed_before=self.tally.began_at if self._include_failed else None,
            )
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise CommandError(
                    f"No connection belongs to the location {self._location_id!r}: "
                    "`connections list` shows which locations there are."
                ) from None
            raise

    def describe(self) -> str:
        """Return the state in one line: done, failed, rate, time left."""
        tally, took_s = self.tally, max(time.monotonic() - self._started_at, 0.001)
        rate = tally.done / took_s
        at_least_so_many = at_least(tally.remaining or 0)
        parts = [
            f"{tally.done:,} of {at_least_so_many}{tally.done + tally.left:,} done",
            f"{len(tally.resolved):,} resolved",
            f"{len(tally.failed):,} failed{by_reason(Counter(tally.failed.values()))}",
            f"{rate:.1f} a second",
        ]
        if rate > 0:
            parts.append(f"about {at_least_so_many}{duration(tally.left / rate)} left")
        return ", ".join(parts)

    def report(self, ended: Ending, error: str | None = None) -> Report:
        """Sum up the run."""
        tally = self.tally
        return Report(
            location_id=self._location_id,
            days=self._days,
            include_failed=self._was_asked_for_failed,
            ended=ended,
            error=error,
            resolved=len(tally.resolved),
            failed=len(tally.failed),
            failed_by_reason=dict(Counter(tally.failed.values())),
            queued=len(tally.queued),
            queued_by_reason=dict(Counter(r or "not_finished" for r in tally.queued.values())),
            remaining=tally.remaining,
            waiting=tally.last.waiting,
            waiting_until=tally.last.waiting_until,
            stopped=tally.last.stopped,
            paused=tally.last.paused,
            rounds=tally.rounds,
            seconds=round(time.monotonic() - self._started_at, 1),
        )


async def backfill(
    settings: ClientSettings,
    url: str | None,
    location_id: str,
    days: int,
    *,
    include_failed: bool,
    as_json: bool,
) -> int:
    """Run the command; returns the exit code."""
    async with OperatorApi.open(settings, url) as api:
        run = Backfilling(api, location_id, days, include_failed=include_failed)
        report = await _run(run)
    (say_json if as_json else tell)(report)
    return _EXIT_CODES[report.ended]


async def _run(run: Backfilling) -> Report:
    """Run to the end; returns a report even after an error or Ctrl-C."""
    with Meter("backfill", sys.stderr) as meter, cancelled_by_signals() as received:
        try:
            return run.report(await run.run(meter))
        except asyncio.CancelledError:
            if not received:
                raise
            return run.report("interrupted")
        except CommandError as error:
            return run.report("error", str(error))
