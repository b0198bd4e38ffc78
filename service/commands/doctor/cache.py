"""Doctor's steps 3 and 4: the users by state, and the effect of a backfill."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.commands.doctor.findings import Finding, Severity
from service.reasons import reason_of, short_reason
from service.store.checkup import UserGroup
from service.wording import count, duration, printable, shell_word

UNUSUAL_SHARE, UNUSUAL_FROM = 0.5, 20
MOST_COUNTED = 10_000


def check_cache(
    groups: Sequence[UserGroup], location_id: str | None, *, is_app_paused: bool
) -> list[Finding]:
    """Report how many users have a name, and why the others have none."""
    users = sum(group.users for group in groups)
    if not users:
        advice = (
            "On a new installation, import who has written before: python -m service participants "
            f"import --from-meta --location {_named(location_id)} --days 7"
        )
        return [Finding(3, "note", "No participants are stored yet.", advice)]
    findings = [_summary(groups, users)]
    reasons = sorted({group.reason for group in groups if group.reason is not None})
    findings += [_failures(n, [g for g in groups if g.reason == n], users) for n in reasons]
    late = _sum(groups, lambda group: group.is_late)
    if late and not is_app_paused:
        text = f"{count(late, 'user has', 'users have')} been due for over 10 minutes."
        advice = "See step 1: the service does not run, or more users come than the budget allows."
        findings.append(Finding(3, "warning", text, advice, facts={"late": late}))
    return findings


def check_backfill(
    location_id: str, candidates: int, with_failed: int, calls_per_second: float, *, is_paused: bool
) -> list[Finding]:
    """Report how many users a backfill of 7 days would fetch, and how long it would take.

    `is_paused`: calls for every account of the location are paused.
    """
    facts: dict[str, object] = {"candidates": candidates, "includingFailed": with_failed}
    command = f"python -m service backfill --location {shell_word(location_id)} --days 7"
    name = printable(location_id)
    findings = [Finding(4, "ok", f"Location {name}: a backfill would fetch nobody.", facts=facts)]
    if candidates:
        took = duration(max(1.0, candidates / calls_per_second))
        at_least = "at least " if candidates >= MOST_COUNTED else ""
        text = (
            f"Location {name}: a backfill would fetch {at_least}{count(candidates, 'user')} of the "
            f"last 7 days who lack a name or whose name has expired, in about {took}."
        )
        if is_paused:
            text, command = (
                f"{text[:-1]}, once calls are no longer paused.",
                "See first what pauses them, in step 1 or 2.",
            )
        findings = [Finding(4, "note", text, command, facts=facts)]
    if with_failed > candidates and not is_paused:
        more = count(with_failed - candidates, "user who has failed", "users who have failed")
        text = f"Location {name}: with --include-failed it would also try {more}."
        findings.append(Finding(4, "note", text, f"{command} --include-failed", facts=facts))
    return findings


def _summary(groups: Sequence[UserGroup], users: int) -> Finding:
    fresh = _sum(groups, lambda group: group.is_fresh)
    stale = _sum(groups, lambda group: group.is_fetched and not group.is_fresh)
    failed = _sum(groups, lambda group: not group.is_fetched and group.fail_count > 0)
    new = users - fresh - stale - failed
    facts: dict[str, object] = {"users": users, "fresh": fresh, "stale": stale}
    facts |= {"failed": failed, "notFetched": new}
    text = (
        f"Of the {count(users, 'user')} who wrote last, {fresh:,} have a fresh name, {stale:,} an "
        f"expired one (shown, and renewed when looked up), {new:,} wait for their first fetch, "
        f"{failed:,} have none because fetching failed."
    )
    return Finding(3, "ok", text, facts=facts)


def _failures(name: str, groups: Sequence[UserGroup], users: int) -> Finding:
    reason = reason_of(name)
    failing = sum(group.users for group in groups)
    stopped = _sum(groups, lambda group: group.is_stopped)
    by_count: dict[int, int] = {}
    for group in groups:
        by_count[group.fail_count] = by_count.get(group.fail_count, 0) + group.users
    counts = ", ".join(f"{n:,} at {fails}" for fails, n in sorted(by_count.items()))
    is_unusual = users >= UNUSUAL_FROM and failing >= users * UNUSUAL_SHARE
    severity: Severity = "note" if reason.is_normal and not is_unusual else "warning"
    text = (
        f"{count(failing, 'user')}, {short_reason(name)}. fail_count: {counts}"
        f"{f'; retries have stopped for {stopped:,}' if stopped else ''}."
    )
    advice = reason.advice
    if is_unusual and reason.is_normal:
        advice = (
            "So many of one kind is unusual: check that the token belongs to this account and that "
            "the app has Advanced Access to instagram_manage_messages."
        )
    facts: dict[str, object] = {"reason": name, "users": failing, "stopped": stopped}
    facts["byFailCount"] = {str(fails): n for fails, n in sorted(by_count.items())}
    return Finding(3, severity, text, advice, facts=facts)


def _sum(groups: Sequence[UserGroup], wanted: Callable[[UserGroup], bool]) -> int:
    return sum(group.users for group in groups if wanted(group))


def _named(location_id: str | None) -> str:
    return shell_word(location_id) if location_id else "LOCATION"
