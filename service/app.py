"""Starts the service in one order, and stops it in the reverse order."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeVar

import aiohttp
import structlog

from service.background import BackgroundTasks
from service.build import Parts, build_arrivals, build_forwarding, build_listener
from service.build.accounts import build_token_calls, build_token_checker
from service.build.figures import publish_figures
from service.build.resolving import build_resolver
from service.build.routes import ExtraRoutes, build_routes, build_status
from service.errors import RefusedError, SettingsError, UnavailableError
from service.graph.calls import graph_session
from service.graph.tokens import TokenCalls
from service.http.health import HealthRoutes, Status
from service.http.server import serve
from service.identities.pictures.addresses import PictureHosts
from service.identities.pictures.fetch import PictureFetcher
from service.logs import flush_logs
from service.queue import TurnQueue
from service.receiving.forwarding.forwarding import forward_session
from service.receiving.intake.arrivals import Arrivals
from service.receiving.intake.direct import DirectIntake
from service.settings import Settings, secret_values
from service.signals import first_signal_calls
from service.store.database import Database
from service.store.migration import migrate
from service.vault import Vault

if TYPE_CHECKING:  # nats-py need not be installed
    from service.receiving.intake.jetstream import JetStreamIntake

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_START_CLOSES_WITHIN_S = 1.0
START_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)

_BROKER_CLIENT = ("nats", "nkeys")
Result = TypeVar("Result")

log = structlog.get_logger()


async def run(settings: Settings, extra_routes: ExtraRoutes | None = None) -> None:
    """Serve until SIGTERM or SIGINT; a second signal ends the process immediately.

    Raises the error of a vital background task that fails. Only the sandbox passes `extra_routes`.
    """
    stop, started = asyncio.Event(), asyncio.Event()
    with first_signal_calls(lambda _: stop.set(), STOP_SIGNALS):
        serving = asyncio.create_task(_serve(settings, extra_routes, started, stop), name="serve")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not serving.done() and not started.is_set():
            await _abandon_start(serving)
        await serving


async def _serve(
    settings: Settings,
    extra_routes: ExtraRoutes | None,
    started: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    async with service(settings, extra_routes) as running:
        started.set()
        gc.collect()
        gc.freeze()  # objects of the start live as long as the process: skip them in collections
        log.info("serving", host=settings.host, port=running.port)
        await running.tasks.until(stop)
        log.info("stopping", in_flight=running.queue.in_flight, queued=running.queue.depth)
        running.health.is_draining = True
    log.info("stopped")


async def _abandon_start(serving: asyncio.Task[None]) -> NoReturn:
    """End the process during its start, when nothing is in flight.

    Open resources get a second to close. A normal exit would wait for a thread that resolves a
    host name.
    """
    serving.cancel()
    await asyncio.wait([serving], timeout=_START_CLOSES_WITHIN_S)
    log.info("stopped before the start was complete")
    flush_logs()
    os._exit(0)


@dataclass
class Running:
    """A running service."""

    queue: TurnQueue
    health: HealthRoutes
    tasks: BackgroundTasks
    port: int


@asynccontextmanager
async def service(
    settings: Settings, extra_routes: ExtraRoutes | None = None
) -> AsyncIterator[Running]:
    """Build and start everything; when the block ends, stop it in the reverse order."""
    vault = Vault(secret_values(settings.token_encryption_keys))
    dsn = settings.dsn
    if settings.intake_url.get_secret_value():
        _load_broker()
    if settings.migrate_on_start:
        seals_plain = settings.seal_tokens
        await _with_retries(lambda: migrate(dsn, vault, seals_plain=seals_plain))
    async with AsyncExitStack() as stack:
        database = await _with_retries(lambda: stack.enter_async_context(Database.connect(dsn)))
        session = await stack.enter_async_context(graph_session(settings.graph_concurrency))
        hosts = PictureHosts(settings.picture_hosts)
        fetcher = await stack.enter_async_context(PictureFetcher.open(hosts))
        parts = Parts(settings, vault, database, fetcher)
        yield await _start(parts, session, stack, extra_routes)


async def _with_retries(
    attempt: Callable[[], Awaitable[Result]], what: str = "PostgreSQL"
) -> Result:
    """Retry for about 25 s, since PostgreSQL or the broker can be starting too.

    A RefusedError is raised immediately, since only an operator can help.
    """
    for wait_s in START_WAITS_S:
        try:
            return await attempt()
        except RefusedError:
            raise
        except UnavailableError as error:
            log.warning(f"waiting for {what}", error=str(error), again_in_s=wait_s)
            await asyncio.sleep(wait_s)
    return await attempt()


async def _start(
    parts: Parts,
    session: aiohttp.ClientSession,
    stack: AsyncExitStack,
    extra_routes: ExtraRoutes | None,
) -> Running:
    """Start the background tasks, then listen; the stack stops them in the reverse order."""
    settings = parts.settings
    half_s = settings.shutdown_timeout_seconds / 2
    await _with_retries(parts.replica.read)
    intake = await _with_retries(lambda: _start_intake(parts, stack), "the broker")
    forwarding = build_forwarding(parts, await stack.enter_async_context(forward_session()))
    token_calls = build_token_calls(parts, session)
    status = build_status(parts, intake, forwarding)
    health = HealthRoutes(status, intake, parts.metrics)
    routes = build_routes(parts, intake, status, health, forwarding, token_calls, extra_routes)
    publish_figures(parts, intake, forwarding)
    tasks = BackgroundTasks(stack, parts.metrics.note_background_failure)
    _start_memory(parts, status, tasks)
    _start_resolving(parts, session, stack, tasks, half_s)
    _start_accounts(parts, token_calls, tasks)
    if forwarding is not None:
        stack.push_async_callback(forwarding.forwarder.drain, half_s)
        tasks.start("forwarder", forwarding.forwarder.run)
    if not isinstance(intake, DirectIntake):
        tasks.start("intake", intake.run)
    listening = serve(
        routes,
        settings.host,
        settings.port,
        half_s,
        settings.drain_seconds,
        reuse_port=settings.reuse_port,
    )
    return Running(parts.queue, health, tasks, await stack.enter_async_context(listening))


def _start_memory(parts: Parts, status: Status, tasks: BackgroundTasks) -> None:
    """Start the tasks that keep this process's memory and figures up to date."""
    tasks.start("listener", build_listener(parts).run)
    tasks.start("replica", parts.replica.run)
    tasks.start("changes", parts.changes.run)
    tasks.start("counter", parts.counted.run)
    tasks.start("outlook", status.outlook.run)
    tasks.start("minutes", status.minutes.run)


