import asyncio
import json
import os
import shlex
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sandbox.front_door import FrontDoor
from sandbox.sample_traffic import RESOLVED, SENDERS, sample_deliveries
from service.settings import Settings

ROOT = Path(__file__).parents[2]
SETTINGS = [name.upper() for name in Settings.model_fields]
# `python -m sandbox`, which takes this folder, instead of the project's, as the one of `.env`
WITHOUT_DOTENV = """
import pathlib, runpy, sys, sandbox.environment
sandbox.environment.PROJECT = pathlib.Path(sys.argv.pop(1))
runpy.run_module("sandbox", run_name="__main__", alter_sys=True)
"""
SHOWN = {
    *("DATABASE_URL", "META_APP_SECRETS", "META_VERIFY_TOKEN", "INBOX_API_KEYS"),
    *("OPERATOR_API_KEYS", "TOKEN_ENCRYPTION_KEYS", "GRAPH_BASE_URL"),
    *("INSTAGRAM_GRAPH_BASE_URL", "PICTURE_HOSTS", "HOST", "PORT"),
}
PATIENCE_S = 60

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """Share one sandbox folder between the tests: initdb is slow."""
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder, "sandbox")


class Sandbox:
    """The sandbox as a process; its output as it comes."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def says(self, text: str) -> None:
        """Read on until a line holds the text."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while not any(text in line for line in self.lines):
                line = await self.process.stdout.readline()
                assert line, f"it ended without saying {text!r}:\n" + "\n".join(self.lines)
                self.lines.append(line.decode().rstrip())

    async def ends(self) -> int:
        """Read to the end; give the exit code."""
        async with asyncio.timeout(PATIENCE_S):
            rest, _ = await self.process.communicate()
            self.lines += rest.decode().splitlines()
        assert self.process.returncode is not None
        return self.process.returncode

    def section(self, title: str) -> list[str]:
        """Give the lines under a heading."""
        below = self.lines[self.lines.index(title) + 1 :]
        return below[: below.index("")] if "" in below else below

    def settings(self) -> dict[str, str]:
        """Read the environment section as a shell would."""
        words = [shlex.split(line) for line in self.section("environment")]
        assert all(len(word) == 1 for word in words)
        return dict(word[0].split("=", 1) for word in words)


@asynccontextmanager
async def sandbox(data_dir: Path, *arguments: str, **settings: str) -> AsyncIterator[Sandbox]:
    data_dir.parent.joinpath("project").mkdir(exist_ok=True)
    command = (
        *("-c", WITHOUT_DOTENV, str(data_dir.parent / "project")),
        *("--data-dir", str(data_dir), *arguments),
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | settings,
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Sandbox(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def descendants(pid: int) -> list[int]:
    """List every process below this one."""
    found = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for file in found for child in file.read_text().split()]
    return [pid for child in children for pid in (child, *descendants(child))]


async def gone(pids: list[int]) -> None:
    """Return when none of the processes is left."""
    async with asyncio.timeout(PATIENCE_S):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):  # noqa: ASYNC110 - not ours
            await asyncio.sleep(0.02)


async def test_once_gives_every_sender_what_it_should_get(data_dir: Path) -> None:
    async with sandbox(data_dir, "--once", "--port", "0") as run:
        assert await run.ends() == 0, "\n".join(run.lines)
        text = "\n".join(run.lines)
        for sender in SENDERS:
            [line] = [line for line in run.lines if line.startswith(sender.ig_user_id)]
            assert sender.display_name in line
            assert line.endswith("ok")
        assert f"All {len(SENDERS)} senders" in text
        assert run.settings().keys() == SHOWN
        keys = run.section("keys")
    async with sandbox(data_dir, "--once", "--port", "0") as again:
        assert await again.ends() == 0, "\n".join(again.lines)
        assert again.section("keys") == keys


@pytest.mark.needs_program("curl")
async def test_the_pasted_lines_work_while_it_is_up(data_dir: Path) -> None:
    async with sandbox(data_dir, "--port", "0") as run:
        await run.says("stays up until Ctrl-C")
        answers = [await _shell(line) for line in run.section("try")]
        assert answers[0]["displayName"] == RESOLVED.display_name
        assert answers[1]["postgres"]
        assert answers[2]["locationId"] == "sandbox"
        run.process.send_signal(signal.SIGINT)
        assert await run.ends() == 0


async def _shell(line: str) -> dict[str, object]:
    process = await asyncio.create_subprocess_shell(line, stdout=PIPE)
    output, _ = await process.communicate()
    answer: dict[str, object] = json.loads(output)
    return answer


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_running(data_dir: Path, how: signal.Signals) -> None:
    async with sandbox(data_dir, "--port", "0") as run:
        await run.says("stays up until Ctrl-C")
        pids = descendants(run.process.pid)
        assert len(pids) > 2  # the service, and PostgreSQL with its own
        run.process.send_signal(how)
        assert await run.ends() == (-9 if how == signal.SIGKILL else 0)
        await gone(pids)


async def test_one_of_two_replicas_behind_a_broker_may_die(data_dir: Path) -> None:
    async with sandbox(data_dir, "--replicas", "2", "--nats", "--port", "0") as run:
        await run.says("stays up until Ctrl-C")
        (told,) = [line for line in run.lines if "replicas share the port: processes" in line]
        pids = [int(pid) for pid in told.rpartition("processes ")[2].rstrip(".").split(", ")]
        assert set(pids) <= set(descendants(run.process.pid))
        os.kill(pids[0], signal.SIGKILL)
        await run.says("The other one goes on.")
        assert any("exit code -9" in line for line in run.lines)
        settings = run.settings()
        async with FrontDoor(
            f"http://{settings['HOST']}:{settings['PORT']}",
            inbox_key=settings["INBOX_API_KEYS"],
            operator_key=settings["OPERATOR_API_KEYS"],
            app_secret=settings["META_APP_SECRETS"],
        ) as door:
            await door.forget(SENDERS)
            for delivery in sample_deliveries():
                await door.deliver(delivery)
            assert all(finding.ok for finding in await door.settled(SENDERS))
        os.kill(pids[1], signal.SIGKILL)
        assert await run.ends() == 1


async def test_a_second_sandbox_in_the_same_folder_is_refused(data_dir: Path) -> None:
    async with sandbox(data_dir, "--port", "0") as first:
        await first.says("PostgreSQL is up")
        async with sandbox(data_dir, "--once") as second:
            assert await second.ends() == 2
            assert f"process {first.process.pid}" in "\n".join(second.lines)


async def test_a_port_that_is_asked_for_and_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with sandbox(tmp_path / "new", "--once", "--port", port) as run:
            assert await run.ends() == 2
            assert f"Port {port}" in run.lines[-1]


async def test_real_credentials_and_made_up_samples_do_not_mix(tmp_path: Path) -> None:
    async with sandbox(tmp_path / "new", "--once", META_APP_SECRETS="a real secret") as run:
        assert await run.ends() == 2
        assert "a real secret" not in "\n".join(run.lines)


async def test_a_service_that_can_not_start_is_shown_with_its_last_words(data_dir: Path) -> None:
    async with sandbox(data_dir, "--once", "--port", "0", MAX_FAILURES="many") as run:
        assert await run.ends() == 1
        assert "MAX_FAILURES" in "\n".join(run.lines)
