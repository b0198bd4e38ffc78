"""A fork is a process like any other: its environment, folder, output, signals and exit code."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.processes.forks import Fork, fork
from tests.until import until

PROGRAM = """
import os, signal, sys, time
print(sys.argv[1:], sys.stdin.read(), dict(os.environ), os.getcwd(), os.getsid(0) == os.getpid())
print("aside", file=sys.stderr)
if sys.argv[1] == "sleep":
    sys.stdout.flush()
    time.sleep(600)
sys.exit(int(sys.argv[1]))
"""


async def run(folder: Path, argument: str) -> Fork:
    (folder / "a_program.py").write_text(PROGRAM)
    (folder / "given").write_text("hello")
    with (
        (folder / "given").open("rb") as given,
        (folder / "out").open("wb") as out,
        (folder / "err").open("wb") as err,
    ):
        return await fork(
            *("a_program", argument),
            environment={"ONLY": "this"},
            folder=folder,
            stdin=given,
            stdout=out,
            stderr=err,
        )


async def test_it_has_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    process = await run(tmp_path, "7")
    assert await process.wait() == process.returncode == 7
    said = (tmp_path / "out").read_text()
    assert said == f"['7'] hello {{'ONLY': 'this'}} {tmp_path} True\n"
    assert (tmp_path / "err").read_text() == "aside\n"
    with pytest.raises(ProcessLookupError):
        process.kill()


async def test_a_signal_ends_it_and_is_its_exit_code(tmp_path: Path) -> None:
    process = await run(tmp_path, "sleep")

    async def has_started() -> bool:
        return (tmp_path / "out").stat().st_size > 0

    await until(has_started)
    assert process.returncode is None
    process.terminate()
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGTERM
