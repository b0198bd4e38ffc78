import asyncio
import json
import os
import re
import shlex
import signal
import socket
import sys
import tempfile
import termios
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sandbox.sample_traffic import RESOLVED, SENDERS, sample_deliveries
from sandbox.service_client import ServiceClient
from service.settings import Settings
from tests.until import until

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
TWO_KEYS = "inbox-key-number-one,inbox-key-number-two"
SCREEN = frozenset({"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"})
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


# Makes its standard input the controlling terminal, and runs what follows; a hangup reaches nobody
# else, as under `make` without a shell.
IN_A_TERMINAL = """
import fcntl, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, lambda *_: None)
signal.signal(signal.SIGINT, lambda *_: None)
sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))
"""


class InTerminal:
    """The sandbox in a terminal of its own: what it shows, and keys for it."""

    def __init__(self, process: Process, line: int) -> None:
        self.process = process
        self._line = line
        self._shown = ""
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(line, self._read)

    def press(self, keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            os.write(self._line, key.encode())

    async def says(self, pattern: str) -> None:
        """Wait until this is shown after what was waited for last."""
        while not (found := re.search(pattern, self._shown)):
            self._more.clear()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._more.wait()
            except TimeoutError:
                raise AssertionError(
                    f"{pattern!r} is not in what it shows:\n{self._shown}"
                ) from None
        self._shown = self._shown[found.end() :]

    def send_signal(self, number: signal.Signals) -> None:
        """Send the sandbox itself a signal."""
        os.kill(descendants(self.process.pid)[0], number)

    def hang_up(self) -> None:
        """Let the terminal go, if it has not gone."""
        if self._line >= 0:
            asyncio.get_running_loop().remove_reader(self._line)
            os.close(self._line)
            self._line = -1

    async def ends(self) -> int:
        """Wait for the end; give the exit code."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    def echoes(self) -> bool:
        """Tell whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._line)[3] & termios.ECHO)

    async def is_silent(self) -> bool:
        """Tell whether it shows nothing of what is typed."""
        return not self.echoes()

    def show_what_is_typed(self) -> None:
        """Switch the echo on."""
        modes = termios.tcgetattr(self._line)
        modes[3] |= termios.ECHO | termios.ICANON
        termios.tcsetattr(self._line, termios.TCSANOW, modes)

    def _read(self) -> None:
        try:
            self._shown += os.read(self._line, 65_536).decode(errors="replace")
        except OSError:  # the other side has gone
            asyncio.get_running_loop().remove_reader(self._line)
        self._more.set()


