"""Writes figures to JSON and to the Markdown table of a page."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime

from benchmarks.findings import Findings, Row
from tests.system.chaos.processes import PROJECT

RESULTS = PROJECT / "benchmarks" / "results"
LATEST = RESULTS / "latest.json"
PAGE = PROJECT / "docs" / "performance.md"
_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


def keep(found: Mapping[str, Findings]) -> None:
    """Write the raw figures, and update the summary of the latest runs."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    whole: dict[str, object] = {"at": now.isoformat(timespec="seconds"), "machine": machine()}
    whole |= {name: each.as_json() for name, each in found.items()}
    path = RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(whole, indent=1))
    latest = json.loads(LATEST.read_text()) if LATEST.exists() else {}
    latest |= whole
    LATEST.write_text(json.dumps(latest, indent=1) + "\n")


def latest() -> dict[str, Findings]:
    """Read the summary of the latest runs."""
    stored = json.loads(LATEST.read_text())
    return {name: Findings.from_json(each) for name, each in stored.items() if "rows" in each}


def machine() -> str:
    """Describe the machine."""
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def table(found: Mapping[str, Findings]) -> str:
    """Return the rows of every benchmark as one Markdown table."""
    lines = ["| | | goal | |", "|---|---:|---:|---|"]
    for name, each in found.items():
        lines.append(f"| **{name}** | | | |")
        lines += [_line(row) for row in each.rows]
    return "\n".join(lines)


def update_page(found: Mapping[str, Findings]) -> None:
    """Write the table between the marks of the page."""
    stored = json.loads(LATEST.read_text())
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    head = f"Measured on {stored['machine']}, {stored['at'][:10]}."
    PAGE.write_text(f"{before}{_BEGIN}\n{head}\n\n{table(found)}\n{_END}{after}")


def _line(row: Row) -> str:
    sign = {"at least": "≥ ", "at most": "≤ ", "": ""}[row.compare]
    goal = f"{sign}{_number(row.goal)} {row.unit}".strip() if row.compare else ""
    mark = {True: "✓", False: "missed", None: ""}[row.is_met]
    return f"| {row.what} | {_number(row.value)} {row.unit} | {goal} | {mark} |"


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.0f}"
