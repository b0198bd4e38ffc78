"""Participants in deliveries: their ids and the times of their messages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_BELOW = 100_000_000_000  # a time below 1e11 is in seconds, above in milliseconds
_TIMES = (int, float, str)
_LONGEST_ID = 32


class Contact(msgspec.Struct, frozen=True):
    """A participant in one delivery, with the first and last time.

    `wrote`: the user acted (a message, a tap), which gives consent at Meta; an echo of the
    business's own message does not.
    """

    ig_account_id: str
    ig_user_id: str
    first_at: datetime
    last_at: datetime
    wrote: bool

    @property
    def key(self) -> tuple[str, str]:
        """The ids that identify the participant."""
        return self.ig_account_id, self.ig_user_id

    def merge(self, other: Contact) -> Contact:
        """Combine two contacts of the same participant."""
        return Contact(
            ig_account_id=self.ig_account_id,
            ig_user_id=self.ig_user_id,
            first_at=min(self.first_at, other.first_at),
            last_at=max(self.last_at, other.last_at),
            wrote=self.wrote or other.wrote,
        )


def merge_contacts(contacts: Iterable[Contact]) -> list[Contact]:
    """Combine the contacts of each participant, in the order of their first contact."""
    merged: dict[tuple[str, str], Contact] = {}
    for contact in contacts:
        known = merged.get(contact.key)
        merged[contact.key] = contact if known is None else known.merge(contact)
    return list(merged.values())


def ig_id(value: object) -> str | None:
    """Return an id of 1 to 32 ASCII digits, given as text or as a JSON integer; else None."""
    if isinstance(value, str):
        is_id = len(value) <= _LONGEST_ID and value.isascii() and value.isdigit()
        return value if is_id else None
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return str(value) if 0 <= value < 10**_LONGEST_ID else None


def event_time(value: object, received_at: datetime) -> datetime:
    """Return a webhook's time in UTC; `received_at` if it is unreadable or later than that.

    Meta sends 13-digit milliseconds, 10-digit seconds, or a string of either.
    """
    if isinstance(value, bool) or not isinstance(value, _TIMES):
        return received_at
    try:
        number = int(value)
        seconds = number if number < _SECONDS_BELOW else number / 1000
        said_at = datetime.fromtimestamp(seconds, UTC) if number > 0 else received_at
    except (ValueError, OverflowError, OSError):
        return received_at
    return min(said_at, received_at)


def bound_time(moment: datetime, now: datetime) -> datetime:
    """Limit a time to between 1970 and now; raises ValueError if it has no time zone.

    No stored or computed time can then leave Python's range.
    """
    if moment.tzinfo is None:
        raise ValueError("a time has no time zone")
    return min(max(moment, EARLIEST), now)