def _start_resolving(
    parts: Parts,
    session: aiohttp.ClientSession,
    stack: AsyncExitStack,
    tasks: BackgroundTasks,
    drain_s: float,
) -> None:
    resolver = build_resolver(parts, session)
    tasks.start("pictures", parts.pictures.run)
    tasks.start("resolver", resolver.run, is_vital=True)
    stack.push_async_callback(resolver.drain, drain_s)
    tasks.start("sweeper", parts.sweeper.run)


def _start_accounts(parts: Parts, token_calls: TokenCalls, tasks: BackgroundTasks) -> None:
    checker = build_token_checker(parts, token_calls)
    parts.replica.on_connections = checker.wake
    tasks.start("token checks", checker.run)
    tasks.start("token watch", parts.token_watch.run)
    tasks.start("leaver", parts.leaver.run)
    if parts.settings.retention_days:
        tasks.start("retention", parts.retention.run)


async def _start_intake(parts: Parts, stack: AsyncExitStack) -> DirectIntake | JetStreamIntake:
    arrivals = build_arrivals(parts)
    url = parts.settings.intake_url.get_secret_value()
    if not url:
        return DirectIntake(arrivals)
    return await stack.enter_async_context(_load_broker()(url, arrivals))


def _load_broker() -> Callable[[str, Arrivals], AbstractAsyncContextManager[JetStreamIntake]]:
    """Import the broker's intake; raises SettingsError if its client is not installed."""
    try:
        from service.receiving.intake.jetstream import jetstream_intake  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _BROKER_CLIENT:
            raise
        raise SettingsError(
            "INTAKE_URL names a broker, but its client is not installed: install nats-py[nkeys],"
            " or leave INTAKE_URL empty."
        ) from None
    return jetstream_intake
