"""PostgreSQL with a synchronous standby, behind an address that follows the primary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tests.system.chaos.faults import Fault
from tests.system.chaos.link import Link
from tests.system.chaos.processes import HOST, PostgresProcess, Service


class PostgresPair(PostgresProcess):
    """A primary and its synchronous standby; `dsn` is a proxy, which represents a DNS name."""

    keeper = "tests.system.chaos.pair"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._link = Link(0)
        self._stack = AsyncExitStack()
        self._renewal: asyncio.Task[None] | None = None
        self._primary_port = 0
        self._ports: tuple[int, int] = (0, 0)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._link.up())
        await super().__aenter__()
        self.follow()
        return self

    async def __aexit__(self, *error: object) -> None:
        try:
            await self._renewed()
        finally:
            await super().__aexit__(*error)
            await self._stack.aclose()

    def told(self, answer: dict[str, Any]) -> None:
        """Set the ports of both servers from the answer."""
        parts = urlsplit(answer["dsn"])
        self._primary_port = parts.port or 0
        self._ports = (self._primary_port, int(answer["standby"]))
        login, _, _ = parts.netloc.rpartition("@")
        self.dsn = parts._replace(netloc=f"{login}@{HOST}:{self._link.port}").geturl()

    async def do(self, what: str) -> None:
        """Run a command of a single server or of the pair."""
        await self._renewed()
        await super().do(what)

    def follow(self) -> None:
        """Point the name at the primary; open sessions stay on the old server."""
        self._link.lead_to(self._primary_port)

    def renew(self) -> None:
        """Start to build a new standby in place of the old server; `do` waits for the end."""
        self._renewal = asyncio.create_task(super().do("renew"), name="new standby")

    async def _renewed(self) -> None:
        if self._renewal is not None:
            renewal, self._renewal = self._renewal, None
            await renewal

    def name_both(self, service: Service) -> None:
        """Configure a service with both hosts instead of the name that follows the primary."""
        parts = urlsplit(service.environment["DATABASE_URL"])
        login, _, _ = parts.netloc.rpartition("@")
        hosts = ",".join(f"{HOST}:{port}" for port in self._ports)
        address = parts._replace(netloc=f"{login}@{hosts}").geturl()
        service.environment["DATABASE_URL"] = address


def failovers(pair: PostgresPair) -> tuple[Fault, ...]:
    """Return all kinds of failover."""

    @asynccontextmanager
    async def killed(*_: object) -> AsyncIterator[None]:
        """Kill the primary and promote the standby; meanwhile the name leads to no server."""
        async with _failover(pair, "kill", "promote"):
            yield
        pair.renew()

    @asynccontextmanager
    async def switched(*_: object) -> AsyncIterator[None]:
        """Swap primary and standby; meanwhile the name leads to the new standby."""
        async with _failover(pair, "switch"):
            yield

    @asynccontextmanager
    async def demoted(*_: object) -> AsyncIterator[None]:
        """Make the primary read-only and promote the standby; name and sessions follow later."""
        async with _failover(pair, "demote"):
            yield
        pair.renew()

    return (
        Fault("failover: primary killed", "postgres", killed, (0.5, 4.0), 1),
        Fault("failover: to a standby", "postgres", switched, (2.0, 5.0), 1),
        Fault("failover: read-only", "postgres", demoted, (2.0, 5.0), 1),
    )


@asynccontextmanager
async def _failover(pair: PostgresPair, *words: str) -> AsyncIterator[None]:
    """Wait for the standby to have every commit, and change the primary; the name follows last."""
    for word in ("catch_up", *words):
        await pair.do(word)
    try:
        yield
    finally:
        pair.follow()
