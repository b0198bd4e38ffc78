"""`backfill`: asks the service again and again until every user of a location has been tried."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from service.commands.api import ApiError, OperatorApi, UnreachableError
from service.commands.signals import cancelled_by_signals
from service.commands.voice import (
    DONE,
    INCOMPLETE,
    INTERRUPTED,
    REFUSED,
    CommandError,
    Meter,
    complain,
    say,
    say_json,
)
from service.reasons import short_reason
from service.wording import count, duration

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from service.commands.api import BackfillRound
    from service.settings import ClientSettings

AGAIN_AFTER_S = (1.0, 2.0, 5.0, 10.0)
MOST_COUNTED, ROUND_SIZE = 10_000, 50  # the service counts candidates no further; a round

Ending = Literal["done", "no_progress", "interrupted", "error"]
_EXIT_CODES: dict[Ending, int] = {
    "done": DONE,
    "no_progress": INCOMPLETE,
    "interrupted": INTERRUPTED,
    "error": REFUSED,
}


class Report(msgspec.Struct, frozen=True, rename="camel"):
    """What `backfill --json` prints."""

    location_id: str
    days: int
    include_failed: bool
    ended: Ending
    error: str | None
    resolved: int
    failed: int
    failed_by_reason: dict[str, int]
    queued: int
    queued_by_reason: dict[str, int]
    remaining: int | None
    rounds: int
    seconds: float


class Rounds(Protocol):
    """Whoever makes backfill rounds: the service."""

    async def backfill(self, location_id: str, days: int, *, include_failed: bool) -> BackfillRound:
        """Fetch up to 50 users and report."""
        ...


class Tally:
    """What became of each user so far, whichever round it was in.

    `remaining` is what the service counted beyond its last round; None before the first.
    """

    def __init__(self) -> None:
        self.remaining: int | None = None
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
        """How many users are still to be tried, as far as the service counts."""
        return (self.remaining or 0) + len(self.queued)

    def add(self, found: BackfillRound) -> bool:
        """Count a round; false if it brought nothing that the rounds before had not."""
        done_before = self.done
        self.rounds += 1
        self.remaining = found.remaining
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
    """One run of the command; `again_after_s` are the waits while the service is away."""

    def __init__(
        self,
        api: Rounds,
        location_id: str,
        days: int,
        *,
        include_failed: bool,
        again_after_s: tuple[float, ...] = AGAIN_AFTER_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.tally = Tally()
        self._api = api
        self._location_id = location_id
        self._days = days
        self._include_failed = include_failed
        self._again_after_s = again_after_s
        self._sleep = sleep
        self._started_at = time.monotonic()

    async def run(self, meter: Meter) -> Ending:
        """Ask until nothing remains or a round brings nothing new."""
        while True:
            has_progressed = self.tally.add(await self._patient_round(meter))
            if self.tally.left == 0:
                return "done"
            if not has_progressed:
                return "no_progress"
            meter.show(self.describe(), self.tally.done, self.tally.done + self.tally.left)

    async def _patient_round(self, meter: Meter) -> BackfillRound:
        """Ask for a round; once one has succeeded, a service that is away is waited for."""
        for wait_s in self._again_after_s if self.tally.rounds else ():
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
                self._location_id, self._days, include_failed=self._include_failed
            )
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise CommandError(
                    f"No connection belongs to the location {self._location_id!r}: "
                    "`connections list` shows which locations there are."
                ) from None
            raise

    def describe(self) -> str:
        """Put the state into one line: done, failed, rate, time left."""
        tally, took_s = self.tally, max(time.monotonic() - self._started_at, 0.001)
        rate = tally.done / took_s
        at_least = _at_least(tally.remaining or 0)
        parts = [
            f"{tally.done:,} of {at_least}{tally.done + tally.left:,} done",
            f"{len(tally.resolved):,} resolved",
            f"{len(tally.failed):,} failed{_by_reason(Counter(tally.failed.values()))}",
            f"{rate:.1f} a second",
        ]
        if rate > 0:
            parts.append(f"about {at_least}{duration(tally.left / rate)} left")
        return ", ".join(parts)

    def report(self, ended: Ending, error: str | None = None) -> Report:
        """Sum up the run."""
        tally = self.tally
        return Report(
            location_id=self._location_id,
            days=self._days,
            include_failed=self._include_failed,
            ended=ended,
            error=error,
            resolved=len(tally.resolved),
            failed=len(tally.failed),
            failed_by_reason=dict(Counter(tally.failed.values())),
            queued=len(tally.queued),
            queued_by_reason=dict(Counter(r or "not_finished" for r in tally.queued.values())),
            remaining=tally.remaining,
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
    """Run the command; gives the exit code."""
    key = settings.operator_api_keys[0].get_secret_value()
    async with OperatorApi.open(url or settings.url, key) as api:
        run = Backfilling(api, location_id, days, include_failed=include_failed)
        report = await _run(run)
    (say_json if as_json else _tell)(report)
    return _EXIT_CODES[report.ended]


async def _run(run: Backfilling) -> Report:
    """Run to the end, whichever it is: what has been done is always told."""
    with Meter("backfill", sys.stderr) as meter, cancelled_by_signals() as received:
        try:
            return run.report(await run.run(meter))
        except asyncio.CancelledError:
            if not received:
                raise
            return run.report("interrupted")
        except CommandError as error:
            return run.report("error", str(error))


def _tell(report: Report) -> None:
    if report.error:
        complain(f"Stopped: {report.error}")
    if not report.rounds:
        return
    say(
        f"Location {report.location_id}, the last {count(report.days, 'day')}: "
        f"{report.resolved:,} resolved, {report.failed:,} failed, {_left(report)} left, "
        f"in {duration(report.seconds)}."
    )
    for reason, users in sorted(report.failed_by_reason.items()):
        say(f"  failed   {count(users, 'user'):>12}  {short_reason(reason)}")
    for reason, users in sorted(report.queued_by_reason.items()):
        say(f"  waiting  {count(users, 'user'):>12}  {short_reason(reason)}")
    say(_last_word(report))


def _left(report: Report) -> str:
    remaining = report.remaining or 0
    return f"{_at_least(remaining)}{remaining + report.queued:,}"


def _at_least(remaining: int) -> str:
    return "at least " if remaining >= MOST_COUNTED - ROUND_SIZE else ""


def _last_word(report: Report) -> str:
    again = f"python -m service backfill --location {report.location_id} --days {report.days}"
    if report.ended == "done" and report.failed and not report.include_failed:
        return "Done. Who failed is tried again by itself, as often as MAX_FAILURES allows."
    if report.ended == "done":
        return "Done: nobody is left."
    if report.ended == "no_progress":
        return (
            "Stopped: the last round finished nobody. The users stay queued and are fetched once "
            f"what holds them back is over; `python -m service doctor --location "
            f"{report.location_id}` says what that is."
        )
    return f"Not finished; what is done is kept. To go on: {again}"


def _by_reason(reasons: Counter[str]) -> str:
    if not reasons:
        return ""
    return " (" + ", ".join(f"{n:,} {reason}" for reason, n in sorted(reasons.items())) + ")"
