"""Meta's webhook deliveries: verify, then read the participants out of them. No I/O.

Source: Meta for Developers, "Webhooks: getting started" (handshake, `X-Hub-Signature-256`) and
"Instagram Platform: webhooks reference" (the events).
"""

from __future__ import annotations

import hmac
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from service.errors import PayloadError, SignatureError
from service.model import Contact, event_time, ig_id, merge_contacts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

DASHBOARD_TEST_ID = "0"
_SIGNATURE = re.compile(r"sha256=[0-9a-fA-F]{64}", re.ASCII)
_LONGEST_NUMBER = 100
_CONTAINERS = {"messaging", "standby", "changes", "field"}
CONTACT_KINDS = ("message", "reaction", "postback", "referral", "optin")
OTHER_KINDS = (
    "read",
    "message_edit",
    "pass_thread_control",
    "take_thread_control",
    "request_thread_control",
    "app_roles",
)
DM_FIELDS = frozenset(
    {
        "messages",
        "message_echoes",
        "message_edit",
        "message_reactions",
        "messaging_handover",
        "messaging_optins",
        "messaging_postbacks",
        "messaging_referral",
        "messaging_referrals",
        "messaging_seen",
        "standby",
    }
)


_NOTHING: Counter[str] = Counter()


class Skipped(Exception):  # noqa: N818 - not an error: the reason why an item makes no participant
    """An item that makes no participant; carries the reason."""


class Delivery(msgspec.Struct, frozen=True):
    """What one delivery holds: the participants, once each, and why other items make none."""

    contacts: list[Contact]
    skipped: Counter[str]


def claimed_signature(headers: Sequence[str]) -> str:
    """Give the one X-Hub-Signature-256 of a delivery; raises SignatureError if it can't be good.

    It costs nothing to find out, so no body is read for what is not signed.
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
    """Read every participant out of a delivery; raises PayloadError if it is not a JSON object.

    `account_of` maps every id of every connected account, aliases too, to the account's id.
    Items are judged one by one: a malformed one costs itself.
    """
    contacts: list[Contact] = []
    skipped: list[str] = []
    for outcome in _outcomes(_decode(body), received_at, account_of):
        if isinstance(outcome, Contact):
            contacts.append(outcome)
        else:
            skipped.append(outcome)
    return Delivery(
        merge_contacts(contacts) if len(contacts) > 1 else contacts,
        Counter(skipped) if skipped else _NOTHING,
    )


def _decode(body: bytes) -> dict[str, Any]:
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        payload = _decode_leniently(body)
    except RecursionError:
        raise PayloadError("the body is nested too deeply") from None
    if not isinstance(payload, dict):
        raise PayloadError("the body is not a JSON object")
    return payload


def _decode_leniently(body: bytes) -> object:
    """The standard library also reads what Meta may truncate: half of a surrogate pair."""
    try:
        return json.loads(body, parse_int=_readable)
    except (ValueError, RecursionError):
        raise PayloadError("the body is not JSON") from None


def _readable(digits: str) -> int | str:
    """Leave a number as it is written that is too long to be any id or time."""
    return int(digits) if len(digits) <= _LONGEST_NUMBER else digits


def _outcomes(
    payload: dict[str, Any], received_at: datetime, account_of: Mapping[str, str]
) -> Iterator[Contact | str]:
    """Each item of a delivery as a contact, or as the reason why it makes none."""
    if payload.get("object") != "instagram":
        yield "object is not instagram"
        return
    for entry in _items(payload, "entry"):
        if not isinstance(entry, dict):
            yield "malformed: entry is not an object"
            continue
        if _CONTAINERS.isdisjoint(entry):
            yield "entry without a known container"
        for item in _entry_items(entry):
            try:
                yield _contact(entry, item, received_at, account_of)
            except Skipped as reason:
                yield str(reason)


def _items(parent: dict[str, Any], key: str) -> list[Any]:
    """The list under a key; something else than a list counts as one malformed item."""
    found = parent.get(key, [])
    return found if isinstance(found, list) else [None]


def _entry_items(entry: dict[str, Any]) -> Iterator[object]:
    """The items of an entry's containers; one in `changes` or flat form as its value."""
    for container in ("messaging", "standby"):
        if container in entry:
            yield from _items(entry, container)
    for change in _items(entry, "changes"):
        yield _change_value(change)
    if "field" in entry:
        yield _change_value(entry)


def _change_value(change: object) -> object:
    if not isinstance(change, dict):
        return None
    field = change.get("field")
    if isinstance(field, str) and field not in DM_FIELDS:
        return Skipped(f"field {field[:64]}")
    return change.get("value") if isinstance(field, str) else None


def _contact(
    entry: dict[str, Any], item: object, received_at: datetime, account_of: Mapping[str, str]
) -> Contact:
    if isinstance(item, Skipped):
        raise item
    if not isinstance(item, dict):
        raise Skipped("malformed: item is not an object")
    kind = _contact_kind(item)
    event = item[kind]
    if event.get("is_self") is True or item.get("is_self") is True:
        raise Skipped("self message")
    is_echo = event.get("is_echo") is True
    account, user, is_users_own = _parties(entry, item, account_of, is_echo=is_echo)
    said_at = event_time(item.get("timestamp"), received_at)
    return Contact(account, user, said_at, said_at, wrote=is_users_own)


def _contact_kind(item: dict[str, Any]) -> str:
    for kind in CONTACT_KINDS:
        if kind in item:
            if not isinstance(item[kind], dict):
                raise Skipped(f"malformed: {kind} is not an object")
            return kind
    raise Skipped(next((kind for kind in OTHER_KINDS if kind in item), "unknown kind"))


def _parties(
    entry: dict[str, Any], item: dict[str, Any], account_of: Mapping[str, str], *, is_echo: bool
) -> tuple[str, str, bool]:
    """The account, the user, and whether the user is the sender.

    The user is the sender, unless the account itself sent it: an echo. The account is looked up
    by the entry's id, then by the other party's, since Meta knows one account by several ids.
    """
    entry_id = ig_id(entry.get("id"))
    if entry_id == DASHBOARD_TEST_ID:
        raise Skipped("dashboard test")
    if entry_id is None:
        raise Skipped("malformed: entry.id")
    sender, recipient = _party(item, "sender"), _party(item, "recipient")
    own = account_of.keys()
    sent_by_account = is_echo or sender == entry_id or sender in own
    user, other = (recipient, sender) if sent_by_account else (sender, recipient)
    if user is None:
        raise Skipped("malformed: recipient.id" if sent_by_account else "malformed: sender.id")
    if user == entry_id or user in own:
        raise Skipped("self message")
    account = account_of.get(entry_id) or account_of.get(other or "") or entry_id
    return account, user, not sent_by_account


def _party(item: dict[str, Any], role: str) -> str | None:
    party = item.get(role)
    return ig_id(party.get("id")) if isinstance(party, dict) else None
