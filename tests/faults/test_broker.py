"""`make chaos ARGS=--nats`, short: replicas behind three nodes, and the faults of those."""

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT

import pytest

from benchmarks.chaos.processes import PROJECT

# What tests/intake can't break: disks, and the links of one replica to all nodes.
FAULTS = ("all disks full", "a replica's links")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_acknowledged_is_lost_and_all_heals(fault: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.chaos", "--nats", "--seconds", "1"),
        *("--services", "2", "--only", fault),
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
    if "no disk can be mounted here" in said and "disk" in fault:
        pytest.skip("needs a mount namespace")
    assert process.returncode == 0, said
    assert "Nothing was lost." in said
    assert re.search(r"'503':\s+\d+", said)  # it was felt
