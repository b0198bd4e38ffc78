"""The kinds of items in a delivery, and the values read from an item."""

from __future__ import annotations

import msgspec

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


class Item(msgspec.Struct, frozen=True, gc=False):
    """An item that refers to a user, with the JSON values before validation."""

    entry_id: object
    sender: object
    recipient: object
    timestamp: object
    is_echo: bool
    is_self: bool
