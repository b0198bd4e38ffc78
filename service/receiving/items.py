"""What the items of a delivery are called, and what is read out of one."""

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
    """An item that tells of a user: its values as they stand in the JSON, not yet judged."""

    entry_id: object
    sender: object
    recipient: object
    timestamp: object
    is_echo: bool
    is_self: bool
