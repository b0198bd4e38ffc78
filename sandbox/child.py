"""Runs the service as a child process of the sandbox."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import aiohttp

from sandbox import leash
from sandbox.environment import PROJECT
from sandbox.problems import SandboxError

_READY_S, _POLL_S, _STOP_S = 30, 0.05, 20
_LAST_LINES, _LAST_BYTES = 15, 16_384


class ServiceProcess:
    """A module of the project (`service serve`) with exactly this environment; logs to a file.

    It is killed if the sandbox dies, and terminated with a time limit when the block ends.
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
        command = (sys.executable, "-m", *self._module)
        self._process = await leash.start(command, self._log, self._environment, PROJECT)
        return self

    async def __aexit__(self, *_: object) -> None:
        await leash.end(self._process, _STOP_S)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def wait_until_serving(self) -> None:
        """Return when its log says so, since another replica may answer at a shared port.

        Raises SandboxError after 30 s or if the service ends.
        """
        await self._wait_until(self._is_serving)

    async def wait_until_ready(self, url: str) -> None:
        """Return when /readyz says yes; raises SandboxError after 30 s or if the service ends."""
        async with aiohttp.ClientSession() as session:
            await self._wait_until(lambda: _is_ready(session, url))

    async def _wait_until(self, is_done: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(_READY_S):
                while not await is_done():
                    if self._process.returncode is not None:
                        raise SandboxError(self._ended(self._process.returncode))
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise SandboxError(
                f"The service was not ready within {_READY_S} s.\n{self._last_words()}"
            ) from None

    async def _is_serving(self) -> bool:
        return b'"serving"' in self._log.read_bytes()

    async def wait_until_ended(self) -> None:
        """Raise SandboxError when the service ends by itself."""
        code = await self._process.wait()
        raise SandboxError(self._ended(code))

    def _ended(self, code: int) -> str:
        return f"The service ended by itself (exit code {code}).\n{self._last_words()}"

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _LAST_BYTES))
            text = log.read().decode(errors="replace")
        lines = [f"  {line}" for line in text.splitlines()[-_LAST_LINES:]]
        return "\n".join([f"Its log, {self._log}, ends with:", *(lines or ["  (nothing)"])])


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as response:
            return response.status == 200  # noqa: PLR2004 - OK
    except aiohttp.ClientError:
        return False
