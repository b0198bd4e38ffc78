"""The figures that the verdict is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from service.judgement.token_rules import TokenWarning

NO_REASON = "unknown"  # of a failure that was stored without one
MOST_HELD = 1000  # users behind a pause are counted so far


class Writers(msgspec.Struct, frozen=True, rename="camel"):
    """What became of those who wrote within the last hour.

    `waiting`: no name yet and no reason why; `late`: those of them who wrote over a minute ago.
    `nameless`: those without a name by reason. `codes`: Meta's code of each reason, `100/33`.
    """

    wrote: int = 0
    named: int = 0
    waiting: int = 0
    late: int = 0
    nameless: dict[str, int] = {}
    codes: dict[str, str] = {}

    @property
    def without_name(self) -> int:
        """How many have no name although Meta was asked, or may not be asked."""
        return sum(self.nameless.values())


class AccountWriters(Writers, frozen=True, rename="camel"):
    """The same of one account. `location_id` is null for an account that nobody connected."""

    ig_account_id: str = ""
    username: str | None = None
    location_id: str | None = None


class PauseFigure(msgspec.Struct, frozen=True):
    """What holds a scope's calls back, and how many users wait for it to end (up to 1,000)."""

    scope: str
    reason: str
    until: datetime | None
    held: int = 0
    username: str | None = None
    location_id: str | None = None


class Figures(msgspec.Struct, frozen=True):
    """Everything that is judged. `connected` is how many accounts are; None: not known."""

    everybody: Writers
    accounts: Sequence[AccountWriters] = ()
    pauses: Sequence[PauseFigure] = ()
    token_warnings: Sequence[TokenWarning] = ()
    connected: int | None = None
    is_postgres_up: bool = True
    is_broker_up: bool = True
    oldest_wait_s: float = 0.0
    queued: int = 0
    calls_per_second: float = 0.0
