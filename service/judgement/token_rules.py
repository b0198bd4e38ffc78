"""When to renew a token and what to warn about: pure rules over stored values and a clock.

Source: Meta for Developers, "Instagram API with Instagram Login: Refresh a long-lived token" and
"Graph API: Debug-Token".
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

CHECK_EVERY = timedelta(days=1)
CHECK_AGAIN_AFTER = timedelta(hours=1)  # if Meta could not be asked
RENEWABLE_AFTER = timedelta(hours=24)
RENEW_WITHIN = timedelta(days=30)
WARN_WITHIN = timedelta(days=14)
INSTAGRAM = "instagram"

# The first two of each list are needed for names, the others for webhooks.
FACEBOOK_SCOPES = (
    "instagram_basic",
    "instagram_manage_messages",
    "pages_manage_metadata",
    "pages_read_engagement",
    "pages_show_list",
)
INSTAGRAM_SCOPES = ("instagram_business_basic", "instagram_business_manage_messages")
NAMES_NEED = 2
_REPLACE = "Log the account in to the app again and store the new token."
_TICK = "Log the account in to the app again with these permissions ticked, and store the token."
_LOG_IN = "The owner of the account has to log in to the app again: that renews it for 90 days."
_AGAIN = "The check is repeated every hour. To see Meta's current answer, run the command."
_OWNERS = (
    "Another application stores it unencrypted, and has to renew it. To have it renewed here, set"
    " SEAL_TOKENS=true."
)

WarningKind = Literal["dead", "ends", "data_access_ends", "scopes", "check_failed"]


class TokenState(msgspec.Struct, frozen=True):
    """The stored facts about a connection's token; times are null if unknown.

    `check_error` is Meta's answer at the last check, null if it succeeded.
    """

    ig_account_id: str
    location_id: str
    login: str
    stored_at: datetime
    username: str | None = None
    is_plain: bool = False
    is_dead: bool = False
    expires_at: datetime | None = None
    data_access_expires_at: datetime | None = None
    checked_at: datetime | None = None
    scopes: Sequence[str] | None = None
    check_error: str | None = None


class TokenWarning(msgspec.Struct, frozen=True, rename="camel"):
    """A problem with a token, its deadline (null: now), and what to do.

    `is_urgent`: names have stopped or are about to. `command` is a shell command, if one helps.
    """

    kind: WarningKind
    ig_account_id: str
    location_id: str
    username: str | None
    sentence: str
    advice: str
    command: str | None = None
    ends_at: datetime | None = None
    is_urgent: bool = False


def is_renewable(state: TokenState, now: datetime, *, seals: bool) -> bool:
    """Return whether it is time to renew the token, and this service can.

    An Instagram token without a known expiry is renewed too, since the answer has the new expiry.
    A plain token belongs to another application, which renews it, unless `seals` is set.
    """
    if state.login != INSTAGRAM or state.is_dead or (state.is_plain and not seals):
        return False
    if now < state.stored_at + RENEWABLE_AFTER:
        return False
    if state.expires_at is None:
        return True
    return now < state.expires_at <= now + RENEW_WITHIN


def needed_scopes(login: str) -> tuple[str, ...]:
    """Return the permissions that a token of a login needs, those for names first."""
    return INSTAGRAM_SCOPES if login == INSTAGRAM else FACEBOOK_SCOPES


def missing_scopes(login: str, scopes: Sequence[str] | None) -> list[str]:
    """Return the permissions that a token lacks; none if its permissions are unknown."""
    if scopes is None:
        return []
    granted = set(scopes)
    return [s for s in needed_scopes(login) if not {s, s.replace("_business", "")} & granted]


def warnings(state: TokenState, now: datetime, *, seals: bool) -> list[TokenWarning]:
    """List what an operator should do about a connection's token, the most urgent first."""
    if state.is_dead:
        return [_dead(state)]
    found = [_ending(state, now, seals=seals), _data_access(state, now), _scopes(state)]
    found.append(_check_failed(state))
    return [warning for warning in found if warning is not None]


def name_account(state: TokenState) -> str:
    """Return an account's @username, if known, and its id."""
    return f"@{state.username} ({state.ig_account_id})" if state.username else state.ig_account_id


def _warn(
    state: TokenState,
    kind: WarningKind,
    sentence: str,
    advice: str,
    *,
    command: str | None = None,
    ends_at: datetime | None = None,
    is_urgent: bool = False,
) -> TokenWarning:
    return TokenWarning(
        kind,
        state.ig_account_id,
        state.location_id,
        state.username,
        sentence,
        advice,
        command,
        ends_at,
        is_urgent,
    )


def _add(state: TokenState) -> str:
    location_id = shlex.quote(state.location_id)
    return f"python -m service connections add {state.ig_account_id} --location {location_id}"


def _dead(state: TokenState) -> TokenWarning:
    sentence = f"The token of {name_account(state)} is dead: Meta refuses it."
    return _warn(state, "dead", sentence, _REPLACE, command=_add(state), is_urgent=True)


def _ending(state: TokenState, now: datetime, *, seals: bool) -> TokenWarning | None:
    ends_at = state.expires_at
    if ends_at is None or ends_at > now + WARN_WITHIN:
        return None
    is_over = ends_at <= now
    sentence = f"The token of {name_account(state)} {_ends(ends_at, now)}."
    if state.login == INSTAGRAM and state.is_plain and not seals:
        return _warn(state, "ends", sentence, _OWNERS, ends_at=ends_at, is_urgent=is_over)
    command = _add(state)
    return _warn(
        state, "ends", sentence, _REPLACE, command=command, ends_at=ends_at, is_urgent=is_over
    )


def _data_access(state: TokenState, now: datetime) -> TokenWarning | None:
    ends_at = state.data_access_expires_at
    if ends_at is None or ends_at > now + WARN_WITHIN:
        return None
    sentence = f"The app's access to the data of {name_account(state)} {_ends(ends_at, now)}."
    return _warn(
        state, "data_access_ends", sentence, _LOG_IN, ends_at=ends_at, is_urgent=ends_at <= now
    )


def _scopes(state: TokenState) -> TokenWarning | None:
    missing = missing_scopes(state.login, state.scopes)
    if not missing:
        return None
    needed = needed_scopes(state.login)[:NAMES_NEED]
    stops_names = any(scope in needed for scope in missing)
    sentence = f"The token of {name_account(state)} lacks {', '.join(missing)}"
    sentence += ", without which no name can be fetched." if stops_names else "."
    return _warn(state, "scopes", sentence, _TICK, command=_add(state), is_urgent=stops_names)


def _check_failed(state: TokenState) -> TokenWarning | None:
    if state.check_error is None:
        return None
    sentence = f"The token of {name_account(state)} could not be checked: {state.check_error}."
    command = f"python -m service doctor --location {shlex.quote(state.location_id)}"
    return _warn(state, "check_failed", sentence, _AGAIN, command=command)


def _ends(ends_at: datetime, now: datetime) -> str:
    return f"{'ended' if ends_at <= now else 'ends'} on {ends_at:%d %B %Y}"
