"""Failures of several users in a row, which tell whose they are: Graph's, the account's or theirs.

Whoever calls these holds `sql.LOCK_STREAKS`, but for charging a suspect.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import structlog

from service.logs import TAG
from service.model import APP_SCOPE, GraphProblem, retry_wait
from service.store import sql
from service.store.outcomes import LOST, Settled
from service.store.pauses import write_pause

if TYPE_CHECKING:
    import asyncpg

    from service.model import Rules
    from service.store.database import Database, Session
    from service.store.outcomes import Claim

OUTAGE_USERS = 5
PERMISSION_USERS = 2
NOW = timedelta()

log = structlog.get_logger()


async def charge_upstream(
    connection: Session, claim: Claim, problem: GraphProblem, rules: Rules
) -> Settled:
    """Charge the user, and keep what it was charged before, in case this becomes an outage."""
    prior = await connection.fetchrow(sql.PRIOR_FAILURE, claim.ig_user_id)
    charged = await connection.fetchrow(
        sql.SETTLE_UPSTREAM,
        [claim.ig_user_id],
        [claim.ig_account_id],
        [claim.lease],
        [problem.as_json()],
        rules.max_failures,
        rules.retry_waits,
    )
    await connection.execute(
        sql.ADD_TO_STREAK,
        APP_SCOPE,
        claim.ig_user_id,
        problem.as_json(),
        *(prior.values() if prior else (0, None, None)),
    )
    return LOST if charged is None else Settled.failed(charged)


async def end_in_outage(connection: Session) -> bool:
    """Once five users have failed in a row: pause the app and give them their failure back."""
    if await connection.fetchval(sql.STREAK_LENGTH, APP_SCOPE) < OUTAGE_USERS:
        return False
    await write_pause(connection, APP_SCOPE, "outage")
    for charged in await connection.fetch(sql.END_STREAK, APP_SCOPE):
        await connection.execute(sql.REFUND, *charged.values())
    return True


async def suspect(
    connection: Session, claim: Claim, problem: GraphProblem, rules: Rules
) -> timedelta:
    """Keep a missing permission in mind until a second user shows whose it is.

    Gives how long the user is to wait; when the account's turns out to lack it, nobody does.
    """
    is_believed = await connection.fetchval(sql.PAUSE_ROW, claim.scope) == "permission"
    charge = msgspec.structs.replace(problem, reason="upstream_error").as_json()
    added = (claim.scope, claim.ig_user_id, charge, 0, None, None)
    [row] = await connection.fetch(sql.ADD_TO_STREAK, *added)
    if not is_believed and row["length"] < PERMISSION_USERS:
        return retry_wait(row["tries"], rules)
    users = [ended["ig_user_id"] for ended in await connection.fetch(sql.END_STREAK, claim.scope)]
    await write_pause(connection, claim.scope, "permission")
    await connection.execute(sql.DUE_NOW, claim.ig_account_id, users)
    return NOW


async def charge_suspect(database: Database, row: asyncpg.Record, rules: Rules) -> None:
    """Charge a user whose missing permission was its own, as another user's answer shows."""
    problem = msgspec.json.decode(row["error"], type=GraphProblem)
    charged = await database.fetch(
        sql.CHARGE_SUSPECT, row["ig_user_id"], row["error"], rules.max_failures, rules.retry_waits
    )
    log.warning(
        f"{TAG} failed: the account has the permission, this user's call lacks it",
        ig_user_id=row["ig_user_id"],
        ig_account_id=row["ig_account_id"],
        outcome="failed",
        reason=problem.reason,
        code=problem.code,
        subcode=problem.subcode,
        fbtrace_id=problem.fbtrace_id,
        fail_count=charged[0]["fail_count"] if charged else None,
        next_attempt_at=charged[0]["next_attempt_at"] if charged else None,
    )
