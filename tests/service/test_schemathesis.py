"""Whatever a machine can think of from the document, the service answers as the document says.

FUZZ_SECONDS and FUZZ_EXAMPLES (a route and phase) make a longer run of it, FUZZ_SEED another one
(empty: another each time); with `pytest -s` the report with its counts is shown.
"""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from sandbox.graph.simulator import GraphSimulator
from tests.service.conftest import (
    APP_SECRET,
    LOCATION,
    OPERATOR_KEY,
    PROJECT,
    VERIFY_TOKEN,
    ServiceProcess,
    Spawn,
    new_user,
)

SECONDS = int(os.environ.get("FUZZ_SECONDS", "4"))
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "20")
SEED = os.environ.get("FUZZ_SEED", "1")
STARTS_WITHIN_S = 60
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
KNOWN = {
    "FUZZ_OPERATOR_KEY": OPERATOR_KEY,
    "FUZZ_APP_SECRET": APP_SECRET,
    "FUZZ_VERIFY_TOKEN": VERIFY_TOKEN,
    "FUZZ_LOCATION": LOCATION,
}


async def fuzz(url: str, folder: Path) -> tuple[int, str]:
    """Run schemathesis, with all its checks, for so many seconds; give its exit code and report."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from schemathesis.cli import schemathesis; schemathesis()"),
        *("--config-file", str(CONFIGURATION), "run", f"{url}/openapi.json"),
        *("--max-time", str(SECONDS), "--max-examples", EXAMPLES, "--no-color"),
        *(("--seed", SEED) if SEED else ()),
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": str(PROJECT)} | KNOWN,
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS + STARTS_WITHIN_S):
            report, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, report.decode()


async def populate(running: ServiceProcess, graph: GraphSimulator) -> None:
    """Give it something to answer with: a name, a refusal, a user that waits."""
    await running.client.connect()
    named, unnamed = new_user(), new_user()
    graph.set_answer("consent_required", user=unnamed)
    await running.client.write(named, unnamed)
    await running.client.until_state(named, "resolved")
    await running.client.until_failed(unnamed)


@pytest.mark.timeout(SECONDS + 2 * STARTS_WITHIN_S)
async def test_every_answer_to_anything_is_as_the_document_says(
    spawn: Spawn, graph: GraphSimulator, tmp_path: Path
) -> None:
    running = await spawn(LOG_LEVEL="info")
    await populate(running, graph)
    code, report = await fuzz(running.client.url, tmp_path)
    print(report)  # noqa: T201 - shown with -s, and where the test fails
    assert code == 0
    [generated] = re.findall(r"(\d+) generated", report)
    assert int(generated) > 0  # how many depends on the machine
    failed = [line for line in running.lines() if line["event"] == "a handler failed"]
    assert not failed
    assert (await running.client.call("GET", "/readyz")).json["postgres"] == "ok"
