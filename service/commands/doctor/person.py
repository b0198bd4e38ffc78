"""`doctor --user`: what is known about one user, why there is no name, and what happens next."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.commands.output import DONE, INCOMPLETE, REFUSED, CommandError, say, say_json
from service.errors import UnavailableError
from service.identities.people import People, Person
from service.model.contacts import ig_id
from service.reasons import reason_of
from service.settings import DoctorSettings
from service.store.database import Database
from service.store.identities import Identities
from service.store.people import PeopleStore
from service.wording import duration, printable

MOST_SHOWN = 10
_WIDTH = 10


class Shown(msgspec.Struct, frozen=True, rename="camel"):
    """A user and Meta's latest error, as `--json` prints them."""

    person: Person
    last_error: dict[str, Any] | None


async def examine_user(settings: DoctorSettings, wanted: str, *, as_json: bool) -> int:
    """Show a person by id or @username; returns the exit code.

    0: has a fresh name; 1: will be fetched automatically; 2: you have to act, or it is unknown.
    """
    now = datetime.now(UTC)
    found = await _find(settings, wanted)
    if as_json:
        say_json({"people": found})
    elif not found:
        say(f"No known user has the name or id {printable(wanted)}.")
    for number, shown in enumerate(() if as_json else found):
        say("" if number else f"Doctor: {printable(wanted)}, {now:%d %B %Y %H:%M} UTC", "bold")
        _tell(shown, now, settings.max_failures)
    return max((_exit_code(shown.person) for shown in found), default=REFUSED)


async def _find(settings: DoctorSettings, wanted: str) -> list[Shown]:
    if not wanted.startswith("@") and ig_id(wanted) is None:
        raise CommandError("--user takes an id of 1 to 32 digits, or @username.")
    async with AsyncExitStack() as stack:
        try:
            database = await stack.enter_async_context(Database.connect(settings.dsn, pool_size=1))
            store = PeopleStore(database)
            rules = settings.rules
            people = People(store, Identities(database, rules), rules)
            found = (await people.find(wanted))[:MOST_SHOWN]
            errors = await store.read_last_errors([person.ig_user_id for person in found])
        except UnavailableError as error:
            raise CommandError(f"PostgreSQL does not answer ({error}).") from None
    return [Shown(person, _read_error(errors.get(person.ig_user_id))) for person in found]


def _read_error(text: str | None) -> dict[str, Any] | None:
    found = None if text is None else msgspec.json.decode(text)
    return found if isinstance(found, dict) else None


def _exit_code(person: Person) -> int:
    if person.state == "resolved" and not person.stale:
        return DONE
    return INCOMPLETE if person.next_attempt_at is not None else REFUSED


def _tell(shown: Shown, now: datetime, max_failures: int) -> None:
    person = shown.person
    lines = {
        "person": f"{printable(person.display_name)}  {person.ig_user_id}",
        "name": printable(person.name or "none"),
        "state": _state(person, now),
        "wrote": ", ".join(
            f"{_moment(each.last_message_at, now)} to {each.ig_account_id}"
            f" ({printable(each.location_id) if each.location_id else 'not connected'})"
            for each in person.accounts
        ),
        "failures": _failures(shown, max_failures, now),
        "next try": _next_try(person, now),
    }
    for name, text in lines.items():
        say(f"  {name:<{_WIDTH}}{text}")
    if person.reason is not None:
        account = person.accounts[0]
        advice = reason_of(person.reason).advise(account.ig_account_id, account.location_id)
        say(f"  {'→':<{_WIDTH}}{advice}")


def _state(person: Person, now: datetime) -> str:
    if person.last_fetched_at is None:
        reason = f": {reason_of(person.reason).words}" if person.reason else ""
        return f"{person.state}{reason}"
    fetched = f"fetched {_moment(person.last_fetched_at, now)}"
    return f"{person.state}, {fetched}{', expired' if person.stale else ''}"


def _failures(shown: Shown, max_failures: int, now: datetime) -> str:
    person, error = shown.person, shown.last_error
    if person.last_failed_at is None:
        return "none"
    said = f"{person.fail_count} of {max_failures}, last {_moment(person.last_failed_at, now)}"
    if error is None:
        return said
    code = "/".join(str(error[key]) for key in ("code", "subcode") if error.get(key))
    words = [
        str(error.get("reason", "")),
        f"code {code}" if code else "",
        f"trace {error['fbtrace_id']}" if error.get("fbtrace_id") else "",
        f"“{error['message']}”" if error.get("message") else "",
    ]
    return f"{said}: {printable(', '.join(filter(None, words)))}"


def _next_try(person: Person, now: datetime) -> str:
    if person.state == "resolved" and not person.stale:
        return "not needed: the name is fresh"
    if person.next_attempt_at is None:
        return "none until somebody acts"
    return "at once" if person.next_attempt_at <= now else _moment(person.next_attempt_at, now)


def _moment(at: datetime, now: datetime) -> str:
    seconds = (now - at).total_seconds()
    relative = f"{duration(seconds)} ago" if seconds >= 0 else f"in {duration(-seconds)}"
    return f"{at:%d %B %H:%M} UTC ({relative})"
