"""`make chaos ARGS=--nats`, short: replicas behind three nodes, and the faults of those."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT

from tests.system.chaos.processes import PROJECT

# One replica losing its links to all nodes is tested here, not in tests/receiving/intake. Full
# disks take half a minute to heal: `make chaos ARGS=--nats` covers them, and judges the budget by
# the times at which calls arrive; other tests judge it by the slots that were granted.
FAULT = "a replica's links"


async def test_nothing_acknowledged_is_lost_and_all_heals() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.system.chaos", "--nats", "--seconds", "1"),
        *("--services", "2", "--only", FAULT, "--jitter", "inf"),
        cwd=PROJECT,
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    said = output.decode()
    assert process.returncode == 0, said
    assert "Nothing was lost." in said
    assert re.search(r"'503':\s+\d+", said)  # it was felt
