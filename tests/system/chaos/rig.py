"""The system under test: PostgreSQL, a Graph simulator and the service as child processes."""

from __future__ import annotations

import base64
import itertools
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from sandbox import samples
from sandbox.ports import free_port
from service.store.migration import migrate
from service.vault import Vault
from tests.system.chaos.processes import (
    PROJECT,
    GraphProcess,
    PostgresProcess,
    Service,
    StartModule,
    start_module,
)

ROLE = "instagram_identity"
LEAST_PRIVILEGE = PROJECT / "deploy" / "least-privilege.sql"
PREFIX = "/api/social/instagram"
ACCOUNTS = tuple(f"1784149900000{number:04}" for number in range(1, 9))
ANSWERED_WITHIN_S = 15.0
_SYSTEM = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")
_COVERAGE = "COVERAGE"


@dataclass(frozen=True)
class Keys:
    """Generated secrets of one rig."""

    app_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    verify: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    inbox: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    operator: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    encryption: str = field(
        default_factory=lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    )
    token: str = field(default_factory=lambda: "EAA" + secrets.token_hex(24))


@dataclass(frozen=True)
class Answer:
    """An answer: its status, headers and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Rig:
    """All processes, and clients that act as Meta and the inbox do."""

    def __init__(
        self,
        postgres: PostgresProcess,
        graph: GraphProcess,
        services: Sequence[Service],
        session: aiohttp.ClientSession,
        keys: Keys,
        database: str,
    ) -> None:
        self.postgres = postgres
        self.graph = graph
        self.services = list(services)
        self.session = session
        self.keys = keys
        self.calls_of_the_dead: list[dict[str, Any]] = []
        self.graph_thawed_at: list[float] = []
        self.clock_jumped_at: list[float] = []
        self._database = database

    @property
    def owner_dsn(self) -> str:
        """The database's URL for its owner."""
        return urlsplit(self.postgres.dsn)._replace(path=f"/{self._database}").geturl()

    @property
    def role_dsn(self) -> str:
        """The database's URL for the least-privilege role."""
        return role_dsn(self.owner_dsn, self.keys)

    def service_pids(self) -> list[int]:
        """Return the process ids of the services that run."""
        return [service.pid for service in self.services if service.is_running]

    def graph_pids(self) -> list[int]:
        """Return the process id of the simulator, if it runs."""
        return [self.graph.pid] if self.graph.pid is not None else []

    async def deliver(self, body: bytes, service: Service | None = None) -> Answer:
        """Send a webhook as Meta does."""
        return await self.ask(
            "POST",
            "/webhook",
            service=service,
            data=body,
            headers=samples.signed_headers(body, self.keys.app_secret),
        )

    async def write_as(self, *users: str, service: Service | None = None) -> Answer:
        """Deliver a message of each user to the first account."""
        return await self.deliver(message_from(*users), service)

    async def look_up(self, ig_user_id: str, service: Service | None = None) -> Answer:
        """Look up an identity, as the inbox does."""
        headers = {"Authorization": f"Bearer {self.keys.inbox}"}
        return await self.ask("GET", f"/users/{ig_user_id}", service=service, headers=headers)

    async def probe(self, path: str) -> Answer:
        """Request a path without the API's prefix."""
        async with self.session.get(self.services[0].url + path) as response:
            return Answer(response.status, response.headers, await response.read())

    async def metric(self, name: str) -> float:
        """Return a metric without labels of the first service."""
        lines = (await self.probe("/metrics")).body.decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    async def ask(
        self,
        method: str,
        path: str,
        *,
        service: Service | None = None,
        **options: Any,  # noqa: ANN401 - aiohttp's own
    ) -> Answer:
        """Send a request to a service, by default the first one."""
        url = (service or self.services[0]).url + PREFIX + path
        async with self.session.request(method, url, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def control_graph(self, path: str, **body: object) -> None:
        """Change a setting of the simulator."""
        async with self.session.put(f"{self.graph.url}/_simulator/{path}", json=body) as answer:
            answer.raise_for_status()

    async def connect_accounts(self) -> None:
        """Add the accounts to the simulator."""
        for number, account in enumerate(ACCOUNTS):
            await self.control_graph(f"accounts/{account}", tokens=[f"{self.keys.token}{number}"])

    async def withhold_profile(self, ig_user_id: str, ig_account_id: str) -> None:
        """Make the simulator refuse a user's profile and list a conversation with the username."""
        await self.control_graph(f"threads/{ig_user_id}", igAccountId=ig_account_id)
        await self.control_graph(f"users/{ig_user_id}", answer="consent_required")

    async def graph_calls(
        self, ig_user_id: str | None = None, kind: str = "profiles"
    ) -> list[dict[str, Any]]:
        """Return the simulator's profile or conversation calls."""
        query = {"limit": "200000", "kind": kind} | ({"user": ig_user_id} if ig_user_id else {})
        url = f"{self.graph.url}/_simulator/calls"
        async with self.session.get(url, params=query) as answer:
            calls: list[dict[str, Any]] = (await answer.json())["calls"]
        return calls

    async def all_graph_calls(self) -> list[dict[str, Any]]:
        """Return all calls within the budget, including those of earlier simulators, by time."""
        living = (await self.graph_calls(), await self.graph_calls(kind="conversations"))
        calls = (*self.calls_of_the_dead, *itertools.chain(*living))
        return sorted(calls, key=lambda call: float(call["atS"]))

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a statement as the owner of the tables."""
        connection = await asyncpg.connect(self.owner_dsn, timeout=10)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def start_services(self) -> None:
        """Start the services that do not run, and return when all are ready."""
        for service in self.services:
            if not service.is_wanted:
                await service.start()
        await self.ready()

    async def ready(self) -> None:
        """Return when every service is ready."""
        for service in self.services:
            await service.wait_until_ready(self.session)


@asynccontextmanager
async def machinery(
    folder: Path,
    server: PostgresProcess | None = None,
    starts_graph: StartModule = start_module,
) -> AsyncIterator[tuple[PostgresProcess, GraphProcess, Keys]]:
    """Start PostgreSQL (or the given one) and a Graph simulator for several rigs."""
    keys = Keys()
    graph = GraphProcess(keys.app_secret, starts_graph)
    async with server or PostgresProcess(folder / "postgres") as postgres:
        try:
            await graph.start()
            yield postgres, graph, keys
        finally:
            await graph.kill()


@asynccontextmanager
async def rig(
    folder: Path,
    postgres: PostgresProcess,
    graph: GraphProcess,
    keys: Keys,
    *,
    services: int = 1,
    **settings: str,
) -> AsyncIterator[Rig]:
    """Create a database, the least-privilege role, and services for it, which are not started yet.

    When the block ends, the services are killed; the database stays.
    """
    database = f"rig_{secrets.token_hex(6)}"
    await _execute(postgres.dsn, f"CREATE DATABASE {database}")
    owner_dsn = urlsplit(postgres.dsn)._replace(path=f"/{database}").geturl()
    environment = _environment(keys, graph, settings)
    await migrate(owner_dsn, Vault((keys.encryption,)))
    await grant(owner_dsn, keys)
    environment |= {"DATABASE_URL": role_dsn(owner_dsn, keys)}
    made = [Service(environment, free_port(), folder) for _ in range(services)]
    async with AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=ANSWERED_WITHIN_S)
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=timeout, connector=connector)
        )
        for service in made:
            stack.push_async_callback(service.kill)
        found = Rig(postgres, graph, made, session, keys, database)
        await found.connect_accounts()
        await _insert_connections(found, environment)
        yield found


async def grant(owner_dsn: str, keys: Keys) -> None:
    """Apply the project's least-privilege file, and let its role log in."""
    await _execute(owner_dsn, LEAST_PRIVILEGE.read_text())
    await _execute(owner_dsn, f"ALTER ROLE {ROLE} PASSWORD '{keys.verify}'")


def role_dsn(owner_dsn: str, keys: Keys) -> str:
    """Return the URL of the same database for the least-privilege role."""
    parts = urlsplit(owner_dsn)
    return parts._replace(netloc=f"{ROLE}:{keys.verify}@{parts.hostname}:{parts.port}").geturl()


def message_from(*users: str, account: str = ACCOUNTS[0]) -> bytes:
    """Return a delivery with one message of each user."""
    return samples.delivery(
        samples.entry(account, *(samples.message(user, account) for user in users))
    )


def new_user() -> str:
    """Return a new user."""
    return str(7 * 10**15 + secrets.randbelow(10**15))


def _environment(keys: Keys, graph: GraphProcess, settings: Mapping[str, str]) -> dict[str, str]:
    system = {
        name: value
        for name, value in os.environ.items()
        if name in _SYSTEM or name.startswith(_COVERAGE)
    }
    return (
        system
        | {
            "META_APP_SECRETS": keys.app_secret,
            "META_VERIFY_TOKEN": keys.verify,
            "INBOX_API_KEYS": keys.inbox,
            "OPERATOR_API_KEYS": keys.operator,
            "TOKEN_ENCRYPTION_KEYS": keys.encryption,
            "GRAPH_BASE_URL": graph.url,
            "INSTAGRAM_GRAPH_BASE_URL": graph.instagram_url,
            "PICTURE_HOSTS": graph.pictures_url,
            "GRAPH_CALLS_PER_SECOND": "50",
            "MIGRATE_ON_START": "false",
            "SHUTDOWN_TIMEOUT_SECONDS": "5",
            "LOG_FORMAT": "json",
        }
        | dict(settings)
    )


async def _insert_connections(rig: Rig, environment: Mapping[str, str]) -> None:
    vault = Vault((environment["TOKEN_ENCRYPTION_KEYS"].split(",")[0],))
    for number, account in enumerate(ACCOUNTS):
        sealed = vault.seal(f"{rig.keys.token}{number}", account)
        await rig.fetch(
            "INSERT INTO instagram_connections (ig_account_id, location_id, access_token)"
            " VALUES ($1, 'rig', $2)",
            account,
            sealed,
        )


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder that the account of an embedded server can traverse."""
    folder = tempfile.TemporaryDirectory(prefix="chaos-")
    Path(folder.name).chmod(0o711)
    return folder
