"""The figures that the verdict is based on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from service.judgement.token_rules import TokenWarning

NO_REASON = "unknown"  # the reason of a failure stored without one
MOST_HELD = 1000  # the count of users behind a pause stops here


class Writers(msgspec.Struct, frozen=True, rename="camel"):
    """The people who wrote within the last hour.

    `waiting`: no name and no failure yet; `late`: the waiting who wrote over a minute ago.
    `nameless`: people without a name, by reason. `codes`: Meta's code of each reason, as `100/33`.
    """

    wrote: int = 0
    named: int = 0
    waiting: int = 0
    late: int = 0
    nameless: dict[str, int] = {}
    codes: dict[str, str] = {}

    @property
    def without_name(self) -> int:
        """How many have no name although Meta was asked, or calls are paused."""
        return sum(self.nameless.values())


class AccountWriters(Writers, frozen=True, rename="camel"):
    """The same for one account. `location_id` is null if the account is not connected."""

    ig_account_id: str = ""
    username: str | None = None
    location_id: str | None = None


class PauseFigure(msgspec.Struct, frozen=True):
    """A pause, and how many users wait for its end (up to 1,000)."""

    scope: str
    reason: str
    until: datetime | None
    held: int = 0
    username: str | None = None
    location_id: str | None = None


class Figures(msgspec.Struct, frozen=True):
    """The input of the verdict. `connected` is the number of connections; None: unknown."""

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
