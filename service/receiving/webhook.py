"""Verifies Meta's webhook deliveries and extracts their participants. No I/O.

Source: Meta for Developers, "Webhooks: getting started" (handshake, `X-Hub-Signature-256`) and
"Instagram Platform: webhooks reference" (the events).
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from service.errors import SignatureError
from service.model.contacts import Contact, event_time, ig_id, merge_contacts
from service.receiving.items import Item
from service.receiving.tolerant import read_tolerantly
from service.receiving.typed import read_typed

DASHBOARD_TEST_ID = "0"
_SIGNATURE = re.compile(r"sha256=[0-9a-fA-F]{64}", re.ASCII)
_NOTHING: Counter[str] = Counter()


class Delivery(msgspec.Struct, frozen=True):
    """The participants of a delivery, once each, and the reasons why other items have none."""

    contacts: list[Contact]
    skipped: Counter[str]


def claimed_signature(headers: Sequence[str]) -> str:
    """Return the X-Hub-Signature-256 of a delivery; raises SignatureError if it is malformed.

    It is called before the body is read, so an unsigned delivery costs little.
    """
    if len(headers) != 1:
        found = "missing" if not headers else "there more than once"
        raise SignatureError(f"X-Hub-Signature-256 is {found}")
    if _SIGNATURE.fullmatch(headers[0]) is None:
        raise SignatureError("X-Hub-Signature-256 is not sha256= and 64 hex digits")
    return headers[0]


def verify_signature(body: bytes, header: str | None, app_secrets: Sequence[bytes]) -> None:
    """Check the HMAC-SHA256 of the bytes as received; raises SignatureError.

    Every secret is tried, in constant time, so that secrets can be rotated.
    """
    given = (header or "").encode("utf-8", "surrogateescape")
    good = False
    for secret in app_secrets:
        expected = b"sha256=" + hmac.digest(secret, body, "sha256").hex().encode()
        good |= hmac.compare_digest(expected, given)
    if not good:
        raise SignatureError("X-Hub-Signature-256 is missing or does not match the body")


def parse_delivery(body: bytes, received_at: datetime, account_of: Mapping[str, str]) -> Delivery:
    """Extract the participants of a delivery; raises PayloadError if it is not a JSON object.

    `account_of` maps every id of every connected account, aliases too, to the account's id. A
    malformed item does not affect the others.
    """
    items = read_typed(body)
    contacts: list[Contact] = []
    skipped: list[str] = []
    for item in read_tolerantly(body) if items is None else items:
        outcome = item if isinstance(item, str) else _judge(item, received_at, account_of)
        if isinstance(outcome, str):
            skipped.append(outcome)
        else:
            contacts.append(outcome)
    return Delivery(
        merge_contacts(contacts) if len(contacts) > 1 else contacts,
        Counter(skipped) if skipped else _NOTHING,
    )


def _judge(item: Item, received_at: datetime, account_of: Mapping[str, str]) -> Contact | str:
    """Return an item's contact, or the reason why it has none."""
    if item.is_self:
        return "self message"
    entry_id = ig_id(item.entry_id)
    if entry_id is None:
        return "malformed: entry.id"
    if entry_id == DASHBOARD_TEST_ID:
        return "dashboard test"
    parties = _parties(item, entry_id, account_of)
    if isinstance(parties, str):
        return parties
    account, user, is_users_own = parties
    said_at = event_time(item.timestamp, received_at)
    return Contact(account, user, said_at, said_at, wrote=is_users_own)


def _parties(
    item: Item, entry_id: str, account_of: Mapping[str, str]
) -> tuple[str, str, bool] | str:
    """Return the account, the user, and whether the user is the sender; or why there is no user.

    The user is the sender, except in an echo, which the account sent. The account is looked up by
    the entry's id, then by the other party's, since Meta uses several ids for one account.
    """
    sender, recipient = ig_id(item.sender), ig_id(item.recipient)
    sent_by_account = item.is_echo or sender == entry_id or sender in account_of
    user, other = (recipient, sender) if sent_by_account else (sender, recipient)
    if user is None:
        return "malformed: recipient.id" if sent_by_account else "malformed: sender.id"
    if user == entry_id or user in account_of:
        return "self message"
    account = account_of.get(entry_id) or account_of.get(other or "") or entry_id
    return account, user, not sent_by_account
