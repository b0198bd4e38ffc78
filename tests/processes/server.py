"""A process that has imported the service, and forks one that runs it for each request.

The requests come over the socket that is its standard input; each brings a socket for the
answers: the process id, and later the exit code. It is single-threaded and runs no event loop,
so that a fork inherits nothing but modules. Its children die with it (prctl 1).
"""

import ctypes
import gc
import io
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.limits import raise_limits

_PR_SET_PDEATHSIG = 1
_MOST_REQUEST_BYTES = 1 << 20
_STDIN, _STDOUT, _STDERR = 0, 1, 2
PREIMPORTED = (
    "sandbox.graph.simulator",
    "service.app",
    "service.logs",
    "service.settings",
    "service.commands.backfill",
    "service.commands.connections",
    "service.commands.doctor.command",
    "service.commands.meta_import",
    "service.commands.participants",
)


@dataclass(frozen=True)
class Request:
    """A module to run as `python -m` does, and what the new process gets."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    has_production_limits: bool


class ForkServer:
    """Forks on request and reports each exit code."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._answers: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, self._wakes = socket.socketpair()

    def serve(self) -> None:
        """Serve until the other end is closed; returns early in each child, which has run."""
        for end in (self._woken, self._wakes):
            end.settimeout(0)
        signal.set_wakeup_fd(self._wakes.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    self._woken.recv(4096)
                    self._reap()
                elif not self._take_request():
                    return

    def _take_request(self) -> bool:
        """Fork for one request; false at the end of the requests, and in the child."""
        body, files, *_ = socket.recv_fds(self._control, _MOST_REQUEST_BYTES, 4)
        if not body:
            return False
        answers = socket.socket(fileno=files[0])
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._leave()
            answers.close()
            become(Request(**json.loads(body)), files[1:], parent)
            return False
        for file in files[1:]:
            os.close(file)
        self._answers[pid] = answers
        _send(answers, f"{pid}\n")
        return True

    def _reap(self) -> None:
        while self._answers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._answers.pop(pid) as answers:
                _send(answers, f"{os.waitstatus_to_exitcode(status)}\n")

    def _leave(self) -> None:
        """Close in the child what belongs to the server."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for end in (self._woken, self._wakes, self._control, *self._answers.values()):
            end.close()
        self._answers.clear()


def _send(answers: socket.socket, text: str) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # the test that asked has ended
        answers.send(text.encode(), socket.MSG_NOSIGNAL)


def become(request: Request, files: list[int], parent: int) -> None:
    """Turn this fork into the process that was asked for, and run its module."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    for wanted, given in enumerate(files):
        os.dup2(given, wanted)
        os.close(given)
    sys.stdin = open(_STDIN, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as we live
    sys.stdout, sys.stderr = _text_to(_STDOUT), _text_to(_STDERR)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    sys.path.insert(0, request.folder)
    sys.argv = ["", *request.arguments]
    if not request.has_production_limits:
        raise_limits(pytest.MonkeyPatch())
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)


def _text_to(file: int) -> io.TextIOWrapper:
    raw = open(file, "wb", closefd=False)  # noqa: SIM115 - as long as the process lives
    return io.TextIOWrapper(
        raw, "utf-8", errors="backslashreplace", line_buffering=file == _STDERR or os.isatty(file)
    )


def main() -> None:
    """Import, and serve."""
    control = socket.socket(fileno=os.dup(_STDIN))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, _STDIN)
    os.close(null)
    for module in PREIMPORTED:
        __import__(module)
    gc.collect()
    gc.freeze()
    ForkServer(control).serve()


if __name__ == "__main__":
    main()
