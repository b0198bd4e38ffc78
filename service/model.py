"""Participants, identities and freshness: pure rules over values and a clock."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

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
PictureMode = Literal["copy", "link", "off"]
Source = Literal["profile", "conversation"]
State = Literal["resolved", "pending", "failed", "unknown"]
Login = Literal["facebook", "instagram"]

API_PREFIX = "/api/social/instagram"
APP_SCOPE = "app"
CONSENT_RETRY_AFTER = timedelta(minutes=10)
EARLIEST_PICTURE_EXPIRY = timedelta(hours=1)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
FOREVER = datetime.max.replace(tzinfo=UTC)
RETRY_WAITS = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=6),
)
LONGEST_NAME = 200
LONGEST_ADDRESS = 4096
_SECONDS_BELOW = 100_000_000_000  # a time below 1e11 is in seconds, above in milliseconds
_TIMES = (int, float, str)
_LONGEST_ID = 32
_FILLERS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")  # letters of no shape
_HEX = re.compile(r"[0-9a-fA-F]{1,12}", re.ASCII)


class Rules(msgspec.Struct, frozen=True):
    """How long an identity is fresh, how often a failing user is tried, and what pictures show.

    `picture_origins` are those that PICTURE_HOSTS names whole: they need no https.
    """

    ttl: timedelta = timedelta(days=7)
    max_failures: int = 5
    retry_waits: tuple[timedelta, ...] = RETRY_WAITS
    pictures: PictureMode = "copy"
    picture_origins: tuple[str, ...] = ()


class Contact(msgspec.Struct, frozen=True):
    """What one delivery says of one participant.

    `wrote` tells that the user acted (a message, a tap), which is what gives Meta's consent;
    an echo of the business's own message does not.
    """

    ig_account_id: str
    ig_user_id: str
    first_at: datetime
    last_at: datetime
    wrote: bool

    @property
    def key(self) -> tuple[str, str]:
        """The participant."""
        return self.ig_account_id, self.ig_user_id

    def merge(self, other: Contact) -> Contact:
        """Join two contacts of the same participant into one."""
        return Contact(
            ig_account_id=self.ig_account_id,
            ig_user_id=self.ig_user_id,
            first_at=min(self.first_at, other.first_at),
            last_at=max(self.last_at, other.last_at),
            wrote=self.wrote or other.wrote,
        )


def merge_contacts(contacts: Iterable[Contact]) -> list[Contact]:
    """Join the contacts of each participant into one, in the order of their first."""
    merged: dict[tuple[str, str], Contact] = {}
    for contact in contacts:
        known = merged.get(contact.key)
        merged[contact.key] = contact if known is None else known.merge(contact)
    return list(merged.values())


class Profile(msgspec.Struct, frozen=True):
    """A profile as the Graph API gave it; `raw` is the whole answer as storable JSON text."""

    username: str | None
    name: str | None
    profile_pic_url: str | None
    raw: str


class GraphProblem(msgspec.Struct, frozen=True, omit_defaults=False):
    """What is known of a failed call; the shape of the `last_error` column."""

    reason: str
    code: int | None = None
    subcode: int | None = None
    message: str | None = None
    fbtrace_id: str | None = None

    def as_json(self) -> str:
        """Write it as the column takes it."""
        return msgspec.json.encode(self).decode()


class Trial(msgspec.Struct, frozen=True):
    """Whether Meta has accepted a token, and the account's username where Meta named it."""

    is_accepted: bool
    username: str | None = None


UNTRIED = Trial(is_accepted=False)


