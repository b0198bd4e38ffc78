"""The likely cause behind a reason, inferred from the figures."""

from __future__ import annotations

import msgspec

from service.reasons import REASONS, Reason

MANY = 3
MOST_OF_THEM = 0.8


class Likely(msgspec.Struct, frozen=True):
    """A likely cause, and its cure and command if they differ from the reason's."""

    likely: str | None = None
    cure: str | None = None
    command: Reason | None = None


_NOTHING = Likely()
_LIKELY = {
    "not_found": Likely(
        "The token probably belongs to another account.",
        "Connect the right one.",
        REASONS["token_invalid"],
    ),
    "consent_required": Likely(
        "All {number:,} had just written, so missing consent is not the explanation: the account "
        "does not allow access to its messages, or the app has no Advanced Access.",
        "In the Instagram app: Settings, Messages and story replies, Message controls, Connected "
        "tools: allow access to messages. In the app dashboard: Advanced Access to "
        "instagram_manage_messages. Then retry these people.",
        REASONS["timeout"],
    ),
    "timeout": Likely("No call is answered in time: the network path to Meta is down, or Meta is."),
    "upstream_error": Likely(
        "Every call fails, so the fault is at Meta and not with these people."
    ),
    "refused": Likely("Meta refuses everybody, so the fault is in the account or the app."),
}


def likely_cause(reason: str, number: int, named: int) -> Likely:
    """Return why recent writers have no name, if nearly all of them have none."""
    if number < MANY or number < MOST_OF_THEM * (number + named):
        return _NOTHING
    found = _LIKELY.get(reason, _NOTHING)
    likely = found.likely and found.likely.format(number=number)
    return msgspec.structs.replace(found, likely=likely)
