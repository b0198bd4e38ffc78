"""The result of a `backfill` run, in JSON and in words."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Literal

import msgspec

from service.commands.output import complain, say
from service.reasons import short_reason
from service.wording import count, duration, shell_word

MOST_COUNTED, ROUND_SIZE = 10_000, 50  # the service counts candidates no further; a round

Ending = Literal["done", "some_left", "no_progress", "interrupted", "error"]


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
    waiting: int
    waiting_until: datetime | None
    stopped: int
    paused: int
    rounds: int
    seconds: float

    @property
    def without_name(self) -> int:
        """How many users of those days still have no fresh name."""
        return self.waiting + self.stopped + max(self.paused, self.queued)


def tell(report: Report) -> None:
    """Print how a run ended, and what is left."""
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
    return f"{at_least(remaining)}{remaining + report.queued:,}"


def at_least(remaining: int) -> str:
    """Return "at least " if there can be more users than the service counts."""
    return "at least " if remaining >= MOST_COUNTED - ROUND_SIZE else ""


def _last_word(report: Report) -> str:
    location = shell_word(report.location_id)
    command = f"python -m service backfill --location {location} --days {report.days}"
    doctor = f"python -m service doctor --location {location}"
    if report.ended == "done":
        return "Done: everybody who wrote in those days has a fresh name."
    if report.ended == "some_left":
        parts = _left_out(report)
        again = f" To try them now: {command} --include-failed"
        if report.paused:
            again = f" What pauses calls: {doctor}"
        people = count(report.without_name, "person has", "people have")
        return f"{people} no fresh name: {', '.join(parts)}.{again}"
    if report.ended == "no_progress":
        return (
            "Stopped: the last round had no result. The users stay queued and are fetched once "
            f"what holds them back is over; `{doctor}` says what that is."
        )
    return f"Not finished; what is done is kept. To go on: {command}"


def _left_out(report: Report) -> list[str]:
    until = f" until {report.waiting_until:%H:%M} UTC" if report.waiting_until else ""
    waits = "waits" if report.waiting == 1 else "wait"
    has = "has" if report.stopped == 1 else "have"
    parts = [
        f"{report.waiting:,} {waits} for a retry{until}" if report.waiting else "",
        f"{report.stopped:,} {has} stopped" if report.stopped else "",
        f"{report.paused:,} of a paused account" if report.paused else "",
        f"{report.queued:,} in the queue" if report.queued and not report.paused else "",
    ]
    return [part for part in parts if part]


def by_reason(reasons: Counter[str]) -> str:
    """List how many failed for which reason, in parentheses."""
    if not reasons:
        return ""
    return " (" + ", ".join(f"{n:,} {reason}" for reason, n in sorted(reasons.items())) + ")"
