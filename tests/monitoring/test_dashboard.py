"""The dashboard asks for metrics that exist, and Grafana can lay it out anywhere."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from tests.monitoring.promql import Exposed, faults, labels_left

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboard.json"
LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
LEGEND_LABEL = re.compile(r"\{\{(\w+)\}\}")
VARIABLE = re.compile(r"\$(\w+)")
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24

Json = Any

dashboard: Json = json.loads(DASHBOARD.read_text())
PANELS: list[Json] = dashboard["panels"]
CHARTS = [panel for panel in PANELS if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def parsed(expression: str) -> promql.Expr:
    """Parse an expression with Grafana's variables filled in."""
    return promql.parse(expression.replace("$__rate_interval", "5m"))


def overlaps(one: Json, other: Json) -> bool:
    a, b = one["gridPos"], other["gridPos"]
    return bool(
        a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    )


async def test_panels_ask_for_what_is_there(exposed: Exposed) -> None:
    wrong = {
        f"{chart['title']} {target['refId']}": found
        for chart in CHARTS
        for target in chart["targets"]
        if (found := list(faults(parsed(target["expr"]), exposed)))
    }
    assert wrong == {}


async def test_legends_name_labels_that_are_left(exposed: Exposed) -> None:
    for chart in CHARTS:
        for target in chart["targets"]:
            left = labels_left(parsed(target["expr"]), exposed)
            assert set(LEGEND_LABEL.findall(target["legendFormat"])) <= left, chart["title"]


async def test_variables_are_filled_from_what_is_there(exposed: Exposed) -> None:
    for name in ("job", "instance"):
        found = LABEL_VALUES.fullmatch(VARIABLES[name]["query"])
        assert found
        assert list(faults(parsed(found[1]), exposed)) == []
        assert found[2] == name


def test_the_source_and_the_replicas_are_chosen_in_grafana() -> None:
    assert VARIABLES["datasource"]["type"] == "datasource"
    for chart in CHARTS:
        for target in chart["targets"]:
            assert chart["datasource"] == target["datasource"] == SOURCE
            named = set(VARIABLE.findall(target["expr"]))
            assert {"job", "instance"} <= named <= VARIABLES.keys() | {"__rate_interval"}


@pytest.mark.parametrize("chart", CHARTS, ids=[chart["title"] for chart in CHARTS])
def test_a_panel_says_what_it_shows_and_in_what_unit(chart: Json) -> None:
    assert chart["title"]
    assert chart["description"].endswith(".")
    assert chart["fieldConfig"]["defaults"]["unit"]
    references = [target["refId"] for target in chart["targets"]]
    assert len(references) == len(set(references)) > 0


def test_panels_have_ids_and_places_of_their_own() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(ids) == len(set(ids))
    assert len({chart["title"] for chart in CHARTS}) == len(CHARTS)
    crossing = [(a["title"], b["title"]) for a, b in combinations(PANELS, 2) if overlaps(a, b)]
    assert crossing == []
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS for panel in PANELS)


def test_panels_that_overlap_would_be_found() -> None:
    moved = CHARTS[0] | {"gridPos": CHARTS[1]["gridPos"]}
    assert overlaps(moved, CHARTS[1])
