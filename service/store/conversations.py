"""Names from conversations: the limits of conversation calls, and the usernames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec

from service.coalescer import Coalescer
from service.model.calls import GraphProblem
from service.model.freshness import Rules
from service.store.database import Database
from service.store.outcomes import LOST, Claim, Settled
from service.store.queries import read_queries

INTERVAL = timedelta(seconds=0.5)  # Meta allows 2 calls a second per account
BUSY = "busy"  # returned instead of a slot: all slots within reach are taken
MOST_AHEAD = timedelta(seconds=10)
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
FIRST_AND_LONGEST_PAUSE = {"throttled": (_MINUTE, _HOUR), "permission": (_HOUR, 6 * _HOUR)}
_OTHER_PAUSES = (_MINUTE, 6 * _HOUR)
_SQL = read_queries("conversations")


class Slot(msgspec.Struct, frozen=True):
    """The time of one conversation call of an account, `wait_s` from now."""

    wait_s: float
    was_paused: bool


class ConversationLimits:
    """Slots and pauses of conversation calls per account, shared by all replicas."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_slot(self, ig_account_id: str) -> Slot | str:
        """Take the account's next slot; if there is none, returns a pause's reason or `BUSY`."""
        rows = await self._database.fetch(_SQL["take_slot"], ig_account_id, INTERVAL, MOST_AHEAD)
        if rows:
            return Slot(rows[0]["wait_s"], rows[0]["was_paused"])
        paused = await self._database.fetch(_SQL["read_pause"], ig_account_id)
        return str(paused[0]["reason"]) if paused else BUSY

    async def pause(self, ig_account_id: str, reason: str, hold_s: float | None) -> None:
        """Pause conversation calls for the account for `hold_s`, else longer each time."""
        hold = None if hold_s is None else timedelta(seconds=hold_s)
        lengths = FIRST_AND_LONGEST_PAUSE.get(reason, _OTHER_PAUSES)
        await self._database.fetch(_SQL["pause"], ig_account_id, reason, hold, *lengths)

    async def forget_strikes(self, ig_account_id: str) -> None:
        """Reset the length of the next pause, after a call has succeeded."""
        await self._database.fetch(_SQL["forget_strikes"], ig_account_id)


class ConversationNames:
    """Stores usernames found in conversations."""

    def __init__(self, database: Database, rules: Rules) -> None:
        self._database = database
        self._rules = rules
        self._settlements = Coalescer(self._settle)

    async def settle(self, claim: Claim, username: str | None, refusal: GraphProblem) -> Settled:
        """Settle a claim with a username (None: keep the known one) and the profile's refusal."""
        return await self._settlements.submit((claim, username, refusal))

    async def add(self, usernames: Mapping[str, str]) -> int:
        """Name participants without a fresh name, whose profiles stay due; returns how many."""
        rows = await self._database.fetch(
            _SQL["import"], list(usernames), list(usernames.values()), self._rules.ttl
        )
        return len(rows)

    async def _settle(
        self, done: Sequence[tuple[Claim, str | None, GraphProblem]]
    ) -> list[Settled]:
        rows = await self._database.fetch(
            _SQL["settle"],
            [claim.ig_user_id for claim, _, _ in done],
            [claim.ig_account_id for claim, _, _ in done],
            [claim.lease for claim, _, _ in done],
            [username for _, username, _ in done],
            [refusal.as_json() for _, _, refusal in done],
            self._rules.ttl,
        )
        ours = {row["ig_user_id"] for row in rows}
        return [Settled("resolved") if c.ig_user_id in ours else LOST for c, _, _ in done]
