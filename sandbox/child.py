"""The service as the sandbox's child process, which never outlives it."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import aiohttp

from sandbox.environment import PROJECT
from sandbox.problems import SandboxError

_READY_S, _POLL_S, _STOP_S = 30, 0.05, 20
_LAST_LINES, _LAST_BYTES = 15, 16_384

# Asks Linux to kill the process when its parent dies (prctl 1 is PR_SET_PDEATHSIG), makes sure
# that the parent has not died before, and becomes the service.
_LEASH = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the sandbox has gone")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class ServiceProcess:
    """A module of the project (`service serve`), run with exactly this environment; logs to a file.

    It is killed when the sandbox dies, however that happens, and gets time to end by itself when
    the context is left. Start it from the main thread: Linux watches the thread.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        log: Path,
        module: Sequence[str] = ("service", "serve"),
    ) -> None:
        self._environment = dict(environment)
        self._log = log
        self._module = module

    async def __aenter__(self) -> Self:
        if self._log.exists():
            self._log.replace(self._log.with_name(f"{self._log.name}.1"))
        self._log.touch(mode=0o600)
        command = ("-c", _LEASH, str(os.getpid()), "-m", *self._module)
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *command,
                cwd=PROJECT,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a terminal's Ctrl-C reaches the sandbox alone
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        except BaseException:
            with suppress(ProcessLookupError):
                self._process.kill()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def wait_until_serving(self) -> None:
        """Return when its own log says so: at a shared port another one might answer.

        Raises SandboxError after 30 s or if the service ends.
        """
        try:
            async with asyncio.timeout(_READY_S):
                while b'"serving"' not in self._log.read_bytes():
                    if self._process.returncode is not None:
                        raise SandboxError(self._ended(self._process.returncode))
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise SandboxError(
                f"The service was not ready within {_READY_S} s.\n{self._last_words()}"
            ) from None

    async def wait_until_ready(self, url: str) -> None:
        """Return when /readyz says yes; raises SandboxError after 30 s or if the service ends."""
        async with aiohttp.ClientSession() as session:
            try:
                async with asyncio.timeout(_READY_S):
                    while not await self._is_ready(session, url):  # noqa: ASYNC110 - not our event
                        await asyncio.sleep(_POLL_S)
            except TimeoutError:
                raise SandboxError(
                    f"The service was not ready within {_READY_S} s.\n{self._last_words()}"
                ) from None

    async def wait_until_ended(self) -> None:
        """Raise SandboxError as soon as the service ends by itself."""
        code = await self._process.wait()
        raise SandboxError(self._ended(code))

    async def _is_ready(self, session: aiohttp.ClientSession, url: str) -> bool:
        if self._process.returncode is not None:
            raise SandboxError(self._ended(self._process.returncode))
        try:
            async with session.get(f"{url}/readyz") as response:
                return response.status == 200  # noqa: PLR2004 - HTTP's own number
        except aiohttp.ClientError:
            return False

    def _ended(self, code: int) -> str:
        return f"The service ended by itself (exit code {code}).\n{self._last_words()}"

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LAST_BYTES))
            text = log.read().decode(errors="replace")
        lines = [f"  {line}" for line in text.splitlines()[-_LAST_LINES:]]
        return "\n".join([f"Its log, {self._log}, ends with:", *(lines or ["  (nothing)"])])
