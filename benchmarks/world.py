"""Starts the measured programs: the service and others, each in its own process."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from benchmarks.loads import BenchmarkError
from benchmarks.target import Target
from sandbox.leash import leashed
from sandbox.ports import free_port, listens
from tests.system.chaos.processes import (
    HOST,
    PROJECT,
    READY_WITHIN_S,
    GraphProcess,
    PostgresProcess,
    Service,
)
from tests.system.chaos.rig import ACCOUNTS, PREFIX, Keys, Rig, machinery, rig, scratch_folder
from tests.until import until

ACCOUNT = ACCOUNTS[0]

_INSERT_USERS = """
INSERT INTO instagram_user_cache
    (ig_user_id, username, name, profile_pic_url, last_fetched_at, expires_at)
SELECT u, 'user.' || u, 'Some Name', 'https://scontent.cdninstagram.com/v/t51.2885-19/' || u
    || '_n.jpg?stp=dst-jpg_s206x206&oe=6A5C0E80', now(), now() + interval '7 days'
FROM unnest($1::text[]) u
"""


class World:
    """The PostgreSQL, the Graph simulator and the keys that all programs share."""

    def __init__(
        self, folder: Path, postgres: PostgresProcess, graph: GraphProcess, keys: Keys
    ) -> None:
        self.folder = folder
        self.postgres = postgres
        self.graph = graph
        self.keys = keys

    @asynccontextmanager
    async def service(self, name: str = "ours", **settings: str) -> AsyncIterator[Ours]:
        """Run the service with a new database, logging at info and metrics on."""
        async with rig(
            self.folder, self.postgres, self.graph, self.keys, services=1, **settings
        ) as made:
            await made.start_services()
            yield Ours(made, name)

    @asynccontextmanager
    async def beside(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        others: Sequence[Sequence[str]] = (),
    ) -> AsyncIterator[Target]:
        """Run a program that listens at $PORT, and `others` that belong to it."""
        port = free_port()
        settings = self._settings(environment) | {"PORT": str(port), "UVICORN_PORT": str(port)}
        commands = [command, *others]
        with (self.folder / f"{name}.log").open("ab") as log:
            processes = [await _spawn(each, settings, log.fileno()) for each in commands]
        try:
            try:
                await until(partial(listens, port), READY_WITHIN_S)
            except TimeoutError:
                said = (self.folder / f"{name}.log").read_text()[-2000:]
                raise BenchmarkError(f"{name} does not listen: {said}") from None
            pids = tuple(each.pid for each in processes)
            yield Target(
                name,
                f"http://{HOST}:{port}",
                pids,
                is_frozen_between=True,
                dsn=settings.get("DATABASE_URL", ""),
            )
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
            await asyncio.gather(*(process.wait() for process in processes))

    async def run_once(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Run a program to its end; raises BenchmarkError if it fails."""
        with (self.folder / "once.log").open("ab") as log:
            process = await _spawn(command, self._settings(environment), log.fileno())
        if await process.wait():
            said = (self.folder / "once.log").read_text()[-2000:]
            raise BenchmarkError(f"{' '.join(command)} failed: {said}")

    def _settings(self, environment: Mapping[str, str] | None) -> dict[str, str]:
        return {
            "APP_SECRET": self.keys.app_secret,
            "INBOX_KEY": self.keys.inbox,
            "GRAPH_URL": self.graph.url,
            "ACCESS_TOKEN": f"{self.keys.token}0",
            **(environment or {}),
        }

    async def new_database(self) -> str:
        """Create an empty database on the same server; returns its URL."""
        name = f"bench_{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self.postgres.dsn)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return urlsplit(self.postgres.dsn)._replace(path=f"/{name}").geturl()


class Ours:
    """The service and its database."""

    def __init__(self, made: Rig, name: str) -> None:
        self.rig = made
        self.target = Target(name, self.service.url, (self.service.pid,))

    @property
    def service(self) -> Service:
        """The process."""
        return self.rig.services[0]

    async def make_known(self, users: Sequence[str]) -> None:
        """Write participants with a fresh identity into the tables."""
        await self.rig.fetch(_INSERT_USERS, users)
        await self.rig.fetch(
            "INSERT INTO instagram_participants (ig_account_id, ig_user_id, due_at)"
            " SELECT $1, u, NULL FROM unnest($2::text[]) u",
            ACCOUNT,
            users,
        )

    @property
    def current(self) -> Target:
        """The process that runs now, which can be a later one."""
        return Target(self.target.name, self.service.url, (self.service.pid,))

    async def add_recent(self, users: Sequence[str]) -> None:
        """Write participants who have just written and were not fetched."""
        await self.rig.fetch(
            "INSERT INTO instagram_participants (ig_account_id, ig_user_id)"
            " SELECT $1, u FROM unnest($2::text[]) u",
            ACCOUNT,
            users,
        )

    async def until_idle(self) -> None:
        """Wait until no user is queued or in flight."""
        names = ("instagram_queue_depth", "instagram_in_flight")
        while any([await self.metric(name) for name in names]):  # noqa: ASYNC110 - not our event
            await asyncio.sleep(0.05)

    async def metric(self, name: str) -> float:
        """Return a metric, summed over its labels."""
        async with self.rig.session.get(f"{self.service.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        found = [line for line in lines if line.partition("{")[0].partition(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in found)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Start what all benchmarks need."""
    with scratch_folder() as name:
        folder = Path(name)
        async with machinery(folder) as (postgres, graph, keys):
            yield World(folder, postgres, graph, keys)


async def _spawn(
    command: Sequence[str], settings: Mapping[str, str], log: int
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *leashed(*command),
        cwd=PROJECT,
        env={**os.environ, **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )


__all__ = ["ACCOUNT", "ACCOUNTS", "PREFIX", "Ours", "Target", "World", "world"]
