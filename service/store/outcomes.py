"""Claims, and the outcomes of settling them."""

from __future__ import annotations

from datetime import datetime

import asyncpg
import msgspec

from service.model.calls import account_scope


class Claim(msgspec.Struct, frozen=True):
    """The exclusive right to make a user's calls and settle them, until the lease lapses.

    `fresh_source` is the source of the names that are still fresh, None without any. `is_recent`:
    the user's last message to the account is at most 30 days old.
    """

    ig_account_id: str
    ig_user_id: str
    lease: int
    sealed_token: str
    login: str
    fresh_source: str | None = None
    is_recent: bool = True

    @property
    def scope(self) -> str:
        """The scope of the account's pauses."""
        return account_scope(self.ig_account_id)


class Refusal(msgspec.Struct, frozen=True):
    """Why a user was not claimed: already settled, in flight elsewhere, blocked, or changing."""

    verdict: str


class Settled(msgspec.Struct, frozen=True):
    """The stored outcome of a claim.

    `outcome` is resolved, failed, paused (not charged) or lost (erased, or claimed again).
    """

    outcome: str
    fail_count: int | None = None
    next_attempt_at: datetime | None = None

    @classmethod
    def failed(cls, row: asyncpg.Record) -> Settled:
        """Convert the row of a charged failure."""
        return cls("failed", row["fail_count"], row["next_attempt_at"])


ERASED = Refusal("erased")
IN_FLIGHT = Refusal("in_flight")
STALE = Refusal("stale")
LOST = Settled("lost")
PAUSED = Settled("paused")
