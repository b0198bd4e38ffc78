"""The fast reader of deliveries that look exactly as Meta documents them; nearly all do.

msgspec checks the types and decodes only the fields declared here. A delivery that differs in any
way, even by a type, is left to the tolerant reader.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from service.receiving.items import Item


class _Party(msgspec.Struct, gc=False):
    id: str


class _Event(msgspec.Struct, gc=False):
    is_echo: bool = False
    is_self: bool = False


class _Item(msgspec.Struct, gc=False):
    sender: _Party
    recipient: _Party
    timestamp: int
    is_self: bool = False
    message: _Event | UnsetType = UNSET
    reaction: _Event | UnsetType = UNSET
    postback: _Event | UnsetType = UNSET
    referral: _Event | UnsetType = UNSET
    optin: _Event | UnsetType = UNSET
    read: object = UNSET


class _Entry(msgspec.Struct, gc=False):
    id: str
    messaging: list[_Item]
    standby: object = UNSET
    changes: object = UNSET
    field: object = UNSET


class _Delivery(msgspec.Struct, gc=False):
    object: Literal["instagram"]
    entry: list[_Entry]


_decode = msgspec.json.Decoder(_Delivery).decode


def read_typed(body: bytes) -> list[Item | str] | None:
    """Return the items of a delivery, or why one is skipped; None if the delivery looks unusual.

    msgspec does not check skipped values for UTF-8, so only ASCII is accepted here: Meta escapes
    all other characters.
    """
    if not body.isascii():
        return None
    try:
        delivery = _decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return None
    found: list[Item | str] = []
    for entry in delivery.entry:
        if not (entry.standby is entry.changes is entry.field is UNSET):
            return None
        for item in entry.messaging:
            outcome = _outcome(entry.id, item)
            if outcome is None:
                return None
            found.append(outcome)
    return found


def _outcome(entry_id: str, item: _Item) -> Item | str | None:
    for event in (item.message, item.reaction, item.postback, item.referral, item.optin):
        if event is not UNSET:
            is_self = event.is_self or item.is_self
            return Item(
                entry_id,
                item.sender.id,
                item.recipient.id,
                item.timestamp,
                event.is_echo,
                is_self,
            )
    return None if item.read is UNSET else "read"