class CachedIdentity(msgspec.Struct, frozen=True):
    """What the tables know of a user at one moment of the database's clock.

    `pause` is why no account of the user's may be called now, null if one may. `doubt` is the
    reason of a failure, at `doubted_at`, that is not certain to be the user's. The picture is the
    stored copy's SHA-256 in hex, and when it was last found to be the current one.
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
    doubt: str | None = None
    doubted_at: datetime | None = None
    read_at: datetime = FOREVER
    source: str | None = None
    picture_sha256: str | None = None
    picture_copied_at: datetime | None = None


class Identity(msgspec.Struct, frozen=True, rename="camel"):
    """A user as the Inbox sees it."""

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


def ig_id(value: object) -> str | None:
    """An id as its digits, or None: 1–32 ASCII digits, or a JSON integer that has them."""
    if isinstance(value, str):
        is_id = len(value) <= _LONGEST_ID and value.isascii() and value.isdigit()
        return value if is_id else None
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return str(value) if 0 <= value < 10**_LONGEST_ID else None


def event_time(value: object, received_at: datetime) -> datetime:
    """The time that a webhook gives, as UTC; unreadable or later than its receipt: the receipt.

    Meta sends 13-digit milliseconds, 10-digit seconds, and strings of either.
    """
    if isinstance(value, bool) or not isinstance(value, _TIMES):
        return received_at
    try:
        number = int(value)
        seconds = number if number < _SECONDS_BELOW else number / 1000
        said_at = datetime.fromtimestamp(seconds, UTC) if number > 0 else received_at
    except (ValueError, OverflowError, OSError):
        return received_at
    return min(said_at, received_at)


def bound_time(moment: datetime, now: datetime) -> datetime:
    """Bring a time between 1970 and now; raises ValueError where it names no time zone.

    Neither what is stored nor what is computed from it can then leave Python's calendar.
    """
    if moment.tzinfo is None:
        raise ValueError("a time has no time zone")
    return min(max(moment, EARLIEST), now)


def is_blank(text: str | None) -> bool:
    """Tell whether nothing of the text can be seen (null, spaces, zero-width characters)."""
    return not text or not any(map(_is_visible, text))


def _is_visible(character: str) -> bool:
    return (
        character.isprintable()
        and not character.isspace()
        and character not in _FILLERS
        and unicodedata.category(character) != "Mn"  # a mark, with nothing to stand on
    )


def has_name(username: str | None, name: str | None) -> bool:
    """Tell whether a username or a name can be shown."""
    return not is_blank(username) or not is_blank(name)


def bounded_name(name: str | None) -> str | None:
    """Cut a name that is far longer than Instagram allows (64 characters, a username 30)."""
    return name if name is None or len(name) <= LONGEST_NAME else name[:LONGEST_NAME]


def web_address(url: str | None, origins: tuple[str, ...] = ()) -> str | None:
    """Give an https address back, or one on an origin that is named whole; None for anything else.

    So `javascript:` and what is too long for an address go nowhere.
    """
    if url is None or len(url) > LONGEST_ADDRESS or not url.isprintable():
        return None
    is_allowed = url[:8].lower() == "https://" or url.startswith(tuple(f"{o}/" for o in origins))
    return url if is_allowed else None


def display_name(ig_user_id: str, username: str | None, name: str | None) -> str:
    """`@username`, else the name, else `@user_` and the last six digits of the id."""
    if username and not is_blank(username):
        return f"@{username}"
    if name and not is_blank(name):
        return name
    return f"@user_{ig_user_id[-6:]}"


def picture_expiry(url: str | None) -> datetime | None:
    """When a profile picture's URL stops working: its `oe` parameter, hex Unix seconds."""
    try:
        oe = parse_qs(urlsplit(url or "").query).get("oe", [""])[0]
        return datetime.fromtimestamp(int(oe, 16), UTC) if _HEX.fullmatch(oe) else None
    except (ValueError, OverflowError, OSError):
        return None


def expiry(fetched_at: datetime, picture_expires_at: datetime | None, ttl: timedelta) -> datetime:
    """When an identity becomes stale: after its TTL, or with its picture if that is sooner.

    A picture that expires less than an hour after the fetch is not counted.
    """
    by_ttl = fetched_at + ttl
    if picture_expires_at is None or picture_expires_at < fetched_at + EARLIEST_PICTURE_EXPIRY:
        return by_ttl
    return min(by_ttl, picture_expires_at)


def expires_at(cached: CachedIdentity, rules: Rules) -> datetime | None:
    """When the identity becomes stale; None if it was never fetched."""
    if cached.last_fetched_at is None:
        return None
    return cached.expires_at or cached.last_fetched_at + rules.ttl


