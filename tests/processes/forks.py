"""Forks of a process that has imported the service: real processes at a tenth of the price."""

import asyncio
import atexit
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import IO

PROJECT = Path(__file__).parents[2]
NO_DOTENV = Path("/")  # a folder without the developer's settings
_COVERAGE = "COVERAGE"
_NOTHING = Path(os.devnull)


class Fork:
    """A process that a fork server started: a process id, signals, an exit code."""

    def __init__(self, pid: int, answers: socket.socket) -> None:
        self.pid = pid
        self._answers = answers
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        if self._code is None:
            try:
                self._note(self._answers.recv(16, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return None
        return self._code

    async def wait(self) -> int:
        """Wait until it has ended; give its exit code."""
        while self._code is None:
            said = await asyncio.get_running_loop().sock_recv(self._answers, 16)
            if self._code is None:
                self._note(said)
        return self._code

    def send_signal(self, signal: int) -> None:
        """Send a signal; ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, signal)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(SIGKILL)

    def _note(self, said: bytes) -> None:
        if not said:
            raise RuntimeError("the fork server has ended")
        self._code = int(said)
        self._answers.close()


async def fork(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path = NO_DOTENV,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
    has_production_limits: bool = False,
) -> Fork:
    """Run `python -m MODULE` in a fork, with exactly this environment and in this folder.

    Its time limits are raised, as those of tests are, if it is not to have production's.
    """
    answers, theirs = socket.socketpair()
    answers.settimeout(0)
    request = {
        "module": module,
        "arguments": arguments,
        "environment": dict(environment),
        "folder": str(folder),
        "has_production_limits": has_production_limits,
    }
    with theirs, _NOTHING.open("rb") as nothing:  # noqa: ASYNC230 - at once
        files = (theirs, stdin or nothing, stdout, stderr or stdout)
        body = json.dumps(request).encode()
        socket.send_fds(_server().control, [body], [file.fileno() for file in files])
    said = await asyncio.get_running_loop().sock_recv(answers, 16)
    pid, _, code = said.partition(b"\n")
    started = Fork(int(pid), answers)
    if code:
        started._note(code)
    return started


@dataclass(frozen=True)
class _Server:
    process: subprocess.Popen[bytes]
    control: socket.socket

    def stop(self) -> None:
        self.control.close()
        self.process.wait()


@cache
def _server() -> _Server:
    """Start this process's fork server, which ends with this process."""
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    coverage = {name: value for name, value in os.environ.items() if name.startswith(_COVERAGE)}
    with theirs:
        process = subprocess.Popen(
            (sys.executable, "-m", "tests.processes.server"),
            cwd=PROJECT,
            env={"PATH": os.defpath} | coverage,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
    server = _Server(process, control)
    atexit.register(server.stop)
    return server
