"""Contacts packed into broker messages up to the size limit, and validated when they are read.

Other programs can write to the stream too, so nothing that is read is trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from service.model.contacts import Contact, bound_time, ig_id

MOST_CONTACTS = 1000  # in one message and in one statement


class Unpacked(msgspec.Struct, frozen=True):
    """The contacts of a message, with times between 1970 and now, and the faults of the others."""

    contacts: list[Contact]
    faults: list[str]


def pack(contacts: Sequence[Contact], most_bytes: int) -> list[bytes]:
    """Pack contacts into messages of at most `most_bytes`; a contact takes about 200."""
    payload = msgspec.json.encode(contacts)
    half = len(contacts) // 2
    if not half or (len(contacts) <= MOST_CONTACTS and len(payload) <= most_bytes):
        return [payload] if contacts else []
    return [*pack(contacts[:half], most_bytes), *pack(contacts[half:], most_bytes)]


def unpack(payload: bytes) -> Unpacked:
    """Read a message; raises ValueError if it is not a list of contacts."""
    try:
        contacts = msgspec.json.decode(payload, type=list[Contact])
    except RecursionError as error:
        raise ValueError("the message is nested too deeply") from error
    now = datetime.now(UTC)
    good: list[Contact] = []
    faults: list[str] = []
    for contact in contacts:
        try:
            good.append(_checked(contact, now))
        except ValueError as error:
            faults.append(str(error))
    return Unpacked(good, faults)


def _checked(contact: Contact, now: datetime) -> Contact:
    if ig_id(contact.ig_account_id) is None or ig_id(contact.ig_user_id) is None:
        raise ValueError("an id is not 1 to 32 digits")
    return msgspec.structs.replace(
        contact,
        first_at=bound_time(contact.first_at, now),
        last_at=bound_time(contact.last_at, now),
    )
