"""The one place that builds and connects things; the order of contexts is the shutdown order."""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar, get_args

import structlog

from service.budget import Budget, PauseBoard
from service.changes import Changes
from service.erasure import Erasure
from service.errors import UnavailableError
from service.fetching import Fetching
from service.grants import Grants
from service.graph import GraphClient, graph_session
from service.http.auth import Keyring
from service.http.console import ConsoleRoutes
from service.http.events import EventRoutes
from service.http.health import HealthRoutes, Status, describe_intake
from service.http.operators import OperatorRoutes
from service.http.pages import Pages
from service.http.pictures import PictureRoutes
from service.http.server import build_application, serve
from service.http.users import UserRoutes
from service.http.webhook import WebhookRoutes
from service.intake.arrivals import Arrivals
from service.intake.direct import DirectIntake
from service.intake.jetstream import JetStreamIntake, jetstream_intake
from service.intake.known import Known
from service.logs import LOST_LINES
from service.metrics import Metrics
from service.model import PauseReason, Rules
from service.queue import TurnQueue
from service.replica import Replica
from service.resolver import Resolver, lease_for
from service.settings import secret_values
from service.store.claims import Claims
from service.store.connections import Connections
from service.store.database import Database, Listener
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.migration import migrate
from service.store.pauses import Pauses
from service.store.places import Places
from service.sweeper import Sweeper
from service.vault import Vault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence

    import aiohttp
    from aiohttp import web

    from service.intake import Intake
    from service.settings import Settings

    ExtraRoutes = Callable[[Keyring], Sequence[web.RouteDef]]

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
START_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)

Result = TypeVar("Result")

log = structlog.get_logger()


