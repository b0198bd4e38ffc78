"""Findings of doctor: sentences with a severity, and how they are printed."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from service.commands.output import DONE, INCOMPLETE, REFUSED, say
from service.wording import count

Severity = Literal["ok", "note", "warning", "broken"]
Verdict = Literal["healthy", "warnings", "broken"]
Step = Literal[1, 2, 3, 4]

STEPS: dict[Step, str] = {
    1: "Names, service and recent errors",
    2: "Token, permissions and version",
    3: "Cache",
    4: "Backfill",
}
EXIT_CODES: dict[Verdict, int] = {"healthy": DONE, "warnings": INCOMPLETE, "broken": REFUSED}
_STYLES: dict[Severity, str] = {"ok": "green", "note": "", "warning": "yellow", "broken": "red"}
_INDENT, _WIDEST = 12, 100


class Finding(msgspec.Struct, frozen=True, rename="camel"):
    """One finding, and what to do about it; `facts` are its figures."""

    step: Step
    severity: Severity
    text: str
    advice: str | None = None
    ig_account_id: str | None = None
    facts: dict[str, object] = {}


class Diagnosis(msgspec.Struct, frozen=True, rename="camel"):
    """What `doctor --json` prints."""

    checked_at: datetime
    location_id: str | None
    verdict: Verdict
    exit_code: int
    findings: list[Finding]


def diagnose(checked_at: datetime, location_id: str | None, findings: list[Finding]) -> Diagnosis:
    """Judge the findings by the worst of them."""
    severities = {finding.severity for finding in findings}
    verdict: Verdict = "healthy"
    if "broken" in severities:
        verdict = "broken"
    elif "warning" in severities:
        verdict = "warnings"
    in_order = sorted(findings, key=lambda finding: finding.step)
    return Diagnosis(checked_at, location_id, verdict, EXIT_CODES[verdict], in_order)


def tell(diagnosis: Diagnosis) -> None:
    """Print the findings step by step, then the verdict."""
    where = f"location {diagnosis.location_id}" if diagnosis.location_id else "all locations"
    say(f"Doctor: {where}, {diagnosis.checked_at:%d %B %Y %H:%M} UTC", "bold")
    said: set[str] = set()
    for step, title in STEPS.items():
        say()
        say(f"{step}. {title}", "bold")
        findings = [finding for finding in diagnosis.findings if finding.step == step]
        for finding in findings:
            _tell(finding, said)
        if not findings:
            say("   not checked")
    say()
    for line in _verdict(diagnosis):
        say(line, "bold")


def _tell(finding: Finding, said: set[str]) -> None:
    label = finding.severity.upper() if finding.severity == "broken" else finding.severity
    say(_wrapped(f"   {label:<{_INDENT - 3}}", finding.text), _STYLES[finding.severity])
    if finding.advice is not None:
        advice = "As above." if finding.advice in said else finding.advice
        said.add(finding.advice)
        say(_wrapped(" " * _INDENT + "→ ", advice))


def _wrapped(first: str, text: str) -> str:
    """Wrap text to the terminal, and indent the following lines."""
    if not sys.stdout.isatty():
        return first + text
    width = min(_WIDEST, max(40, shutil.get_terminal_size().columns))
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _verdict(diagnosis: Diagnosis) -> Sequence[str]:
    by_severity = [f.severity for f in diagnosis.findings]
    warnings = count(by_severity.count("warning"), "warning")
    if diagnosis.verdict == "healthy":
        has_advice = any(f.advice for f in diagnosis.findings)
        what = "nothing has to be done; the arrows above say what may be" if has_advice else ""
        return [f"Healthy: {what or 'nothing to do'}."]
    if diagnosis.verdict == "warnings":
        return [f"Works, with {warnings}: see the arrows above."]
    first = next(f for f in diagnosis.findings if f.severity == "broken")
    broken = count(by_severity.count("broken"), "thing is", "things are")
    also = f", and {warnings}" if "warning" in by_severity else ""
    return [
        f"Broken: {broken} broken{also}. Begin with this one:",
        f"  {first.text}",
        *([f"  → {first.advice}"] if first.advice else []),
    ]
