"""The faults: context managers that break something and repair it at the end."""

from __future__ import annotations

import asyncio
import signal
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import asyncpg

from tests.system.chaos.processes import Service
from tests.system.chaos.rig import Rig

FULL = Path("/dev/full")
JUMP_S = 3600.0
_SHIFTED = ("-m", "tests.system.chaos.shifted")
# Makes every stored time an hour older, as a jump of the database's clock does.
_OLDER = """
DO $older$
DECLARE
    stored record;
BEGIN
    FOR stored IN
        SELECT table_name,
            string_agg(format('%1$I = %1$I - interval ''1 hour''', column_name), ', ') AS changes
        FROM information_schema.columns JOIN information_schema.tables
            USING (table_schema, table_name)
        WHERE table_type = 'BASE TABLE' AND table_name LIKE 'instagram\\_%'
            AND data_type = 'timestamp with time zone'
        GROUP BY table_name ORDER BY table_name
    LOOP
        EXECUTE format('UPDATE %I SET %s', stored.table_name, stored.changes);
    END LOOP;
END
$older$
"""

Kind = Literal["service", "postgres", "graph", "broker", "other"]


@dataclass(frozen=True)
class Fault:
    """A fault, its duration, and how often it occurs in a deck."""

    name: str
    kind: Kind
    broken: Callable[[Rig, Random], AbstractAsyncContextManager[None]]
    hold_s: tuple[float, float]
    cards: int


@asynccontextmanager
async def _restarted(rig: Rig, service: Service) -> AsyncIterator[None]:
    """Start a service normally when the block ends."""
    try:
        yield
    finally:
        await service.stop()
        await service.start()
        await service.wait_until_ready(rig.session)


@asynccontextmanager
async def killed(rig: Rig, random: Random) -> AsyncIterator[None]:
    """Kill a service, as if its machine died, and restart it."""
    service = random.choice(rig.services)
    await service.kill()
    async with _restarted(rig, service):
        yield


@asynccontextmanager
async def all_killed(rig: Rig, _: Random) -> AsyncIterator[None]:
    """Kill every service at once."""
    await asyncio.gather(*(service.kill() for service in rig.services))
    try:
        yield
    finally:
        await rig.start_services()


@asynccontextmanager
async def stopped(rig: Rig, random: Random) -> AsyncIterator[None]:
    """Stop a service, as a deployment does, and restart it."""
    service = random.choice(rig.services)
    code = await service.stop()
    if code:
        raise AssertionError(f"a service that was asked to stop ended with {code}")
    async with _restarted(rig, service):
        yield


@asynccontextmanager
async def log_full(rig: Rig, random: Random) -> AsyncIterator[None]:
    """Run a service whose log is on a full disk."""
    service = random.choice(rig.services)
    await service.stop()
    await service.start(stdout=FULL)
    await service.wait_until_ready(rig.session)
    async with _restarted(rig, service):
        yield


@asynccontextmanager
async def clock_of_service(rig: Rig, random: Random) -> AsyncIterator[None]:
    """Put a running service's wall clock forward by an hour."""
    service = random.choice(rig.services)
    clock = service.log.with_name("clock")
    clock.write_bytes(struct.pack("d", 0.0))
    await service.stop()
    await service.start(launcher=(*_SHIFTED, str(clock)))
    await service.wait_until_ready(rig.session)
    with clock.open("r+b") as opened:  # in place, since the service has mapped it
        opened.write(struct.pack("d", JUMP_S))
    async with _restarted(rig, service):
        yield


@asynccontextmanager
async def clock_of_postgres(rig: Rig, _: Random) -> AsyncIterator[None]:
    """Make every stored time an hour older, as if the database's clock had jumped forward."""
    await rig.fetch(_OLDER)
    rig.clock_jumped_at.append(time.monotonic())
    yield


def _postgres(begin: str, end: str) -> Callable[[Rig, Random], AbstractAsyncContextManager[None]]:
    """Return a fault that consists of two commands to the server."""

    @asynccontextmanager
    async def failing(rig: Rig, _: Random) -> AsyncIterator[None]:
        await rig.postgres.do(begin)
        try:
            yield
        finally:
            await rig.postgres.do(end)

    return failing


