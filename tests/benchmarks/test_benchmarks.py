from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from benchmarks import footprint, growth, lookups, overload, ratios, receiving, report, resolving
from benchmarks.competitors import environment
from benchmarks.findings import TINY, Findings, Row, Scale
from benchmarks.loads import Goodput
from benchmarks.world import World, world
from tests.faults.rigs import fork_module
from tests.system.chaos import processes

SERVED = Goodput(100.0, 90.0, 10.0, 20.0, 1.0)
PLACES = [ratios, receiving, overload, lookups, resolving, footprint, growth]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made() -> AsyncIterator[World]:
    """Start what all of them need; services are forks, which start sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "start_module", fork_module)
        async with world() as made:
            yield made


async def served_as_much_at_each_load(
    _world: World, _scale: Scale, loads: Sequence[float]
) -> dict[float, Goodput]:
    return dict.fromkeys(loads, SERVED)


@pytest.mark.needs_program("wrk")
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("benchmark", PLACES, ids=lambda each: each.__name__.rpartition(".")[2])
async def test_a_benchmark_runs_at_a_tiny_size(
    benchmark: object, made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "COMPETITORS", ())
    monkeypatch.setattr(lookups, "COMPETITORS", ())
    if benchmark is ratios:  # `overload` runs it
        monkeypatch.setattr(overload, "measure", served_as_much_at_each_load)
    found: Findings = await benchmark.run(made, TINY)  # type: ignore[attr-defined]
    assert found.rows
    assert all(row.value >= 0 for row in found.rows)
    assert Findings.from_json(found.as_json()) == found


def test_a_row_tells_whether_its_goal_is_reached() -> None:
    assert Row("acks", 3.1, "×", "at least", 3).is_met
    assert not Row("memory", 91, "MB", "at most", 90).is_met
    assert Row("acks", 4000, "/s").is_met is None


def test_the_table_shows_goals_and_what_was_missed() -> None:
    rows = [Row("acks", 2, "×", "at least", 3), Row("rate", 4321.5, "/s")]
    shown = report.table({"receiving": Findings(rows)})
    assert "| acks | 2 × | ≥ 3 × | missed |" in shown
    assert "| rate | 4,322 /s |  |  |" in shown


def test_each_competitor_names_what_it_needs() -> None:
    for name in ("inline", "queued"):
        assert (environment.REQUIREMENTS / name / "requirements.txt").read_text()
