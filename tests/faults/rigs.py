"""The real processes for tests that break or press them: PostgreSQL, Graph and the service."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest_asyncio

from tests.processes.forks import fork
from tests.system.chaos.processes import GraphProcess, PostgresProcess, Process
from tests.system.chaos.rig import Keys, Rig, machinery, rig, scratch_folder
from tests.until import until

STDERR = 2

Machines = tuple[Path, PostgresProcess, GraphProcess, Keys]


async def fork_module(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
) -> Process:
    """Start it as a fork, which needs no imports."""
    with os.fdopen(os.dup(STDERR), "wb") as inherited:
        return await fork(
            *(module, *arguments),
            environment=environment,
            stdout=stdout,
            stderr=stderr or inherited,
            has_production_limits=True,
        )


@asynccontextmanager
async def forked_rig(
    folder: Path,
    postgres: PostgresProcess,
    graph: GraphProcess,
    keys: Keys,
    *,
    services: int = 1,
    **settings: str,
) -> AsyncIterator[Rig]:
    """Make a rig whose services are forks."""
    async with rig(folder, postgres, graph, keys, services=services, **settings) as made:
        for service in made.services:
            service.starts = fork_module
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def machines() -> AsyncIterator[Machines]:
    """Start a PostgreSQL and a Graph simulator that tests of this worker may break."""
    with scratch_folder() as name:
        folder = Path(name)
        async with machinery(folder, starts_graph=fork_module) as (postgres, graph, keys):
            yield folder, postgres, graph, keys


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_rig(machines: Machines) -> AsyncIterator[Rig]:
    """Start one service for a module's tests, each of which leaves it healed."""
    async with forked_rig(
        *machines, GRAPH_TIMEOUT_SECONDS="0.5", GRAPH_CALLS_PER_SECOND="50"
    ) as made:
        await made.start_services()
        yield made


async def identity_of(rig: Rig, user: str) -> dict[str, Any]:
    """Look a user up."""
    answer = await rig.look_up(user)
    assert answer.status == 200, answer
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found


async def named(rig: Rig, *users: str) -> None:
    """Wait until every user has a name."""

    async def all_resolved() -> bool:
        states = [(await identity_of(rig, user))["state"] for user in users]
        return set(states) == {"resolved"}

    await until(all_resolved)