postgres_killed = _postgres("kill", "start")
postgres_stopped = _postgres("stop", "start")
postgres_frozen = _postgres("freeze", "thaw")  # its sessions stay open, and nothing answers


@asynccontextmanager
async def connections_exhausted(rig: Rig, _: Random) -> AsyncIterator[None]:
    """Take all connections of PostgreSQL, and terminate those of the services."""
    async with AsyncExitStack() as hogged:
        hog = asyncio.create_task(_hog(rig, hogged))
        try:
            await asyncio.sleep(0)
            yield
        finally:
            hog.cancel()
            await asyncio.wait([hog])
            if not hog.cancelled():
                hog.result()


@asynccontextmanager
async def graph_down(rig: Rig, _: Random) -> AsyncIterator[None]:
    """Restart the Graph simulator; its record of calls is kept."""
    rig.calls_of_the_dead = await rig.all_graph_calls()
    await rig.graph.kill()
    try:
        yield
    finally:
        await rig.graph.start()
        await rig.connect_accounts()


@asynccontextmanager
async def graph_frozen(rig: Rig, _: Random) -> AsyncIterator[None]:
    """Freeze the Graph simulator: it accepts connections but does not answer."""
    rig.graph.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        rig.graph_thawed_at.append(time.monotonic())
        rig.graph.signal(signal.SIGCONT)


@asynccontextmanager
async def graph_slow(rig: Rig, _: Random) -> AsyncIterator[None]:
    """Let Graph take 0.5 to 1.8 s for each answer."""
    await rig.control_graph("latency", ms=[500, 1800])
    try:
        yield
    finally:
        await rig.control_graph("latency", ms=0)


def graph_answers(answer: str) -> Callable[[Rig, Random], AbstractAsyncContextManager[None]]:
    """Return a fault that consists of one of the simulator's answers."""

    @asynccontextmanager
    async def answering(rig: Rig, _: Random) -> AsyncIterator[None]:
        await rig.control_graph("answer", answer=answer)
        try:
            yield
        finally:
            await rig.control_graph("answer", answer=None)

    return answering


GRAPH_ANSWERS = {
    "graph hangs": "timeout",
    "graph resets": "reset",
    "graph half answers": "half_answer",
    "graph stalls": "stalled_answer",
    "graph not JSON": "html_502",
}
FAULTS = (
    Fault("kill -9 one", "service", killed, (0.0, 1.0), 9),
    Fault("kill -9 all", "service", all_killed, (0.0, 1.0), 3),
    Fault("SIGTERM one", "service", stopped, (0.0, 1.0), 2),
    Fault("postgres kill -9", "postgres", postgres_killed, (0.2, 3.0), 2),
    Fault("postgres restart", "postgres", postgres_stopped, (0.2, 4.0), 2),
    Fault("postgres frozen", "postgres", postgres_frozen, (3.0, 5.0), 2),
    Fault("postgres full", "postgres", connections_exhausted, (2.0, 4.0), 1),
    Fault("graph down", "graph", graph_down, (1.0, 4.0), 1),
    Fault("graph frozen", "graph", graph_frozen, (2.0, 4.0), 1),
    Fault("graph slow", "graph", graph_slow, (2.0, 4.0), 1),
    *(
        Fault(name, "graph", graph_answers(answer), (2.0, 4.0), 1)
        for name, answer in GRAPH_ANSWERS.items()
    ),
    Fault("log disk full", "other", log_full, (1.0, 3.0), 1),
    Fault("service clock +1 h", "other", clock_of_service, (1.0, 3.0), 1),
    Fault("database clock +1 h", "other", clock_of_postgres, (0.0, 0.5), 1),
)


async def _hog(rig: Rig, hogged: AsyncExitStack) -> None:
    """Take connections endlessly; if none is left, terminate those of the services."""
    while True:
        try:
            connection = await asyncpg.connect(rig.role_dsn, timeout=5)
        except asyncpg.TooManyConnectionsError:
            with suppress(asyncpg.TooManyConnectionsError):
                await rig.fetch(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'instagram-identity'"
                )
            await asyncio.sleep(0.01)
        else:
            hogged.push_async_callback(_give_back, connection)


async def _give_back(connection: asyncpg.Connection) -> None:
    connection.terminate()
