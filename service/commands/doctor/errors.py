"""Doctor's step 1: whether the service runs, what is paused, and failures of the last day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from service.commands.api import ApiError, OperatorApi, ServiceStatus, UnreachableError
from service.commands.doctor.findings import Finding, Severity
from service.reasons import reason_of, short_reason
from service.store.checkup import UserGroup
from service.wording import count, duration, printable

LONG_WAIT_S = 300.0
PASSING_PAUSES = frozenset({"throttled", "outage"})
_FULL_PACE = 0.999


async def check_service(api: OperatorApi) -> list[Finding]:
    """Read the state of the running service."""
    try:
        return _judge(await api.status(), api.url)
    except UnreachableError as error:
        return [Finding(1, "broken", error.text, error.advice)]
    except ApiError as error:
        return [Finding(1, "warning", f"The service runs, but did not say how it does: {error}")]


def _judge(status: ServiceStatus, url: str) -> list[Finding]:
    queue, budget = status.queue, status.budget
    facts = msgspec.to_builtins(status)
    text = (
        f"The service answers at {url}: {count(queue.depth, 'user')} in its queue, "
        f"{queue.in_flight} in flight, budget {budget.per_second:g} calls a second."
    )
    findings = [Finding(1, "ok", text, facts=facts)]
    if status.postgres != "ok":
        advice = "Bring PostgreSQL back; names and webhooks wait for it."
        findings.append(Finding(1, "broken", "The service can't reach PostgreSQL.", advice))
    if queue.oldest_seconds > LONG_WAIT_S:
        text = f"The oldest user in the queue has waited for {duration(queue.oldest_seconds)}."
        advice = "More users come than the budget allows: see GRAPH_CALLS_PER_SECOND and pauses."
        findings.append(Finding(1, "warning", text, advice))
    if budget.pace < _FULL_PACE:
        text = f"Meta's usage headers have slowed the calls to {budget.pace:.0%} of the budget."
        findings.append(Finding(1, "warning", text, "Wait: the pace recovers by itself."))
    return findings


def pause_severity(reason: str) -> Severity:
    """Rate a pause: a warning if it ends by itself, else broken."""
    return "warning" if reason in PASSING_PAUSES else "broken"


def check_recent_errors(groups: Sequence[UserGroup], looked_at: int) -> list[Finding]:
    """List the failures of the last 24 hours by reason, with the trace id of the latest."""
    recent = [group for group in groups if group.is_recent and group.reason is not None]
    if not recent:
        text = f"Nobody failed within 24 hours ({_looked_at(looked_at)})."
        return [Finding(1, "ok", text)]
    reasons = sorted({group.reason or "" for group in recent})
    return [_recent(name, [g for g in recent if g.reason == name]) for name in reasons]


def _recent(name: str, groups: Sequence[UserGroup]) -> Finding:
    reason = reason_of(name)
    users = sum(group.users for group in groups)
    latest = max(
        groups, key=lambda group: group.last_failed_at.timestamp() if group.last_failed_at else 0.0
    )
    trace = _trace(latest)
    text = f"{count(users, 'user')} failed within 24 hours with {short_reason(name)}." + (
        f" Latest at {latest.last_failed_at:%H:%M} UTC{trace}." if latest.last_failed_at else ""
    )
    severity: Severity = "note" if reason.is_normal else "warning"
    return Finding(1, severity, text, reason.advice, facts={"reason": name, "users": users})


def _trace(group: UserGroup) -> str:
    try:
        error: dict[str, Any] = msgspec.json.decode(group.last_error or "{}", type=dict)
    except (msgspec.DecodeError, RecursionError):
        return ""
    names = {"code": "code", "subcode": "subcode", "fbtrace_id": "trace"}
    parts = [f"{words} {error[key]}" for key, words in names.items() if error.get(key)]
    return printable(f" ({', '.join(parts)})") if parts else ""


def _looked_at(users: int) -> str:
    if users == 0:
        return "no participants are stored yet"
    return f"looked at the {count(users, 'user')} who wrote last"
