"""The verdict after a run: lost participants, repeated calls, and other faults."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from sandbox.graph.calls import BURST
from sandbox.graph.profiles import made_up_profile
from tests.system.chaos.lateness import Lateness
from tests.system.chaos.pictures import judge_pictures
from tests.system.chaos.rig import Rig
from tests.system.chaos.stream import Ledger, Participant

# The state of each acknowledged participant: its name, why it has none, or why it waits.
_STANDING = """
SELECT a.ig_account_id, a.ig_user_id, CASE
    WHEN p.ig_user_id IS NULL THEN 'missing'
    WHEN c.last_fetched_at IS NOT NULL AND c.source = 'conversation'
        THEN 'named by conversation'
    WHEN c.last_fetched_at IS NOT NULL AND c.raw->>'id' IS DISTINCT FROM a.ig_user_id
        THEN 'another''s name'
    WHEN c.last_fetched_at IS NOT NULL THEN 'named'
    WHEN c.last_error->>'reason' IS NOT NULL THEN 'reason recorded'
    WHEN EXISTS (SELECT FROM instagram_pauses x WHERE x.until > now()
        AND x.scope IN ('app', 'account:' || a.ig_account_id)) THEN 'paused'
    ELSE 'pending' END AS standing, c.username
FROM unnest($1::text[], $2::text[]) AS a (ig_account_id, ig_user_id)
LEFT JOIN instagram_participants p USING (ig_account_id, ig_user_id)
LEFT JOIN instagram_user_cache c ON c.ig_user_id = a.ig_user_id
"""
NAMED = ("named", "named by conversation")
GOOD = (*NAMED, "reason recorded")
_CATCHING_UP_S = 2.0
# asyncpg leaves a future behind after a cancelled connection attempt
_NOT_OURS = ("ConnectionError('unexpected connection_lost() call')",)


@dataclass
class Verdict:
    """The result of a run; `faults` are reasons to fail it.

    `repeated_after_s` has, for each repeated call, the time of the answer that was lost.
    """

    standings: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    repeated_after_s: list[float] = field(default_factory=list)
    over_budget: float = 0.0
    over_budget_at_s: float = 0.0
    lost: list[Participant] = field(default_factory=list)
    pictures: int = 0
    faults: list[str] = field(default_factory=list)


async def judge(
    rig: Rig,
    ledger: Ledger,
    *,
    budget: float,
    settle_s: float,
    jitter_s: float = 0.0,
    lateness: Lateness | None = None,
) -> Verdict:
    """Wait until all acknowledged users have a name or a reason, then judge the run.

    `jitter_s` is the allowed delay between a call and its observation; the measured waits of the
    callers and the observer for a processor are added.
    """
    verdict = Verdict()
    rows = await _settled(rig, ledger, settle_s)
    verdict.standings.update(row["standing"] for row in rows)
    verdict.lost = [
        (row["ig_account_id"], row["ig_user_id"])
        for row in rows
        if row["standing"] in ("missing", "pending", "another's name") or _is_misnamed(row)
    ]
    calls = await rig.all_graph_calls()
    verdict.calls = len(calls)
    verdict.repeated_after_s = _repeated(calls)
    excesses = (_excesses(times_s, budget) for times_s in _judgeable(rig, calls))
    late_s = lateness.worst_before if lateness else lambda _: 0.0
    verdict.over_budget, verdict.over_budget_at_s = max(
        (
            (over - budget * (jitter_s + late_s(at_s)), at_s)
            for at_s, over in itertools.chain(*excesses)
        ),
        default=(0.0, 0.0),
    )
    verdict.pictures, missing = await judge_pictures(rig)
    verdict.faults = [*_faults(verdict, ledger), *missing, *_fallen(rig), *complaints(rig)]
    return verdict


async def _settled(rig: Rig, ledger: Ledger, settle_s: float) -> list[Any]:
    deadline = time.monotonic() + settle_s
    accounts, users = (list(ids) for ids in zip(*ledger.acked, strict=True))
    while True:
        rows = await rig.fetch(_STANDING, accounts, users)
        is_settled = all(row["standing"] in GOOD for row in rows)
        if is_settled or time.monotonic() > deadline:
            return rows
        await asyncio.sleep(1)


def _is_misnamed(row: asyncpg.Record) -> bool:
    """Return whether a user has another user's name."""
    own = made_up_profile(row["ig_user_id"])["username"]
    return row["standing"] in NAMED and row["username"] != own