async def run(settings: Settings, extra_routes: ExtraRoutes | None = None) -> None:
    """Serve until SIGTERM or SIGINT, a second of which ends it at once.

    Raises if a background task dies.
    `extra_routes` are for the sandbox alone, which has more to offer than production.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    async with service(settings, extra_routes) as running:
        gc.collect()
        gc.freeze()  # what a start leaves is kept for good: no collection has to look at it again
        log.info("serving", host=settings.host, port=running.port)
        await running.until(stop)
        log.info("stopping", in_flight=running.queue.in_flight, queued=running.queue.depth)
        running.health.is_draining = True
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
    log.info("stopped")


class Running:
    """A service that runs: its port, and the tasks that must not die."""

    def __init__(self, queue: TurnQueue, health: HealthRoutes) -> None:
        self.queue = queue
        self.health = health
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def background(self, name: str, work: Coroutine[None, None, None]) -> AsyncIterator[None]:
        """Run a task under watch until the block ends."""
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        try:
            yield
        finally:
            self._tasks.remove(task)
            task.cancel()
            await asyncio.wait([task])

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for the stop; a background task that ends before it stops the service, loudly."""
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([stopped, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for task in self._tasks:
            if task.done():
                log.error("a background task died: stopping", task=task.get_name())
                task.result()
                raise RuntimeError(f"the background task {task.get_name()} ended by itself")


@dataclass(frozen=True)
class Parts:
    """What both halves of the service are built from."""

    settings: Settings
    vault: Vault
    database: Database
    rules: Rules
    metrics: Metrics
    board: PauseBoard
    known: Known
    queue: TurnQueue
    identities: Identities
    changes: Changes
    pauses: Pauses
    connections: Connections
    extra_routes: ExtraRoutes | None

    @classmethod
    def build(
        cls,
        settings: Settings,
        vault: Vault,
        database: Database,
        extra_routes: ExtraRoutes | None = None,
    ) -> Parts:
        """Build the parts that need no start."""
        rules = Rules(timedelta(days=settings.profile_ttl_days), settings.max_failures)
        board = PauseBoard()
        identities = Identities(database, rules)
        return cls(
            settings=settings,
            vault=vault,
            database=database,
            rules=rules,
            metrics=Metrics(),
            board=board,
            known=Known(),
            queue=TurnQueue(settings.queue_capacity, board.is_account_paused),
            identities=identities,
            changes=Changes(identities.look_up, rules),
            pauses=Pauses(database),
            connections=Connections(database, vault),
            extra_routes=extra_routes,
        )


@asynccontextmanager
async def service(
    settings: Settings, extra_routes: ExtraRoutes | None = None
) -> AsyncIterator[Running]:
    """Build, start and, when the block ends, stop everything in the reverse order."""
    vault = Vault(secret_values(settings.token_encryption_keys))
    dsn = settings.database_url.get_secret_value()
    if settings.migrate_on_start:
        await _patiently(lambda: migrate(dsn, vault))
    async with AsyncExitStack() as stack:
        database = await _patiently(lambda: stack.enter_async_context(Database.connect(dsn)))
        session = await stack.enter_async_context(graph_session(settings.graph_concurrency))
        parts = Parts.build(settings, vault, database, extra_routes)
        yield await _start(parts, session, stack)


async def _patiently(attempt: Callable[[], Awaitable[Result]], what: str = "PostgreSQL") -> Result:
    """Try until what we depend on, which may be starting too, lets us in; about 25 seconds."""
    for wait_s in START_WAITS_S:
        try:
            return await attempt()
        except UnavailableError as error:
            log.warning(f"waiting for {what}", error=str(error), again_in_s=wait_s)
            await asyncio.sleep(wait_s)
    return await attempt()


async def _start(parts: Parts, session: aiohttp.ClientSession, stack: AsyncExitStack) -> Running:
    """Start the resolving half, then the receiving half; they stop in the reverse order."""
    settings = parts.settings
    half_s = settings.shutdown_timeout_seconds / 2
    sweeper = Sweeper(parts.identities, parts.queue, settings.queue_capacity)
    fetching = Fetching(parts.identities, parts.queue, parts.rules)
    resolver = _resolver(parts, session)
    replica = _replica(parts, fetching, sweeper)
    await _patiently(replica.read)
    arrivals = Arrivals(
        Journal(parts.database, parts.rules), parts.known, parts.queue, parts.metrics
    )
    intake = await _patiently(lambda: _intake(settings, arrivals, stack), "the broker")
    status = _status(parts, intake)
    health = HealthRoutes(status, intake, parts.metrics)
    running = Running(parts.queue, health)
    application = _application(parts, intake, replica, fetching, status, health)
    _watch(parts, sweeper, intake)
    await stack.enter_async_context(running.background("listener", _listen(parts, replica)))
    await stack.enter_async_context(running.background("replica", replica.run()))
    await stack.enter_async_context(running.background("changes", parts.changes.run()))
    await stack.enter_async_context(running.background("counter", status.run()))
    await stack.enter_async_context(running.background("resolver", resolver.run()))
    stack.push_async_callback(resolver.drain, half_s)
    await stack.enter_async_context(running.background("sweeper", sweeper.run()))
    if isinstance(intake, JetStreamIntake):
        await stack.enter_async_context(running.background("intake", intake.run()))
    running.port = await stack.enter_async_context(
        serve(
            application,
            settings.host,
            settings.port,
            half_s,
            settings.drain_seconds,
            reuse_port=settings.reuse_port,
        )
    )
    return running


def _resolver(parts: Parts, session: aiohttp.ClientSession) -> Resolver:
    settings = parts.settings
    places = Places(parts.database, 1 / settings.graph_calls_per_second)
    budget = Budget(places, parts.pauses, parts.board, parts.queue.hold)
    graph = GraphClient(
        session,
        {"facebook": settings.graph_base_url, "instagram": settings.instagram_graph_base_url},
        settings.graph_api_version,
        settings.meta_app_secrets[0].get_secret_value(),
        settings.graph_timeout_seconds,
        budget.note_usage,
    )
    lease = lease_for(budget.patience_s, settings.graph_timeout_seconds)
    return Resolver(
        parts.queue,
        Claims(parts.database, parts.rules, lease),
        budget,
        parts.board,
        graph,
        parts.vault,
        parts.metrics,
        settings.graph_concurrency,
        settings.graph_calls_per_second,
    )


def _replica(parts: Parts, fetching: Fetching, sweeper: Sweeper) -> Replica:
    return Replica(
        parts.connections,
        parts.pauses,
        parts.board,
        parts.known,
        parts.queue,
        parts.changes,
        fetching.note_change,
        sweeper.wake,
    )


def _listen(parts: Parts, replica: Replica) -> Coroutine[None, None, None]:
    return Listener(
        parts.settings.database_url.get_secret_value(),
        replica.notices(),
        replica.connected,
        replica.disconnected,
    ).run()


async def _intake(
    settings: Settings, arrivals: Arrivals, stack: AsyncExitStack
) -> DirectIntake | JetStreamIntake:
    url = settings.intake_url.get_secret_value()
    if not url:
        return DirectIntake(arrivals)
    return await stack.enter_async_context(jetstream_intake(url, arrivals))


def _status(parts: Parts, intake: Intake) -> Status:
    return Status(
        parts.database,
        parts.identities,
        parts.pauses,
        parts.board,
        parts.queue,
        intake,
        parts.metrics,
        parts.settings.graph_calls_per_second,
    )


def _application(
    parts: Parts,
    intake: Intake,
    replica: Replica,
    fetching: Fetching,
    status: Status,
    health: HealthRoutes,
) -> web.Application:
    settings = parts.settings
    keyring = Keyring(
        secret_values(settings.inbox_api_keys),
        secret_values(settings.operator_api_keys),
        parts.metrics.wrong_keys.inc,
    )
    webhook = WebhookRoutes(
        secret_values(settings.meta_app_secrets),
        settings.meta_verify_token.get_secret_value(),
        intake,
        lambda: replica.account_of,
        parts.metrics,
    )
    users = UserRoutes(parts.identities, parts.queue, parts.rules, parts.metrics)
    operators = OperatorRoutes(
        fetching,
        parts.identities,
        Erasure(parts.identities, intake, parts.known, parts.queue),
        parts.connections,
        status,
        replica,
        parts.rules,
    )
    pages = Pages()
    application = build_application(
        keyring,
        webhook,
        users,
        operators,
        health,
        EventRoutes(parts.changes),
        PictureRoutes(users, parts.identities, parts.queue),
        Grants(secret_values(settings.token_encryption_keys)),
        pages,
        ConsoleRoutes(pages, parts.rules, has_sandbox=parts.extra_routes is not None),
    )
    if parts.extra_routes is not None:
        application.add_routes(parts.extra_routes(keyring))
    return application


def _watch(parts: Parts, sweeper: Sweeper, intake: Intake) -> None:
    """Publish what is read when it is asked for."""
    watch, watch_each, queue = parts.metrics.watch, parts.metrics.watch_each, parts.queue
    watch("instagram_queue_depth", "Users that wait", lambda: queue.depth)
    watch("instagram_queue_oldest_seconds", "The longest wait", queue.oldest_s)
    watch("instagram_in_flight", "Users being resolved", lambda: queue.in_flight)
    watch("instagram_known_users", "Users known durable", lambda: len(parts.known))
    watch("instagram_notices_up", "Notices are heard", lambda: parts.known.is_trusted)
    watch("instagram_event_streams", "Clients that watch", lambda: parts.changes.subscriptions)
    watch("instagram_postgres_up", "PostgreSQL answers", lambda: parts.database.is_answering)
    watch("instagram_lost_log_lines", "Lines not written", lambda: LOST_LINES.count)
    watch("instagram_sweep_age_seconds", "Time since the last sweep", sweeper.age_s)
    watch_each(
        "instagram_intake_up",
        "What makes deliveries durable answers",
        ["kind"],
        {(intake.describe()["kind"],): lambda: _is_up(intake, parts.database)},
    )
    watch_each(
        "instagram_pauses",
        "Pauses in force",
        ["scope", "reason"],
        {
            (scope, reason): partial(parts.board.count, scope, reason)
            for scope in ("app", "account")
            for reason in get_args(PauseReason)
        },
    )


def _is_up(intake: Intake, database: Database) -> bool:
    postgres = "ok" if database.is_answering else "unavailable"
    return describe_intake(intake, postgres)["state"] == "ok"
