"""Claims users for a call and settles the outcome; a user has one call in flight at a time."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import msgspec
import structlog

from service.coalescer import Coalescer
from service.errors import UnstorableError
from service.model.calls import GraphProblem, Profile
from service.model.freshness import Rules, picture_expiry
from service.store.connections import mark_token_dead
from service.store.database import Database, Session
from service.store.outcomes import ERASED, IN_FLIGHT, LOST, PAUSED, STALE, Claim, Refusal, Settled
from service.store.pauses import write_pause
from service.store.queries import read_queries
from service.store.streaks import (
    NOW,
    charge_suspect,
    charge_upstream,
    end_in_outage,
    prolong_outage,
    suspect,
)

_SQL = read_queries("connections")
_PAUSES = read_queries("pauses")
_STREAKS = read_queries("streaks")
_CLAIMING = read_queries("claiming")
_SETTLING = read_queries("settling")
_TRIES_IF_STALE = 10  # then the sweeper finds the user, who is still due
_Judged = dict[tuple[str, str], Claim | Refusal]

log = structlog.get_logger()


class Claims:
    """Claims and settles users, each in one statement or transaction."""

    def __init__(self, database: Database, rules: Rules, lease: timedelta) -> None:
        self._database = database
        self._rules = rules
        self._lease = lease
        self._takes = Coalescer(self._take)
        self._resolutions = Coalescer(self._resolve)
        self._failures = Coalescer(self._fail)

    async def take(self, ig_account_id: str, ig_user_id: str) -> Claim | Refusal:
        """Claim a user who is due, unless another worker or replica has claimed the user."""
        return await self._takes.submit((ig_account_id, ig_user_id))

    async def resolve(self, claim: Claim, profile: Profile) -> Settled:
        """Store a profile, replacing the previous one; ends streaks and expired pauses."""
        return await self._resolutions.submit((claim, profile))

    async def fail(self, claim: Claim, problem: GraphProblem) -> Settled:
        """Charge the user a failure; stored values stay."""
        return await self._failures.submit((claim, problem))

    async def release(self, claim: Claim, wait: timedelta = NOW) -> Settled:
        """Release a claim; the user is due again after the wait."""
        await self._database.fetch(_CLAIMING["release"], *_release_of(claim, wait))
        return PAUSED

    async def renew(self, claim: Claim, lasts: timedelta) -> bool:
        """Extend a claim; false if it was lost."""
        return bool(
            await self._database.fetch(_CLAIMING["renew"], claim.ig_user_id, claim.lease, lasts)
        )

    async def fail_upstream(self, claim: Claim, problem: GraphProblem) -> Settled:
        """Charge the user, unless this is an outage: the fifth user in a row, or one has begun.

        An outage pauses the app or one account, and refunds the failures of the five users.
        """
        async with self._database.transaction() as connection:
            if not await _hold(connection, claim):
                return LOST
            if await prolong_outage(connection, claim):
                return await _release(connection, claim)
            settled = await charge_upstream(connection, claim, problem, self._rules)
            return PAUSED if await end_in_outage(connection, claim, problem) else settled

    async def suspect(self, claim: Claim, problem: GraphProblem) -> Settled:
        """Record a failure of unclear cause without charging anyone yet.

        Two different users of an account in a row pause the account, two accounts the app.
        """
        async with self._database.transaction() as connection:
            if not await _hold(connection, claim):
                return LOST
            if not await connection.fetchval(
                _SQL["is_token_current"], claim.ig_account_id, claim.sealed_token
            ):
                return await _release(connection, claim)
            wait = await suspect(connection, claim, problem, self._rules)
            released = await _release(connection, claim, wait)
            if wait == NOW:
                return released
            due_at = await connection.fetchval(
                _CLAIMING["read_due"], claim.ig_account_id, claim.ig_user_id
            )
            return msgspec.structs.replace(released, next_attempt_at=due_at)

    async def invalidate_token(self, claim: Claim) -> Settled:
        """Mark the token as dead and pause its account until the token is replaced."""
        async with self._database.transaction() as connection:
            if not await _hold(connection, claim):
                return LOST
            if await mark_token_dead(connection, claim.ig_account_id, claim.sealed_token):
                await connection.execute(
                    _PAUSES["pause_until_changed"], claim.scope, "token_invalid"
                )
            return await _release(connection, claim)

    async def pause(self, claim: Claim, scope: str, reason: str, hold_s: float | None) -> Settled:
        """Pause a scope for `hold_s`, else longer each time; does not charge the user."""
        async with self._database.transaction() as connection:
            await write_pause(connection, scope, reason, hold_s, cause=claim)
            return await _release(connection, claim)

    async def _take(self, wanted: Sequence[tuple[str, str]]) -> list[Claim | Refusal]:
        lease = secrets.randbits(63)
        judged = await self._judge(wanted, lease)
        for _ in range(_TRIES_IF_STALE):
            stale = [key for key, verdict in judged.items() if verdict == STALE]
            if not stale:
                break
            judged |= dict.fromkeys(stale, ERASED) | await self._judge(stale, lease)
        return [_hand_out(judged, key) for key in wanted]

    async def _judge(self, wanted: Sequence[tuple[str, str]], lease: int) -> _Judged:
        rows = await self._database.fetch(
            _CLAIMING["claim"],
            [account for account, _ in wanted],
            [user for _, user in wanted],
            lease,
            self._lease,
            self._rules.ttl,
            self._rules.max_failures,
        )
        return {(row["ig_account_id"], row["ig_user_id"]): _claim(row, lease) for row in rows}

    async def _resolve(self, done: Sequence[tuple[Claim, Profile]]) -> list[Settled]:
        rows = await self._database.fetch(
            _SETTLING["settle_resolved"],
            *_claim_columns([claim for claim, _ in done]),
            [profile.username for _, profile in done],
            [profile.name for _, profile in done],
            [profile.profile_pic_url for _, profile in done],
            [profile.raw for _, profile in done],
            [picture_expiry(profile.profile_pic_url) for _, profile in done],
            self._rules.ttl,
        )
        ours = {row["ig_user_id"] for row in rows if row["kind"] == "settled"}
        for row in rows:
            if row["kind"] == "suspect":
                await self._charge_suspect(row)
        return [Settled("resolved") if claim.ig_user_id in ours else LOST for claim, _ in done]

    async def _fail(self, done: Sequence[tuple[Claim, GraphProblem]]) -> list[Settled]:
        rows = await self._database.fetch(
            _SETTLING["settle_failed"],
            *_claim_columns([claim for claim, _ in done]),
            [problem.as_json() for _, problem in done],
            *(self._rules.max_failures, self._rules.retry_waits, True),
        )
        ours = {row["ig_user_id"]: Settled.failed(row) for row in rows}
        return [ours.get(claim.ig_user_id, LOST) for claim, _ in done]

    async def _charge_suspect(self, row: asyncpg.Record) -> None:
        try:
            await charge_suspect(self._database, row, self._rules)
        except UnstorableError as error:
            log.error("a failure can't be stored", ig_user_id=row["ig_user_id"], error=str(error))


def _claim(row: asyncpg.Record, lease: int) -> Claim | Refusal:
    if row["verdict"] != "taken":
        return Refusal(row["verdict"])
    return Claim(
        ig_account_id=row["ig_account_id"],
        ig_user_id=row["ig_user_id"],
        lease=lease,
        sealed_token=row["access_token"],
        login=row["login"],
        fresh_source=row["fresh_source"],
        is_recent=row["is_recent"],
    )


def _hand_out(
    judged: dict[tuple[str, str], Claim | Refusal], key: tuple[str, str]
) -> Claim | Refusal:
    """Return the claim to the first caller of a batch; for the others the user is in flight."""
    verdict = judged.get(key, ERASED)
    if isinstance(verdict, Claim):
        judged[key] = IN_FLIGHT
    return verdict


def _claim_columns(claims: Sequence[Claim]) -> tuple[list[str], list[str], list[int]]:
    return (
        [claim.ig_user_id for claim in claims],
        [claim.ig_account_id for claim in claims],
        [claim.lease for claim in claims],
    )


def _release_of(claim: Claim, wait: timedelta) -> tuple[str, int, timedelta, str]:
    return claim.ig_user_id, claim.lease, wait, claim.ig_account_id


async def _hold(connection: Session, claim: Claim) -> bool:
    """Lock the streaks and the claim's row; false if the claim was lost."""
    await connection.execute(_STREAKS["lock"])
    return bool(await connection.fetchval(_STREAKS["lock_lease"], claim.ig_user_id, claim.lease))


async def _release(connection: Session, claim: Claim, wait: timedelta = NOW) -> Settled:
    await connection.execute(_CLAIMING["release"], *_release_of(claim, wait))
    return PAUSED
