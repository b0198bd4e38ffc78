"""Prints what happens in the service while the sandbox runs: DMs, names, pauses."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime

from sandbox.problems import SandboxError
from sandbox.report import Report
from sandbox.service_client import Pause, Person, ServiceClient
from service.reasons import REASONS

_LOOK_EVERY_S = 0.5
_LATEST = 50
_NAMED_AT_ONCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The latest senders and the pauses at one time."""

    people: Mapping[str, Person] = field(default_factory=dict)
    pauses: Mapping[str, Pause] = field(default_factory=dict)

    @classmethod
    def of(cls, people: Iterable[Person], pauses: Iterable[Pause]) -> "Snapshot":
        """Create a snapshot from the service's lists."""
        by_id = {person.ig_user_id: person for person in people}
        return cls(by_id, {pause.scope: pause for pause in pauses})


async def look(client: ServiceClient) -> Snapshot:
    """Take a snapshot; raises SandboxError."""
    return Snapshot.of(await client.people(_LATEST), await client.pauses())


async def watch(client: ServiceClient, report: Report, before: Snapshot) -> None:
    """Print a line for each DM, name, and start or end of a pause, until cancelled."""
    is_away = False
    while True:
        try:
            after = await look(client)
        except SandboxError as error:
            if not is_away:
                report.event(f"The service does not answer. {error}")
            is_away = True
        else:
            if is_away:
                report.event("The service answers again.")
            is_away = False
            for line in changes(before, after):
                report.event(line)
            before = after
        await asyncio.sleep(_LOOK_EVERY_S)


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """Return lines for the changes: pauses first, then DMs in the order of arrival."""
    people = sorted(after.people.values(), key=lambda person: person.last_message_at)
    lines = [_of_person(person, before) for person in people]
    return [*_of_pauses(before, after), *(line for line in lines if line)]


def scope_name(scope: str) -> str:
    """Return the words for a pause's scope."""
    return "all calls" if scope == "app" else f"calls for {scope.replace(':', ' ')}"


def until_when(pause: Pause) -> str:
    """Return the words for a pause's end, in this machine's time zone."""
    if pause.until.year == MAXYEAR:
        return "until a new token is stored"
    return f"until {pause.until.astimezone():%H:%M:%S}"


def _of_pauses(before: Snapshot, after: Snapshot) -> list[str]:
    came = [
        f"PAUSED    {scope_name(scope)}: {_words(pause.reason)}, {until_when(pause)}"
        for scope, pause in after.pauses.items()
        if before.pauses.get(scope) != pause
    ]
    went = [
        f"RESUMED   {scope_name(scope)} ({_words(pause.reason)})"
        for scope, pause in before.pauses.items()
        if scope not in after.pauses
    ]
    return [*came, *went]


def _of_person(person: Person, before: Snapshot) -> str | None:
    known = before.people.get(person.ig_user_id)
    if known == person:
        return None
    if _has_written(person, known, before):
        return f"DM        {person.ig_user_id}: {_name(person)}"
    if known is None or not _is_news(person, known):
        return None
    what = "NO NAME" if person.is_placeholder else "NAME"
    return f"{what:<9} {person.ig_user_id}: {_name(person)}"


def _has_written(person: Person, known: Person | None, before: Snapshot) -> bool:
    """Return whether a person has written since; an older person can have moved into the list."""
    if known is not None:
        return person.last_message_at > known.last_message_at
    earlier = [other.last_message_at for other in before.people.values()]
    oldest = min(earlier, default=datetime.min.replace(tzinfo=UTC))
    return len(earlier) < _LATEST or person.last_message_at >= oldest


def _is_news(person: Person, known: Person) -> bool:
    """Return whether a person has a new name, or a first reason for having none."""
    is_named = (person.display_name, person.state) != (known.display_name, known.state)
    return is_named or (known.reason is None and person.reason is not None)


def _name(person: Person) -> str:
    if person.state == "resolved":
        why = f" ({_words(person.reason)})" if person.reason else _how_soon(person)
        return f"{person.display_name}{why}"
    if person.reason:
        return f"no name: {_words(person.reason)}"
    return "no name yet"


def _how_soon(person: Person) -> str:
    if person.last_fetched_at is None:
        return ""
    took_s = (person.last_fetched_at - person.last_message_at).total_seconds()
    if took_s < 0:
        return ", known already"
    return f", {took_s:.2f} s after the DM" if took_s < _NAMED_AT_ONCE_S else ""


def _words(reason: str) -> str:
    known = REASONS.get(reason)
    return known.words if known else reason
