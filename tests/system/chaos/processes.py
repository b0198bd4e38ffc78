"""Child processes that can be broken and restarted; none outlives its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol, Self

from aiohttp import ClientError, ClientSession

from sandbox.leash import leashed
from sandbox.ports import free_port

PROJECT = Path(__file__).parents[3]
HOST = "127.0.0.1"
READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0
_POLL_S = 0.02


class BrokenError(Exception):
    """A process ended by itself, or did not become ready."""


async def spawn(
    *arguments: str,
    program: Path = Path(sys.executable),
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
) -> asyncio.subprocess.Process:
    """Start a program, by default Python, which dies with this process and can import the project.

    Its folder has no `.env`, so the results do not depend on a developer's settings.
    """
    given = os.environ if environment is None else environment
    return await asyncio.create_subprocess_exec(
        *leashed(program, *arguments),
        cwd="/",
        env={**given, "PYTHONPATH": str(PROJECT)},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,  # Ctrl-C must not reach it
    )


class Process(Protocol):
    """A process of asyncio, or a replacement."""

    pid: int

    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def send_signal(self, signal: int) -> None: ...


class StartModule(Protocol):
    """Starts `python -m MODULE`; its standard error is by default this process's."""

    async def __call__(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        stdout: IO[bytes],
        stderr: IO[bytes] | None = None,
    ) -> Process: ...


async def start_module(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
) -> Process:
    """Start it in a new interpreter."""
    return await spawn(
        *("-m", module, *arguments), environment=environment, stdout=stdout, stderr=stderr
    )


class Service:
    """`python -m service serve` on one port, with its whole log."""

    def __init__(self, environment: Mapping[str, str], port: int, folder: Path) -> None:
        self.port = port
        self.url = f"http://{HOST}:{port}"
        self.log = folder / f"service-{port}.log"
        self.errors = folder / f"service-{port}.err"
        self.is_wanted = False
        self.environment = {**environment, "HOST": HOST, "PORT": str(port)}
        self.starts: StartModule = start_module
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The process id; raises BrokenError if it has ended by itself."""
        if self._process is None or self._process.returncode is not None:
            raise BrokenError(f"the service at {self.port} does not run")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Return whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def has_fallen(self) -> bool:
        """Return whether it ended by itself."""
        process = self._process
        return self.is_wanted and process is not None and process.returncode is not None

    async def start(
        self, stdout: Path | None = None, launcher: Sequence[str] | None = None
    ) -> None:
        """Start it; its standard output goes to `stdout`, by default to its log.

        `launcher` has the arguments of an interpreter that runs the service differently.
        """
        with (stdout or self.log).open("ab") as log, self.errors.open("ab") as errors:
            if launcher is None:
                self._process = await self.starts(
                    *("service", "serve"), environment=self.environment, stdout=log, stderr=errors
                )
            else:
                self._process = await spawn(
                    *launcher, "serve", environment=self.environment, stdout=log, stderr=errors
                )
        self.is_wanted = True

    async def wait_until_ready(self, session: ClientSession) -> None:
        """Return when /readyz reports ready and the intake ok; raises BrokenError."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                while not await self._is_ready(session):  # noqa: ASYNC110 - another process's event
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise BrokenError(f"the service at {self.port} did not become ready") from None

    async def kill(self) -> None:
        """Kill it, as if its machine died."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Stop it and wait; returns its exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        self.is_wanted = False
        if self._process is None:
            return 0
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        async with asyncio.timeout(STOPPED_WITHIN_S):
            return await self._process.wait()

    async def _is_ready(self, session: ClientSession) -> bool:
        if self.has_fallen:
            raise BrokenError(f"the service ended: {self.errors.read_text()[-2000:]}")
        try:
            async with session.get(f"{self.url}/readyz") as response:
                told = await response.json()
                return response.status == 200 and told["intake"]["state"] == "ok"
        except (OSError, ClientError):
            return False


class GraphProcess:
    """The Graph simulator as a child process, on the same ports each time."""

    def __init__(self, app_secret: str, starts: StartModule = start_module) -> None:
        self._ports = (free_port(), free_port(), free_port())
        self._app_secret = app_secret
        self._starts = starts
        self._process: Process | None = None
        self.url, self.instagram_url, self.pictures_url = (
            f"http://{HOST}:{port}" for port in self._ports
        )

    async def start(self) -> None:
        """Start it and return when it listens."""
        names = ("--port", "--instagram-port", "--pictures-port")
        ports = zip(names, map(str, self._ports), strict=True)
        options = [word for pair in ports for word in pair]
        read_end, write_end = os.pipe()
        with os.fdopen(read_end, "rb") as says, os.fdopen(write_end, "wb") as stdout:
            self._process = await self._starts(
                *("sandbox.graph.simulator", *options, "--app-secret", self._app_secret),
                environment={},
                stdout=stdout,
            )
            stdout.close()
            await asyncio.to_thread(says.readline)

    @property
    def pid(self) -> int | None:
        """The process id; None if it does not run."""
        is_running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and is_running else None

    async def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.send_signal(number)


class PostgresProcess:
    """An embedded PostgreSQL, controlled through a child process.

    The server must be started from a main thread, which blocks meanwhile.
    """

    keeper = "tests.system.chaos.postgres"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()
        self.dsn = ""

    async def __aenter__(self) -> Self:
        self._process = await spawn(
            "-m", self.keeper, str(self._folder),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        await self.do("start")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()

    async def do(self, what: str) -> None:
        """Run one of start, stop, kill, freeze and thaw; returns when it is done."""
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            raise BrokenError("the keeper of PostgreSQL does not run")
        async with self._one_at_a_time:
            self._process.stdin.write(f"{what}\n".encode())
            answer = await self._process.stdout.readline()
        if not answer:
            raise BrokenError(f"the keeper of PostgreSQL ended: it was told to {what}")
        self.told(json.loads(answer))

    def told(self, answer: dict[str, Any]) -> None:
        """Handle the answer to a command."""
        self.dsn = answer["dsn"]
