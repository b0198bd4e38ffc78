"""What Meta's answers about a token mean: validity, expiry, permissions, version. No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from service.commands.doctor.findings import Finding
from service.commands.meta import describe_fault
from service.errors import GraphError, NobodysFault
from service.graph.tokens import read_moment
from service.judgement.token_rules import NAMES_NEED, WARN_WITHIN, missing_scopes, needed_scopes
from service.reasons import reason_of, why_token_ended
from service.store.checkup import CheckedConnection
from service.wording import duration, printable

NEWEST_SEEN = "v26.0"
_ENDED_ON = {"v18.0": "26 January 2026"}


def judge_token(
    connection: CheckedConnection, debug: dict[str, Any], now: datetime
) -> list[Finding]:
    """Report whether a token works and until when, from debug_token's `data`."""
    account = connection.ig_account_id
    if debug.get("is_valid") is not True:
        error = debug.get("error")
        subcode = error.get("subcode") if isinstance(error, dict) else None
        return [_dead(connection, subcode if isinstance(subcode, int) else None)]
    ends_at = read_moment(debug.get("expires_at"))
    access_until = read_moment(debug.get("data_access_expires_at"))
    kind = str(debug.get("type", "")).lower() or "access"
    facts: dict[str, object] = {"type": kind, "expiresAt": ends_at, "dataAccessUntil": access_until}
    end = f"ends on {ends_at:%d %B %Y}" if ends_at else "has no end"
    text = f"Account {account}: Meta accepts its {printable(kind)} token, which {end}."
    findings = [Finding(2, "ok", text, None, account, facts)]
    if ends_at is not None and ends_at < now + WARN_WITHIN:
        text = f"Account {account}: its token ends in {duration((ends_at - now).total_seconds())}."
        advice = "Get a new one from Meta before then and store it with `connections add`."
        findings = [Finding(2, "warning", text, advice, account, facts)]
    if access_until is not None and access_until < now + WARN_WITHIN:
        has = "ended" if access_until < now else "ends"
        text = f"Account {account}: the app's access to its data {has} on {access_until:%d %B %Y}."
        advice = "The account's owner has to log in to the app again, which renews it for 90 days."
        findings.append(Finding(2, "warning", text, advice, account))
    return findings


def judge_token_fault(connection: CheckedConnection, fault: GraphError, *, as_app: bool) -> Finding:
    """Explain why Meta did not inspect a token."""
    account, problem = connection.ig_account_id, fault.problem
    if problem.reason == "token_invalid" and not as_app:
        return _dead(connection, problem.subcode)
    what = f"Account {account}: Meta did not inspect the token"
    if isinstance(fault, NobodysFault):
        reason = reason_of(problem.reason)
        text = f"{what}: {reason.words}, {describe_fault(fault)}."
        return Finding(2, "warning", text, reason.advice, account)
    if problem.reason == "throttled":
        text = f"{what}: {reason_of('throttled').words}."
        return Finding(2, "warning", text, reason_of("throttled").advice, account)
    if connection.login == "instagram":
        text = f"{what}, which it may refuse for an Instagram login ({describe_fault(fault)})."
        return Finding(2, "note", text, None, account)
    said = f" Meta says: “{printable(problem.message)[:200]}”" if problem.message else ""
    text = f"{what}: {describe_fault(fault)}.{said}"
    return Finding(2, "broken", text, _why_not_inspected(as_app=as_app), account)


def judge_permissions(connection: CheckedConnection, debug: dict[str, Any]) -> list[Finding]:
    """Report which permissions a token lacks, and whether it is for another account."""
    if debug.get("is_valid") is not True:
        return []
    account = connection.ig_account_id
    scopes = debug.get("scopes")
    granted = tuple(map(str, scopes)) if isinstance(scopes, list) else ()
    needed, missing = needed_scopes(connection.login), missing_scopes(connection.login, granted)
    findings = _for_other_account(connection, debug)
    if not missing:
        text = f"Account {account}: all {len(needed)} permissions are granted."
        return [Finding(2, "ok", text, None, account), *findings]
    stops_names = any(scope in needed[:NAMES_NEED] for scope in missing)
    text = f"Account {account}: the token lacks {', '.join(missing)}"
    text += ", without which no name can be fetched." if stops_names else "."
    severity = "broken" if stops_names else "warning"
    advice = (
        "Log the account in to the app again with these permissions ticked, then `connections add`."
    )
    facts: dict[str, object] = {"missing": missing}
    return [Finding(2, severity, text, advice, account, facts), *findings]  # type: ignore[arg-type]


def judge_version(configured: str, served: str) -> Finding:
    """Compare the version that answered with the configured one."""
    if _version(served) <= _version(configured):
        text = f"Meta answers as {printable(served)}, as GRAPH_API_VERSION asks."
        return Finding(2, "ok", text)
    since = f" since {_ENDED_ON[configured]}" if configured in _ENDED_ON else ""
    text = (
        f"GRAPH_API_VERSION is {configured}, which has been past its end{since}: Meta answers as "
        f"{printable(served)}, its oldest live version, instead. Names still come, but what "
        "answers changes by itself whenever Meta retires a version."
    )
    advice = (
        f"When there is time: set GRAPH_API_VERSION to a live version ({printable(served)} changes "
        f"nothing, {NEWEST_SEEN} lasts longest) and restart."
    )
    facts: dict[str, object] = {"configured": configured, "served": served}
    return Finding(2, "note", text, advice, facts=facts)


def _dead(connection: CheckedConnection, subcode: int | None) -> Finding:
    account = connection.ig_account_id
    text = f"Account {account}: its access token is dead: {why_token_ended(subcode)}."
    advice = reason_of("token_invalid").advise(account, connection.location_id)
    return Finding(2, "broken", text, advice, account, {"subcode": subcode})


def _why_not_inspected(*, as_app: bool) -> str:
    if as_app:
        return "META_APP_ID and the first of META_APP_SECRETS must be those of the same app."
    return reason_of("bad_request").advice


def _for_other_account(connection: CheckedConnection, debug: dict[str, Any]) -> list[Finding]:
    """Warn if the messages permission was granted for other accounts only."""
    account, granular = connection.ig_account_id, debug.get("granular_scopes")
    rows = [r for r in granular if isinstance(r, dict)] if isinstance(granular, list) else []
    targets = {
        str(target)
        for row in rows
        if str(row.get("scope", "")).endswith("manage_messages")
        for target in row.get("target_ids") or []
    }
    if not targets or targets & {account, *connection.alias_ids}:
        return []
    text = (
        f"Account {account}: the token gives access to messages only of "
        f"{printable(', '.join(sorted(targets)))}."
    )
    advice = "If none of these is another id of the account (an alias), connect the right account."
    return [Finding(2, "warning", text, advice, account)]


def _version(text: str) -> tuple[int, ...]:
    parts = text.removeprefix("v").split(".")
    return tuple(int(part) for part in parts if part.isdecimal())