def is_fresh(cached: CachedIdentity, now: datetime, rules: Rules) -> bool:
    """Tell whether the identity was fetched and has not expired."""
    until = expires_at(cached, rules)
    return until is not None and now < until


def is_stopped(cached: CachedIdentity, rules: Rules) -> bool:
    """Tell whether the user has failed so often in a row that retries have ended."""
    return cached.fail_count >= rules.max_failures


def retry_wait(fail_count: int, rules: Rules) -> timedelta:
    """How long a user waits after the `fail_count`-th failure in a row (1 or more)."""
    return rules.retry_waits[min(fail_count, len(rules.retry_waits)) - 1]


def may_be_tried(cached: CachedIdentity, now: datetime, rules: Rules) -> bool:
    """Tell whether failures leave room for another try now: retries go on, and none waits."""
    if is_stopped(cached, rules):
        return False
    if cached.fail_count == 0 or cached.last_failed_at is None:
        return True
    return now >= cached.last_failed_at + retry_wait(cached.fail_count, rules)


def next_fetch(
    cached: CachedIdentity, now: datetime, rules: Rules, *, wrote: bool
) -> datetime | None:
    """When the user is to be fetched; None if not at all (fresh, or stopped).

    A user whose last failure is missing consent and who then writes is tried at once, but no
    sooner than 10 minutes after the last try.
    """
    if is_fresh(cached, now, rules):
        return None
    if cached.fail_count == 0 or (cached.last_failed_at is None and not is_stopped(cached, rules)):
        return now
    regular = None if is_stopped(cached, rules) else _retry_at(cached, rules)
    if not wrote or cached.last_reason != "consent_required":
        return regular
    consented = now
    if cached.last_failed_at is not None:
        consented = max(now, cached.last_failed_at + CONSENT_RETRY_AFTER)
    return consented if regular is None else min(consented, regular)


def _retry_at(cached: CachedIdentity, rules: Rules) -> datetime | None:
    failed_at = cached.last_failed_at
    return None if failed_at is None else failed_at + retry_wait(cached.fail_count, rules)


def state(cached: CachedIdentity, rules: Rules) -> State:
    """What has become of the user so far."""
    if cached.last_fetched_at is not None:
        return "resolved"
    if is_stopped(cached, rules):
        return "failed"
    return "pending" if cached.is_participant else "unknown"


def why_not_fresh(cached: CachedIdentity, now: datetime, rules: Rules) -> str | None:
    """Why there is no fresh identity: what blocks the next try, else the last failure.

    A fresh identity from a conversation says why Meta refused the profile, and so the picture.
    The last failure may be one that is not certain yet to be the user's.
    """
    if is_fresh(cached, now, rules):
        return cached.last_reason if cached.source == "conversation" else None
    if cached.pause is not None and not is_stopped(cached, rules):
        return cached.pause
    return cached.doubt or cached.last_reason


def identity(cached: CachedIdentity, now: datetime, rules: Rules) -> Identity:
    """The Inbox's view of what the tables know."""
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
        source=(cached.source or "profile") if is_named else None,  # older rows name no source
        is_placeholder=not is_named,
        picture_url=picture_path(cached, now, rules),
    )


def picture_path(cached: CachedIdentity, now: datetime, rules: Rules) -> str | None:
    """Our own address of a user's picture, whose `v` changes with the bytes; None without one."""
    path = f"{API_PREFIX}/users/{cached.ig_user_id}/picture"
    if rules.pictures == "copy":
        return f"{path}?v={cached.picture_sha256[:8]}" if cached.picture_sha256 else None
    if rules.pictures == "off" or not cached.profile_pic_url:
        return None
    expires_at = picture_expiry(cached.profile_pic_url)
    return path if expires_at is None or now < expires_at else None


def account_scope(ig_account_id: str) -> str:
    """The scope of a pause that holds one account."""
    return f"account:{ig_account_id}"


def outage_scope(ig_account_id: str) -> str:
    """The scope of one account's users in a row that failed upstream."""
    return f"outage:{ig_account_id}"
