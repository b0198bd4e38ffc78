"""Freshness and retries of a stored identity: pure rules over values and a clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

PictureMode = Literal["copy", "link", "off"]
FOREVER = datetime.max.replace(tzinfo=UTC)
RETRY_WAITS = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)
EARLIEST_PICTURE_EXPIRY = timedelta(hours=1)
_HEX = re.compile(r"[0-9a-fA-F]{1,12}", re.ASCII)


class Rules(msgspec.Struct, frozen=True):
    """The configured rules for freshness, retries and pictures.

    `picture_origins` are the origins in PICTURE_HOSTS, which need no https.
    """

    ttl: timedelta = timedelta(days=7)
    max_failures: int = 5
    retry_waits: tuple[timedelta, ...] = RETRY_WAITS
    pictures: PictureMode = "copy"
    picture_origins: tuple[str, ...] = ()


class CachedIdentity(msgspec.Struct, frozen=True):
    """The stored identity of a user at `read_at`, a time of the database's clock.

    `pause` is why no account of the user can be called now, null if one can. `unclear_reason` and
    `unclear_at` describe a failure that is not charged to anybody yet. `picture_sha256` is the
    stored copy's SHA-256 in hex; `picture_copied_at` is when it was last confirmed as current.
    """

    ig_user_id: str
    username: str | None = None
    name: str | None = None
    profile_pic_url: str | None = None
    last_fetched_at: datetime | None = None
    expires_at: datetime | None = None
    fail_count: int = 0
    last_failed_at: datetime | None = None
    last_reason: str | None = None
    is_participant: bool = False
    is_scheduled: bool = False
    pause: str | None = None
    unclear_reason: str | None = None
    unclear_at: datetime | None = None
    read_at: datetime = FOREVER
    source: str | None = None
    picture_sha256: str | None = None
    picture_copied_at: datetime | None = None


def picture_expiry(url: str | None) -> datetime | None:
    """Return when a picture's URL expires: its `oe` parameter, hexadecimal Unix seconds."""
    try:
        oe = parse_qs(urlsplit(url or "").query).get("oe", [""])[0]
        return datetime.fromtimestamp(int(oe, 16), UTC) if _HEX.fullmatch(oe) else None
    except (ValueError, OverflowError, OSError):
        return None


def expires_at(cached: CachedIdentity, rules: Rules) -> datetime | None:
    """Return when the identity becomes stale; None if it was never fetched."""
    if cached.last_fetched_at is None:
        return None
    return cached.expires_at or cached.last_fetched_at + rules.ttl


def is_fresh(cached: CachedIdentity, now: datetime, rules: Rules) -> bool:
    """Return whether the identity was fetched and has not expired."""
    until = expires_at(cached, rules)
    return until is not None and now < until


def is_stopped(cached: CachedIdentity, rules: Rules) -> bool:
    """Return whether retries have ended after too many failures in a row."""
    return cached.fail_count >= rules.max_failures


def retry_wait(fail_count: int, rules: Rules) -> timedelta:
    """Return the wait after the `fail_count`-th failure in a row (1 or more)."""
    return rules.retry_waits[min(fail_count, len(rules.retry_waits)) - 1]


def may_be_tried(cached: CachedIdentity, now: datetime, rules: Rules) -> bool:
    """Return whether the user can be tried now: retries have not ended, and none is waiting."""
    if is_stopped(cached, rules):
        return False
    if cached.fail_count == 0 or cached.last_failed_at is None:
        return True
    return now >= cached.last_failed_at + retry_wait(cached.fail_count, rules)
