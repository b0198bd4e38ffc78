"""Doctor's first check: the verdict of `/status` as findings."""

from __future__ import annotations

from service.commands.doctor.findings import Finding, Severity
from service.judgement.figures import Figures
from service.judgement.verdict import Cause, Level, judge

_SEVERITIES: dict[Level, Severity] = {"ok": "note", "attention": "warning", "broken": "broken"}


def check_names(figures: Figures) -> list[Finding]:
    """Report how many users of the last hour have a name, and why the others have none."""
    verdict = judge(figures)
    everybody = figures.everybody
    facts: dict[str, object] = {
        "wrote": everybody.wrote,
        "named": everybody.named,
        "waiting": everybody.waiting,
        "nameless": everybody.nameless,
    }
    found = [_finding(cause) for cause in verdict.causes]
    if verdict.level == "ok":
        found.insert(0, Finding(1, "ok", verdict.sentences[0], facts=facts))
    return found


def _finding(cause: Cause) -> Finding:
    text = f"{cause.text} {cause.likely}" if cause.likely else cause.text
    advice = f"{cause.cure} Command: {cause.command}" if cause.command else cause.cure
    facts: dict[str, object] = {"reason": cause.reason, "locationId": cause.location_id}
    return Finding(1, _SEVERITIES[cause.level], text, advice, cause.ig_account_id, facts)
