"""The tolerant reader of deliveries: a malformed item does not affect the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from service.errors import PayloadError
from service.receiving.items import CONTACT_KINDS, DM_FIELDS, OTHER_KINDS, Item

_LONGEST_NUMBER = 100
_CONTAINERS = {"messaging", "standby", "changes", "field"}


class _Skipped(Exception):  # noqa: N818 - not an error: the reason why an item is skipped
    """The item names no participant; the message is the reason."""


def read_tolerantly(body: bytes) -> Iterator[Item | str]:
    """Yield each item of a delivery, or the reason why it is skipped.

    Raises PayloadError if the body is not a JSON object.
    """
    return _outcomes(_decode(body))


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
    """Decode with the standard library, which accepts half of a surrogate pair (truncated text)."""
    try:
        return json.loads(body, parse_int=_readable)
    except (ValueError, RecursionError):
        raise PayloadError("the body is not JSON") from None


def _readable(digits: str) -> int | str:
    """Parse an integer; keep one that is too long for an id or a time as text."""
    return int(digits) if len(digits) <= _LONGEST_NUMBER else digits


def _outcomes(payload: dict[str, Any]) -> Iterator[Item | str]:
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
                yield _read(entry, item)
            except _Skipped as reason:
                yield str(reason)


def _items(parent: dict[str, Any], key: str) -> list[Any]:
    """Return the list under a key; any other value counts as one malformed item."""
    found = parent.get(key, [])
    return found if isinstance(found, list) else [None]


def _entry_items(entry: dict[str, Any]) -> Iterator[object]:
    """Yield the items of an entry's containers; for `changes` and the flat form, the `value`."""
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
        return _Skipped(f"field {field[:64]}")
    return change.get("value") if isinstance(field, str) else None


def _read(entry: dict[str, Any], item: object) -> Item:
    if isinstance(item, _Skipped):
        raise item
    if not isinstance(item, dict):
        raise _Skipped("malformed: item is not an object")
    event = item[_contact_kind(item)]
    return Item(
        entry.get("id"),
        _party(item, "sender"),
        _party(item, "recipient"),
        item.get("timestamp"),
        is_echo=event.get("is_echo") is True,
        is_self=event.get("is_self") is True or item.get("is_self") is True,
    )


def _contact_kind(item: dict[str, Any]) -> str:
    for kind in CONTACT_KINDS:
        if kind in item:
            if not isinstance(item[kind], dict):
                raise _Skipped(f"malformed: {kind} is not an object")
            return kind
    raise _Skipped(next((kind for kind in OTHER_KINDS if kind in item), "unknown kind"))


def _party(item: dict[str, Any], role: str) -> object:
    party = item.get(role)
    return party.get("id") if isinstance(party, dict) else None
