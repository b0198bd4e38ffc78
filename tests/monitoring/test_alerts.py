"""The alerts ask for metrics that exist, and each leads to its cure."""

import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml  # type: ignore[import-untyped]  # not worth a package of stubs

from tests.monitoring.promql import Exposed, faults, labels_left, selectors
from tests.programs import find_program

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy" / "prometheus"
JOB = "instagram-identity"
SEVERITIES = {"critical", "warning"}
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
NAMED_LABEL = re.compile(r"\$labels\.(\w+)")

Json = Any


def load(name: str) -> Json:
    return yaml.safe_load((FOLDER / name).read_text())


RULES = [rule for group in load("alerts.yaml")["groups"] for rule in group["rules"]]
EXPRESSIONS = {rule["alert"]: promql.parse(rule["expr"]) for rule in RULES}


def slug(heading: str) -> str:
    """Write a heading as its anchor, as Markdown renderers do."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


async def test_alerts_ask_for_what_is_there(exposed: Exposed) -> None:
    wrong = {name: found for name, q in EXPRESSIONS.items() if (found := list(faults(q, exposed)))}
    assert wrong == {}


async def test_messages_name_labels_that_are_left(exposed: Exposed) -> None:
    for rule in RULES:
        named = set(NAMED_LABEL.findall(rule["annotations"]["summary"]))
        assert named <= labels_left(EXPRESSIONS[rule["alert"]], exposed), rule["alert"]


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("rate(instagram_delivery_total[5m])", "no metric instagram_delivery_total"),
        ('instagram_pauses{kind="app"}', "instagram_pauses has no label kind"),
        (
            'instagram_deliveries_total{status=~"503|504"}',
            "instagram_deliveries_total is never status=504",
        ),
        ("sum by (reason) (instagram_deliveries_total)", "nothing to group by reason"),
        ("up / on (status) instagram_queue_depth", "nothing to group by status"),
        ("instagram_ack_seconds", "no metric instagram_ack_seconds"),
    ],
)
async def test_a_wrong_question_would_be_found(query: str, fault: str, exposed: Exposed) -> None:
    assert list(faults(promql.parse(query), exposed)) == [fault]


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_waits_has_a_severity_and_says_what_it_means(rule: Json) -> None:
    assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
    assert promql.parse_duration(rule["for"]).total_seconds() >= 60
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "runbook"}
    assert all(("job", JOB) in wanted for _, wanted in selectors(EXPRESSIONS[rule["alert"]]))


def test_each_alert_has_its_cure_and_each_cure_its_alert() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    page = "docs/operations.md"
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"{page}#{slug(rule['alert'])}"
    headings = HEADING.findall((PROJECT / page).read_text())
    assert sorted(h for h in headings if h.startswith("Instagram")) == sorted(names)


def test_the_scrape_example_uses_the_job_and_the_rules() -> None:
    example = load("prometheus.yaml")
    assert [scrape["job_name"] for scrape in example["scrape_configs"]] == [JOB]
    assert all((FOLDER / name).is_file() for name in example["rule_files"])


@pytest.mark.needs_program("promtool")
def test_alerts_fire_when_they_should() -> None:
    command = [find_program("promtool") or "", "test", "rules", str(FOLDER / "alerts.test.yaml")]
    subprocess.run(command, check=True)  # noqa: S603 - ours