@asynccontextmanager
async def terminal(data_dir: Path, *arguments: str) -> AsyncIterator[InTerminal]:
    ours, theirs = os.openpty()
    termios.tcsetwinsize(ours, (40, 100))
    without_screen = {k: v for k, v in os.environ.items() if k not in SCREEN}
    data_dir.parent.joinpath("project").mkdir(exist_ok=True)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", IN_A_TERMINAL, "-c", WITHOUT_DOTENV),
        *(str(data_dir.parent / "project"), "--data-dir", str(data_dir), *arguments),
        cwd=ROOT,
        env=without_screen | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    run = InTerminal(process, ours)
    try:
        yield run
    finally:
        for pid in (*descendants(process.pid), process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()
        run.hang_up()


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
        assert "[1/4]" in text
        assert "http://" not in text  # of what has just stopped, nothing can be used
        stored = json.loads((data_dir / "keys.json").read_text())
        assert not any(key in text for key in stored.values())


@pytest.mark.needs_program("curl")
async def test_the_pasted_lines_work_while_it_is_up(data_dir: Path) -> None:
    async with sandbox(data_dir, "--port", "0", INBOX_API_KEYS=TWO_KEYS) as run:
        await run.says("stays up until Ctrl-C")
        assert run.settings().keys() == SHOWN
        assert sum("v18.0" in line for line in run.lines) == 1  # past its end: said once
        keys = run.section("keys")
        answers = await _shell("\n".join(run.section("try")))
        assert answers[0]["displayName"] == RESOLVED.display_name
        assert answers[1]["postgres"]
        assert answers[2]["locationId"] == "sandbox"
        await _ends_with_all_it_started(run, signal.SIGINT, 0)
    async with sandbox(data_dir, "--port", "0", INBOX_API_KEYS=TWO_KEYS) as again:
        await again.says("stays up until Ctrl-C")
        assert again.section("keys") == keys
        session = _readme_session(data_dir / "environment")
        twice = await _shell(f"set -e\n{session}\n{session}")
        first, second = twice[: len(twice) // 2], twice[len(twice) // 2 :]
        assert [set(answer) for answer in first] == [set(answer) for answer in second]
        for answers in (first, second):
            assert answers[0]["displayName"] == RESOLVED.display_name
            assert answers[5]["people"][0]["igUserId"] == answers[4]["igUserId"]
        await _ends_with_all_it_started(again, signal.SIGTERM, 0)


async def _ends_with_all_it_started(run: Sandbox, how: signal.Signals, code: int) -> None:
    pids = descendants(run.process.pid)
    assert len(pids) > 2  # the service, and PostgreSQL with its own
    run.process.send_signal(how)
    assert await run.ends() == code
    await gone(pids)


def _readme_session(environment: Path) -> str:
    """Take the README's session, with this sandbox's file; a refused call fails."""
    _, found, rest = (ROOT / "README.md").read_text().partition("```sh\nset -a; ")
    assert found
    session = "set -a; " + rest.partition("```")[0]
    assert session.count(" .sandbox/environment;") == 1
    session = session.replace(" .sandbox/environment;", f" {shlex.quote(str(environment))};")
    return session.replace("curl -sS", "curl -sS --fail-with-body")


async def _shell(lines: str) -> list[dict[str, Any]]:
    """Run lines in a shell; give the JSON objects that they print."""
    process = await asyncio.create_subprocess_exec("sh", "-c", lines, stdout=PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    text, answers = output.decode().strip(), []
    while text:
        answer, end = json.JSONDecoder().raw_decode(text)
        answers.append(answer)
        text = text[end:].strip()
    return answers


async def test_a_terminal_shows_what_happens_and_takes_keys(data_dir: Path) -> None:
    async with terminal(data_dir, "--port", "0") as run:
        await run.says("Keys:")
        run.press("d")
        await run.says(r"DM +8\d{15}: .*@")
        run.press("b")
        await run.says("2  token_expired")
        run.press("2")
        await run.says("BROKEN .*token_expired")
        run.press("d")
        await run.says(r"PAUSED +calls for account \d+: .*until a new token is stored")
        run.press("m")
        await run.says("RESUMED")
        await run.says(r"(NAME|DM) +8\d{15}: @")
        run.press("o")
        await run.says(r"The console is at http://127\.0\.0\.1:\d+/")
        assert not run.echoes()
        run.send_signal(signal.SIGSTOP)
        run.show_what_is_typed()  # as a shell does while this is stopped
        run.send_signal(signal.SIGCONT)
        await until(run.is_silent)
        run.press("q")
        await run.says("Everything has stopped.")
        assert await run.ends() == 0
        assert run.echoes()


async def test_what_is_broken_and_mended_can_be_undone_at_once(data_dir: Path) -> None:
    async with terminal(data_dir, "--port", "0") as run:
        await run.says("Keys:")
        run.press("bx")
        await run.says("Nothing was changed.")
        run.press("b1d")
        await run.says("PAUSED +all calls")
        run.press("m")
        await run.says("Press m again to end the pause now.")
        run.press("m")
        await run.says("RESUMED +all calls")
        run.press("\x03")  # Ctrl-C
        await run.says("Everything has stopped.")
        assert await run.ends() == 0


async def test_a_terminal_that_goes_ends_everything(data_dir: Path) -> None:
    async with terminal(data_dir, "--port", "0") as run:
        await run.says("Keys:")
        pids = descendants(run.process.pid)
        run.hang_up()
        await gone(pids)
        await run.ends()


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
        async with ServiceClient(
            f"http://{settings['HOST']}:{settings['PORT']}",
            inbox_key=settings["INBOX_API_KEYS"],
            operator_key=settings["OPERATOR_API_KEYS"],
            app_secret=settings["META_APP_SECRETS"],
        ) as client:
            await client.forget(SENDERS)
            for delivery in sample_deliveries():
                await client.deliver(delivery)
            assert all(finding.ok for finding in await client.settled(SENDERS))
        os.kill(pids[1], signal.SIGKILL)
        assert await run.ends() == 1


async def test_a_second_sandbox_is_refused_and_nothing_outlives_a_kill_of_the_first(
    data_dir: Path,
) -> None:
    async with sandbox(data_dir, "--port", "0") as first:
        await first.says("stays up until Ctrl-C")
        async with sandbox(data_dir, "--once") as second:
            assert await second.ends() == 2
            assert f"process {first.process.pid}" in "\n".join(second.lines)
        await _ends_with_all_it_started(first, signal.SIGKILL, -9)


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
