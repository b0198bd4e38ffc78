"""What a worker may be given, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from service.model import account_scope

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg


class Claim(msgspec.Struct, frozen=True):
    """The right to make one user's calls until the lease lapses; settling needs it.

    `fresh_source` is where the names come from that are still fresh, None without any; `is_recent`
    tells that the user's last message to the account is at most 30 days old.
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
        """The scope of a pause of the claim's account."""
        return account_scope(self.ig_account_id)


class Refusal(msgspec.Struct, frozen=True):
    """Why there was nothing to take: settled meanwhile, in flight elsewhere, or blocked."""

    verdict: str


class Settled(msgspec.Struct, frozen=True):
    """What a call came to in the tables.

    `outcome` is resolved, failed, paused (charged to nobody) or lost (erased, or claimed anew).
    """

    outcome: str
    fail_count: int | None = None
    next_attempt_at: datetime | None = None

    @classmethod
    def failed(cls, row: asyncpg.Record) -> Settled:
        """Read what a user was charged."""
        return cls("failed", row["fail_count"], row["next_attempt_at"])


ERASED = Refusal("erased")
IN_FLIGHT = Refusal("in_flight")
LOST = Settled("lost")
PAUSED = Settled("paused")
