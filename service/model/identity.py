"""The Inbox's view of a stored identity."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Literal

import msgspec

from service.model.freshness import CachedIdentity, Rules, is_fresh, is_stopped, picture_expiry

State = Literal["resolved", "pending", "failed", "unknown"]
API_PREFIX = "/api/social/instagram"
LONGEST_NAME = 200
LONGEST_ADDRESS = 4096
_FILLERS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters that are not visible


class Identity(msgspec.Struct, frozen=True, rename="camel"):
    """A user as shown in the Inbox."""

    ig_user_id: str
    display_name: str
    username: str | None
    name: str | None
    profile_pic_url: str | None
    state: State
    stale: bool
    last_fetched_at: datetime | None
    fail_count: int
    last_failed_at: datetime | None
    reason: str | None
    source: str | None
    is_placeholder: bool
    picture_url: str | None


def identity(cached: CachedIdentity, now: datetime, rules: Rules) -> Identity:
    """Return the Inbox's view of a stored identity."""
    username, name = bounded_name(cached.username), bounded_name(cached.name)
    is_named = has_name(username, name)
    return Identity(
        ig_user_id=cached.ig_user_id,
        display_name=display_name(cached.ig_user_id, username, name),
        username=username,
        name=name,
        profile_pic_url=web_address(cached.profile_pic_url, rules.picture_origins),
        state=state(cached, rules),
        stale=cached.last_fetched_at is not None and not is_fresh(cached, now, rules),
        last_fetched_at=cached.last_fetched_at,
        fail_count=cached.fail_count,
        last_failed_at=cached.last_failed_at,
        reason=why_not_fresh(cached, now, rules),
        source=(cached.source or "profile") if is_named else None,  # older rows have no source
        is_placeholder=not is_named,
        picture_url=picture_path(cached, now, rules),
    )


def state(cached: CachedIdentity, rules: Rules) -> State:
    """Return the user's state."""
    if cached.last_fetched_at is not None:
        return "resolved"
    if is_stopped(cached, rules):
        return "failed"
    return "pending" if cached.is_participant else "unknown"


def why_not_fresh(cached: CachedIdentity, now: datetime, rules: Rules) -> str | None:
    """Return why there is no fresh identity: the pause of the next call, else the last failure.

    For a fresh identity from a conversation it is why Meta refused the profile, and so the picture.
    The last failure can be one of unclear cause.
    """
    if is_fresh(cached, now, rules):
        return cached.last_reason if cached.source == "conversation" else None
    if cached.pause is not None and not is_stopped(cached, rules):
        return cached.pause
    return cached.unclear_reason or cached.last_reason


def display_name(ig_user_id: str, username: str | None, name: str | None) -> str:
    """Return `@username`, else the name, else `@user_` and the last six digits of the id."""
    if username and not is_blank(username):
        return f"@{username}"
    if name and not is_blank(name):
        return name
    return f"@user_{ig_user_id[-6:]}"


def has_name(username: str | None, name: str | None) -> bool:
    """Return whether there is a visible username or name."""
    return not is_blank(username) or not is_blank(name)


def is_blank(text: str | None) -> bool:
    """Return whether the text has no visible character (null, spaces, zero-width characters)."""
    return not text or not any(map(_is_visible, text))


def _is_visible(character: str) -> bool:
    return (
        character.isprintable()
        and not character.isspace()
        and character not in _FILLERS
        and unicodedata.category(character) != "Mn"  # a combining mark
    )


def bounded_name(name: str | None) -> str | None:
    """Truncate a name that far exceeds Instagram's limits (64 characters, a username 30)."""
    return name if name is None or len(name) <= LONGEST_NAME else name[:LONGEST_NAME]


def web_address(url: str | None, origins: tuple[str, ...] = ()) -> str | None:
    """Return an https address, or one on an allowed origin, unchanged; None for any other.

    This excludes `javascript:` and addresses that are too long.
    """
    if url is None or len(url) > LONGEST_ADDRESS or not url.isprintable():
        return None
    is_allowed = url[:8].lower() == "https://" or url.startswith(tuple(f"{o}/" for o in origins))
    return url if is_allowed else None


def picture_path(cached: CachedIdentity, now: datetime, rules: Rules) -> str | None:
    """Return our URL of a user's picture, None without one; `v` changes with the bytes."""
    path = f"{API_PREFIX}/users/{cached.ig_user_id}/picture"
    if rules.pictures == "copy":
        return f"{path}?v={cached.picture_sha256[:8]}" if cached.picture_sha256 else None
    if rules.pictures == "off" or not cached.profile_pic_url:
        return None
    expires_at = picture_expiry(cached.profile_pic_url)
    return path if expires_at is None or now < expires_at else None
