"""What Graph calls return, and the reasons and scopes of their failures."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

UserReason = Literal["consent_required", "not_found", "timeout", "upstream_error", "refused"]
PauseReason = Literal[
    "token_invalid",
    "permission",
    "no_connection",
    "throttled",
    "outage",
    "bad_request",
    "policy_block",
]
Login = Literal["facebook", "instagram"]
APP_SCOPE = "app"


class Profile(msgspec.Struct, frozen=True):
    """A profile from the Graph API; `raw` is the whole answer as storable JSON text."""

    username: str | None
    name: str | None
    profile_pic_url: str | None
    raw: str


class GraphProblem(msgspec.Struct, frozen=True, omit_defaults=False):
    """The description of a failed call, as stored in the `last_error` column."""

    reason: str
    code: int | None = None
    subcode: int | None = None
    message: str | None = None
    fbtrace_id: str | None = None

    def as_json(self) -> str:
        """Encode it for the column."""
        return msgspec.json.encode(self).decode()

    def log_fields(self) -> dict[str, object]:
        """Return the fields of a log line, without Meta's message."""
        fields = msgspec.structs.asdict(self)
        del fields["message"]
        return fields


class TokenFacts(msgspec.Struct, frozen=True):
    """What Meta reports about a valid token; null if unknown. Times are UTC."""

    expires_at: datetime | None = None
    data_access_expires_at: datetime | None = None
    scopes: tuple[str, ...] | None = None


class Trial(msgspec.Struct, frozen=True):
    """Whether Meta has accepted a token, and the account's username if Meta sent it."""

    is_accepted: bool
    username: str | None = None


UNTRIED = Trial(is_accepted=False)


def account_scope(ig_account_id: str) -> str:
    """Return the scope of an account's pauses."""
    return f"account:{ig_account_id}"


def outage_scope(ig_account_id: str) -> str:
    """Return the scope of an account's streak of upstream failures."""
    return f"outage:{ig_account_id}"
