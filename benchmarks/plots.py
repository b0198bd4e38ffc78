"""Draws the plots of docs/performance.md from the latest figures."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.findings import Findings
from tests.system.chaos.processes import PROJECT

IMAGES = PROJECT / "docs" / "images"
_NAMES = {
    "ours": "this service",
    "bare": "bare aiohttp",
    "inline": "FastAPI, fetching inline",
    "queued": "FastAPI + procrastinate",
}
_COLOURS = {"ours": "#c13584", "bare": "#9aa0a6", "inline": "#4c78a8", "queued": "#72b7b2"}


def draw(found: Mapping[str, Findings]) -> None:
    """Draw the plots for which there are figures."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and not needed elsewhere

    mpl.use("Agg")
    IMAGES.mkdir(exist_ok=True)
    if "receiving" in found:
        raw = found["receiving"].raw
        _bars("acks", {"new senders": raw["new"], "known senders": raw["known"]}, "acks a second")
    if "lookups" in found:
        raw = found["lookups"].raw
        _bars("lookups", {"lookups of one": raw, "of 50": _of(raw, 50)}, "lookups a second")
    if "growth" in found:
        _lines("growth", found["growth"].raw)


def _of(raw: Mapping[str, Any], size: int) -> dict[str, Any]:
    suffix = f" {size}"
    return {name.removesuffix(suffix): raw[name] for name in raw if name.endswith(suffix)}


def _bars(name: str, groups: Mapping[str, Mapping[str, Any]], unit: str) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - see draw

    figure, axes = plt.subplots(1, len(groups), figsize=(9, 3.2), layout="constrained")
    for place, (title, samples) in zip(axes, groups.items(), strict=True):
        shown = [each for each in _NAMES if each in samples]
        values = [median(run["per_s"] for run in samples[each]) for each in shown]
        bars = place.barh(
            [_NAMES[each] for each in shown], values, color=[_COLOURS[each] for each in shown]
        )
        place.bar_label(bars, fmt="{:,.0f}", padding=3)
        place.set(title=title, xlabel=unit)
        place.margins(x=0.18)
        place.invert_yaxis()
        place.spines[["top", "right"]].set_visible(False)
    figure.savefig(IMAGES / f"{name}.png", dpi=100)
    plt.close(figure)


def _lines(name: str, raw: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415 - see draw

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
    for place, (what, costs) in zip(axes, raw.items(), strict=True):
        sizes = [int(size) for size in costs]
        for operation in next(iter(costs.values())):
            values = [cost[operation] for cost in costs.values()]
            place.plot(sizes, values, marker="o", label=operation)
        place.set(xscale="log", xlabel=what, title=f"cost of one item, by {what}")
        place.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("µs an item, in batches of 50")
    axes[0].set_ylim(bottom=0)  # after all lines are drawn
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    figure.savefig(IMAGES / f"{name}.png", dpi=100)
    plt.close(figure)
