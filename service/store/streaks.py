"""Streaks: failures of several users in a row, which show whether Meta or the account is at fault.

Callers must hold `_STREAKS["lock"]`, except for `charge_suspect`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import asyncpg
import msgspec
import structlog

from service.logs import TAG
from service.model.calls import APP_SCOPE, GraphProblem, outage_scope
from service.model.freshness import Rules, retry_wait
from service.store.database import Database, Session
from service.store.outcomes import LOST, Claim, Settled
from service.store.pauses import write_pause
from service.store.queries import read_queries

OUTAGE_USERS = 5
UNCLEAR_USERS = 2
FAILING_ACCOUNTS = 2
NOW = timedelta()
_UNCHARGED = (0, None, None)
_STREAKS = read_queries("streaks")
_PAUSES = read_queries("pauses")
_SETTLING = read_queries("settling")


log = structlog.get_logger()


async def charge_upstream(
    connection: Session, claim: Claim, problem: GraphProblem, rules: Rules
) -> Settled:
    """Charge the user, and store the previous failure count in case this becomes an outage."""
    prior = await connection.fetchrow(_STREAKS["read_prior_failure"], claim.ig_user_id)
    charged = await connection.fetchrow(
        _SETTLING["settle_failed"],
        [claim.ig_user_id],
        [claim.ig_account_id],
        [claim.lease],
        [problem.as_json()],
        *(rules.max_failures, rules.retry_waits, False),
    )
    for scope in (APP_SCOPE, outage_scope(claim.ig_account_id)):
        await _add(connection, scope, claim, problem, prior.values() if prior else _UNCHARGED)
    return LOST if charged is None else Settled.failed(charged)


async def prolong_outage(connection: Session, claim: Claim) -> bool:
    """Extend the pause of an outage; false if the claim belongs to no outage."""
    for scope in (APP_SCOPE, claim.scope):
        if await connection.fetchval(_PAUSES["read_reason"], scope) == "outage":
            await write_pause(connection, scope, "outage", cause=claim)
            return True
    return False


async def end_in_outage(connection: Session, claim: Claim, problem: GraphProblem) -> bool:
    """After five users in a row: pause the app and refund their failures.

    If all five belong to one account while others are active, only that account is paused.
    """
    ours = outage_scope(claim.ig_account_id)
    [in_a_row] = await connection.fetch(_STREAKS["measure"], APP_SCOPE)
    [of_account] = await connection.fetch(_STREAKS["measure"], ours)
    if in_a_row["users"] >= OUTAGE_USERS and (
        in_a_row["accounts"] >= FAILING_ACCOUNTS
        or not await connection.fetchval(_STREAKS["is_other_account_active"], claim.ig_account_id)
    ):
        await write_pause(connection, APP_SCOPE, "outage", cause=claim)
        await _refund(connection, APP_SCOPE)
        await connection.execute(_STREAKS["forget_outages"])
        return True
    if of_account["users"] < OUTAGE_USERS:
        return False
    await write_pause(connection, claim.scope, "outage", cause=claim)
    await _refund(connection, ours)
    await connection.execute(_STREAKS["forget_account"], claim.ig_account_id, [APP_SCOPE])
    await _pause_app_if_accounts_agree(connection, claim, problem, "outage")
    return True


async def suspect(
    connection: Session, claim: Claim, problem: GraphProblem, rules: Rules
) -> timedelta:
    """Record an unclear failure until a second user's result shows the cause.

    Returns how long the user waits; zero once the account turns out to be at fault.
    """
    reason = problem.reason
    if await connection.fetchval(_PAUSES["read_reason"], APP_SCOPE) == reason:
        await write_pause(connection, APP_SCOPE, reason, cause=claim)
        return NOW
    is_pause_confirmed = await connection.fetchval(_PAUSES["read_reason"], claim.scope) == reason
    added = await _add(connection, claim.scope, claim, problem, _UNCHARGED)
    if not is_pause_confirmed and added["length"] < UNCLEAR_USERS:
        return retry_wait(added["tries"], rules)
    users = [
        ended["ig_user_id"] for ended in await connection.fetch(_STREAKS["end_streak"], claim.scope)
    ]
    await write_pause(connection, claim.scope, reason, cause=claim)
    await connection.execute(_STREAKS["make_due"], claim.ig_account_id, users)
    if reason == "bad_request":
        await _pause_app_if_accounts_agree(connection, claim, problem, reason)
    return NOW


async def charge_suspect(database: Database, row: asyncpg.Record, rules: Rules) -> None:
    """Charge a user for an unclear failure after another user's success."""
    found = msgspec.json.decode(row["error"], type=GraphProblem)
    problem = msgspec.structs.replace(found, reason="refused")
    charged = await database.fetch(
        _SETTLING["charge_suspect"],
        row["ig_user_id"],
        problem.as_json(),
        rules.max_failures,
        rules.retry_waits,
    )
    log.warning(
        f"{TAG} failed: Meta refuses this user's call and answers the account's others",
        ig_user_id=row["ig_user_id"],
        ig_account_id=row["ig_account_id"],
        outcome="failed",
        **problem.log_fields(),
        fail_count=charged[0]["fail_count"] if charged else None,
        next_attempt_at=charged[0]["next_attempt_at"] if charged else None,
    )


async def _pause_app_if_accounts_agree(
    connection: Session, claim: Claim, problem: GraphProblem, reason: str
) -> None:
    """Pause the app once two accounts are paused for a reason without a success in between."""
    scope = f"accounts:{reason}"
    await _add(connection, scope, claim, problem, _UNCHARGED)
    [paused] = await connection.fetch(_STREAKS["measure"], scope)
    if paused["accounts"] >= FAILING_ACCOUNTS:
        await write_pause(connection, APP_SCOPE, reason, cause=claim)


async def _add(
    connection: Session, scope: str, claim: Claim, problem: GraphProblem, prior: Iterable[object]
) -> asyncpg.Record:
    [row] = await connection.fetch(
        _STREAKS["add"],
        scope,
        claim.ig_user_id,
        claim.ig_account_id,
        problem.as_json(),
        *prior,
    )
    return row


async def _refund(connection: Session, scope: str) -> None:
    for charged in await connection.fetch(_STREAKS["end_streak"], scope):
        await connection.execute(_STREAKS["refund"], *charged.values())
