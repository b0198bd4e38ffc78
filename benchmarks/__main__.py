"""`python -m benchmarks [NAME …]`: measures, prints a table, and updates the page."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Sequence

import click

from benchmarks import (
    footprint,
    growth,
    lookups,
    overload,
    plots,
    ratios,
    receiving,
    report,
    resolving,
)
from benchmarks.findings import FULL, TINY, Findings, Scale
from benchmarks.loads import BenchmarkError
from benchmarks.world import world

BENCHMARKS = {
    "ratios": ratios.run,
    "receiving": receiving.run,
    "overload": overload.run,
    "lookups": lookups.run,
    "resolving": resolving.run,
    "footprint": footprint.run,
    "growth": growth.run,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--tiny", is_flag=True, help="Only see that they run; nothing is kept.")
@click.option("--draw", is_flag=True, help="Measure nothing: write the page from what is kept.")
def main(names: Sequence[str], *, tiny: bool, draw: bool) -> None:
    """Measure the service; without a NAME, everything, in about 10 minutes."""
    try:
        if not draw:
            measured = asyncio.run(_measure(names or list(BENCHMARKS), TINY if tiny else FULL))
            print(report.table(measured))
            if tiny:
                return
            report.keep(measured)
    except BenchmarkError as error:
        sys.exit(f"{error}")
    found = report.latest()
    plots.draw(found)
    report.update_page(found)


async def _measure(names: Sequence[str], scale: Scale) -> dict[str, Findings]:
    if shutil.which("wrk") is None:
        raise BenchmarkError("wrk is not installed: apt-get install wrk")
    found = {}
    async with world() as made:
        for name in names:
            began_s = time.monotonic()
            found[name] = await BENCHMARKS[name](made, scale)
            print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