def _judgeable(rig: Rig, calls: Iterable[dict[str, Any]]) -> list[list[float]]:
    """Return the times of calls in periods whose windows can be judged.

    A call that waited for a frozen simulator was made earlier than its recorded time. After a step
    of the database's clock, the slots of a second can be taken twice, so no window spans it.
    """
    stretches: list[list[float]] = [[]]
    jumps = sorted(rig.clock_jumped_at)
    for call in calls:
        at_s = float(call["atS"])
        while jumps and at_s >= jumps[0]:
            jumps.pop(0)
            stretches.append([])
        if not _is_just_after(at_s, (*rig.graph_thawed_at, *rig.clock_jumped_at)):
            stretches[-1].append(at_s)
    return stretches


def _is_just_after(at_s: float, moments: Iterable[float]) -> bool:
    return any(moment <= at_s < moment + _CATCHING_UP_S for moment in moments)


def _excesses(times_s: Iterable[float], budget: float) -> Iterator[tuple[float, float]]:
    """Return each call's time, and the excess of the worst window that it ends."""
    most, start_s = -math.inf, None
    for index, at_s in enumerate(times_s):
        start_s = at_s if start_s is None else start_s
        offset = index - budget * (at_s - start_s)
        most = max(most, -offset)
        yield at_s, offset + most + 1 - BURST


def _repeated(calls: Iterable[dict[str, Any]]) -> list[float]:
    """Return, for each call about a user whose name was already sent, when that was.

    Conversation calls are for users who withhold their profiles, after a refused profile call.
    """
    named: dict[str, float] = {}
    repeated = []
    for call in calls:
        if call["answer"] in ("profile", "conversations"):
            user, at_s = call["igUserId"], float(call["atS"])
            if user in named:
                repeated.append(named[user])
            named[user] = at_s
    return repeated


def _faults(verdict: Verdict, ledger: Ledger) -> list[str]:
    faults = [f"answered {answer}: {n} times" for answer, n in ledger.wrong_answers().items()]
    if verdict.lost:
        faults.append(f"{len(verdict.lost)} acknowledged participants lost: {verdict.lost[:5]}")
    if ledger.waiting:
        faults.append(f"{ledger.waiting} deliveries were never acknowledged")
    if verdict.over_budget > 0:
        faults.append(f"{verdict.over_budget:.2f} calls over the budget")
    return faults


def _fallen(rig: Rig) -> list[str]:
    return [f"the service at {s.port} fell over" for s in rig.services if s.has_fallen]


def complaints(rig: Rig) -> list[str]:
    """Return a service's own faults: standard error, failed handlers and dead tasks."""
    said = []
    for service in rig.services:
        if text := service.errors.read_text():
            said.append(f"standard error of {service.port}: {text[-500:]}")
        said += [f"{service.port} logged {line}" for line in _own_mistakes(service.log)]
    return said


def _own_mistakes(log: Path) -> list[str]:
    """Return the log events with a traceback, with their numbers."""
    mistakes: Counter[str] = Counter()
    with log.open() as lines:
        for line in lines:
            is_mistake = '"exception"' in line or '"traceback"' in line
            if (
                is_mistake
                and '"level": "error"' in line
                and not any(known in line for known in _NOT_OURS)
            ):
                mistakes[_event(line)] += 1
    return [f"{event!r} {count} times" for event, count in mistakes.items()]


def _event(line: str) -> str:
    try:
        return str(json.loads(line)["event"])[:200]
    except (ValueError, KeyError):
        return line[:200]  # the last line of a killed process
