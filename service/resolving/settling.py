"""Stores the outcome of a call in the tables, and logs it for operators."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import structlog

from service.errors import (
    AccountFault,
    AppFault,
    GraphError,
    UnavailableError,
    UnclearFault,
    UnstorableError,
    UserFault,
)
from service.logs import TAG
from service.model.calls import APP_SCOPE, GraphProblem, Profile
from service.queue import Hint
from service.store.claims import Claims
from service.store.conversations import ConversationNames
from service.store.outcomes import Claim, Settled

TRIES_S = (0.0, 0.2, 0.5, 1.0, 2.0)
UNSTORABLE_WAIT = timedelta(hours=1)

ABANDONED = Settled("abandoned")  # fetched but not stored: the user becomes due again
_LEVELS = {
    "bad_request": "error",
    "policy_block": "error",
    "token_invalid": "error",
    "token_unreadable": "error",
    "budget": "info",
    "stopping": "info",
}

log = structlog.get_logger()


class Settling:
    """Settles claims; retries while PostgreSQL is briefly unavailable, then lets them lapse."""

    def __init__(self, claims: Claims, names: ConversationNames) -> None:
        self._claims = claims
        self._names = names

    async def resolve(self, claim: Claim, profile: Profile) -> Settled:
        """Store a profile; if PostgreSQL refuses it, charge the user a failure."""
        return await self._guarded(claim, partial(self._claims.resolve, claim, profile))

    async def name(self, claim: Claim, username: str | None, refusal: GraphProblem) -> Settled:
        """Store a conversation's username (None: keep the known one) and the profile's refusal."""
        return await self._guarded(claim, partial(self._names.settle, claim, username, refusal))

    async def blame(self, claim: Claim, error: GraphError) -> Settled:
        """Attribute a failure to the user, to nobody, to the account or to the app."""
        return await self._guarded(claim, partial(self._charge, claim, error))

    async def release(self, claim: Claim) -> Settled:
        """Release a claim whose call is not made."""
        return await self._guarded(claim, partial(self._claims.release, claim))

    async def _charge(self, claim: Claim, error: GraphError) -> Settled:
        match error:
            case UserFault():
                return await self._claims.fail(claim, error.problem)
            case UnclearFault():
                return await self._claims.suspect(claim, error.problem)
            case AppFault(problem=GraphProblem(reason=reason), hold_s=hold_s):
                return await self._claims.pause(claim, APP_SCOPE, reason, hold_s)
            case AccountFault(problem=GraphProblem(reason="token_unreadable")):
                return await self._claims.pause(claim, claim.scope, "token_invalid", None)
            case AccountFault(problem=GraphProblem(reason="token_invalid")):
                return await self._claims.invalidate_token(claim)
            case AccountFault(problem=GraphProblem(reason=reason), hold_s=hold_s):
                return await self._claims.pause(claim, claim.scope, reason, hold_s)
            case _:
                return await self._claims.fail_upstream(claim, error.problem)

    async def _guarded(self, claim: Claim, settle: Callable[[], Awaitable[Settled]]) -> Settled:
        """Settle; if PostgreSQL refuses the values, charge the user a failure."""
        unstorable = GraphProblem("upstream_error", message="the answer can't be stored")
        for attempt in (
            settle,
            partial(self._claims.fail, claim, unstorable),
            partial(self._claims.release, claim, UNSTORABLE_WAIT),
        ):
            try:
                return await _with_retries(attempt)
            except UnstorableError as error:
                log.error(
                    f"{TAG} the answer can't be stored",
                    ig_user_id=claim.ig_user_id,
                    ig_account_id=claim.ig_account_id,
                    error=str(error),
                )
        return ABANDONED


async def _with_retries(settle: Callable[[], Awaitable[Settled]]) -> Settled:
    for wait_s in TRIES_S:
        await asyncio.sleep(wait_s)
        try:
            return await settle()
        except UnavailableError as error:
            log.warning("not settled yet", error=str(error))
    return ABANDONED


def report(
    user: Claim | Hint,
    settled: Settled,
    problem: GraphProblem | None,
    started_at: float,
    source: str | None = None,
) -> None:
    """Log the outcome of a user."""
    fields: dict[str, object] = {
        "ig_user_id": user.ig_user_id,
        "ig_account_id": user.ig_account_id,
        "outcome": settled.outcome,
        "duration_ms": round((time.monotonic() - started_at) * 1000, 1),
    }
    if source is not None:
        fields["source"] = source
    if problem is not None:
        fields |= problem.log_fields() | {
            "fail_count": settled.fail_count,
            "next_attempt_at": settled.next_attempt_at,
        }
    getattr(log, _level(settled, problem))(f"{TAG} {settled.outcome}", **fields)


def _level(settled: Settled, problem: GraphProblem | None) -> str:
    if settled is ABANDONED:
        return "error"
    if problem is None:
        return "info"
    if problem.reason == "bad_request" and settled.next_attempt_at is not None:
        return "warning"  # one user alone does not show whose fault it is
    return _LEVELS.get(problem.reason, "warning")
