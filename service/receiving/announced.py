"""Participants announced by a receiver that keeps Meta's webhook itself. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from service.model.contacts import Contact, bound_time, ig_id


class AnnouncedParticipant(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A user who exchanged messages with an account; `wrote`: the user sent the last one."""

    ig_account_id: str | int
    ig_user_id: str | int
    last_message_at: datetime | None = None
    wrote: bool = True


class RejectedParticipant(msgspec.Struct, frozen=True):
    """The index of a rejected item, counted from 0, and the reason."""

    index: int
    detail: str


class Announced(msgspec.Struct, frozen=True):
    """The contacts read from an announcement, and the rejected items."""

    contacts: list[Contact]
    rejected: list[RejectedParticipant]


def read_announced(
    items: Sequence[msgspec.Raw], received_at: datetime, account_of: Mapping[str, str]
) -> Announced:
    """Read each item independently; an alias becomes its account, and an account is never a user.

    `account_of` maps every id of every connected account, aliases too, to the account's id.
    """
    contacts: list[Contact] = []
    rejected: list[RejectedParticipant] = []
    for index, item in enumerate(items):
        try:
            contacts.append(_contact(item, received_at, account_of))
        except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
            rejected.append(RejectedParticipant(index, f"{error}."))
    return Announced(contacts, rejected)


def _contact(item: msgspec.Raw, received_at: datetime, account_of: Mapping[str, str]) -> Contact:
    announced = msgspec.json.decode(item, type=AnnouncedParticipant)
    account, user = ig_id(announced.ig_account_id), ig_id(announced.ig_user_id)
    if account is None:
        raise ValueError("igAccountId is 1 to 32 digits")
    if user is None:
        raise ValueError("igUserId is 1 to 32 digits")
    if user in account_of or user == account:
        raise ValueError("igUserId belongs to an account, not to a user")
    at = received_at
    if announced.last_message_at is not None:
        at = bound_time(announced.last_message_at, received_at)
    return Contact(account_of.get(account, account), user, at, at, wrote=announced.wrote)
