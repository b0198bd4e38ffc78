"""The whole service behind real HTTP: real PostgreSQL, the Graph simulator, signed deliveries.

The tests of a module that take the service as it is share one, in the module's event loop; each
finds an empty database and the Graph of the start. A test that starts a service itself, needs
another setting or changes what lasts has its own, as has one that asks for `own_service`.
"""

import asyncio
import base64
import contextlib
import io
import itertools
import json
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, cast

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
import structlog

from sandbox import samples
from sandbox.graph.simulator import GraphSimulator
from service.accounts import token_checks
from service.app import Running, service
from service.http import guesses
from service.resolving import profile_calls, sweeper, workers
from service.settings import Settings
from tests.answers import Answer
from tests.processes.forks import Fork, fork
from tests.tables import EMPTY_TABLES
from tests.until import until

PROJECT = Path(__file__).parents[2]
API = "/api/social/instagram"
ACCOUNT, OTHER_ACCOUNT = "17841400000000001", "17841400000000002"
LOCATION, OTHER_LOCATION = "loc_1", "loc_2"
TOKEN, OTHER_TOKEN = "EAAG-token-of-the-account", "EAAG-token-of-the-other"
APP_SECRET, VERIFY_TOKEN = "an-app-secret-for-tests", "a-verify-token-for-tests"
INBOX_KEY, OPERATOR_KEY = "inbox-key-for-tests", "operator-key-for-tests"
ENCRYPTION_KEY = base64.urlsafe_b64encode(b"an encryption key of 32 bytes...").decode()
SECRETS = (TOKEN, OTHER_TOKEN, APP_SECRET, VERIFY_TOKEN, INBOX_KEY, OPERATOR_KEY, ENCRYPTION_KEY)

Database = asyncpg.Connection
Json = Any

FOLDER = Path(__file__).parent

_user_numbers = itertools.count(1)


class MakeSettings(Protocol):
    def __call__(self, **changed: object) -> Settings: ...


class Start(Protocol):
    def __call__(self, **changed: object) -> Awaitable["Client"]: ...


class Spawn(Protocol):
    def __call__(self, **environment: str) -> Awaitable["ServiceProcess"]: ...


def new_user() -> str:
    """Give an id that no other user of this run has."""
    return f"12544591546{next(_user_numbers):07d}"


async def fetch_row(db: Database, query: str, *args: object) -> asyncpg.Record:
    """Read the one row of a query."""
    (row,) = await db.fetch(query, *args)
    return row


@dataclass(frozen=True)
class Client:
    """The service as Meta, the Inbox and operators use it."""

    url: str
    session: aiohttp.ClientSession
    running: Running | None = None

    async def call(self, method: str, path: str, *, key: str = "", **request: Any) -> Answer:  # noqa: ANN401 - as aiohttp has them
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= request.pop("headers", {})
        async with self.session.request(
            method, self.url + path, headers=headers, allow_redirects=False, **request
        ) as response:
            assert response.headers.get("X-Request-ID"), f"{method} {path} has no X-Request-ID"
            return await Answer.of(response)

    async def inbox(self, path: str, method: str = "GET", **request: Any) -> Answer:  # noqa: ANN401 - as aiohttp has them
        return await self.call(method, API + path, key=INBOX_KEY, **request)

    async def operator(self, method: str, path: str, **request: Any) -> Answer:  # noqa: ANN401 - as aiohttp has them
        return await self.call(method, API + path, key=OPERATOR_KEY, **request)

    async def post_webhook(self, body: bytes, secret: str = APP_SECRET) -> Answer:
        headers = samples.signed_headers(body, secret)
        return await self.call("POST", f"{API}/webhook", data=io.BytesIO(body), headers=headers)

    async def deliver(self, *items: samples.JsonObject, account: str = ACCOUNT) -> None:
        """Send items in one entry, and see them acknowledged."""
        answer = await self.post_webhook(samples.delivery(samples.entry(account, *items)))
        assert (answer.status, answer.body) == (200, b"EVENT_RECEIVED")

    async def write(self, *users: str, account: str = ACCOUNT) -> None:
        """Have users write one message each."""
        await self.deliver(*(samples.message(user, account) for user in users), account=account)

    async def identity(self, user: str) -> Json:
        answer = await self.inbox(f"/users/{user}")
        assert answer.status == 200, answer.body
        return answer.json

    async def until_state(self, user: str, state: str) -> Json:
        """Look a user up until the state is this."""

        async def in_state() -> Json:
            identity = await self.identity(user)
            return identity if identity["state"] == state else None

        return await until(in_state)

    async def until_failed(self, user: str, times: int = 1) -> Json:
        """Look a user up until so many failures are counted."""

        async def has_failed() -> Json:
            identity = await self.identity(user)
            return identity if identity["failCount"] >= times else None

        return await until(has_failed)

    async def until_reason(self, user: str, reason: str | None) -> Json:
        """Look a user up until the reason is this."""

        async def has_reason() -> Json:
            identity = await self.identity(user)
            return identity if identity["reason"] == reason else None

        return await until(has_reason)

    async def status(self) -> Json:
        return (await self.operator("GET", "/status")).json

    async def pauses(self) -> dict[str, str]:
        """Tell the reason of each scope that /status shows as paused."""
        return {pause["scope"]: pause["reason"] for pause in (await self.status())["pauses"]}

    async def until_paused(self, scope: str, reason: str) -> None:
        async def is_paused() -> bool:
            return (await self.pauses()).get(scope) == reason

        await until(is_paused)

    async def until_idle(self) -> None:
        """Wait until nobody is queued or in flight."""

        async def is_idle() -> bool:
            queue = (await self.status())["queue"]
            return bool(queue["depth"] == queue["inFlight"] == 0)

        await until(is_idle)

    async def connect(
        self,
        account: str = ACCOUNT,
        token: str = TOKEN,
        location: str = LOCATION,
        **more: object,
    ) -> Json:
        body = {"locationId": location, "accessToken": token} | more
        answer = await self.operator("PUT", f"/connections/{account}", json=body)
        assert answer.status == 200, answer.body
        return answer.json

    async def connection(self, account: str = ACCOUNT) -> Json:
        listed = (await self.operator("GET", "/connections")).json["connections"]
        return next(c for c in listed if c["igAccountId"] == account)


@pytest.fixture(autouse=True)
def _quiet_logs() -> Iterator[None]:
    """Keep the service's lines out of the tests' output; `caught_logs` has them."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test wait for a sweep, a second try or the end of a pause no longer than it must."""
    monkeypatch.setattr(sweeper, "INTERVAL_S", 0.1)
    monkeypatch.setattr(sweeper, "OVERDUE", timedelta(seconds=0.05))
    monkeypatch.setattr(profile_calls, "SECOND_TRY_S", (0.05, 0.1))
    monkeypatch.setattr(workers, "PAUSE_CHECK_S", 0.05)


@pytest.fixture
async def own_graph() -> AsyncIterator[GraphSimulator]:
    """Give a Graph API that knows the two accounts and their tokens."""
    async with _graph() as graph:
        yield graph


@pytest.fixture
def environment(database_url: str, graph: GraphSimulator) -> dict[str, str]:
    """Give the environment of a service that uses this test's database and Graph."""
    return make_environment(database_url, graph)


def make_environment(database_url: str, graph: GraphSimulator) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "META_APP_SECRETS": APP_SECRET,
        "META_VERIFY_TOKEN": VERIFY_TOKEN,
        "INBOX_API_KEYS": INBOX_KEY,
        "OPERATOR_API_KEYS": OPERATOR_KEY,
        "TOKEN_ENCRYPTION_KEYS": ENCRYPTION_KEY,
        "GRAPH_BASE_URL": graph.url,
        "INSTAGRAM_GRAPH_BASE_URL": graph.instagram_url,
        "GRAPH_CALLS_PER_SECOND": "200",
        "PICTURE_HOSTS": "http://127.0.0.1:9",
        "GRAPH_TIMEOUT_SECONDS": "30",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "SHUTDOWN_TIMEOUT_SECONDS": "4",
        "MIGRATE_ON_START": "false",
    }


@pytest.fixture
def settings(environment: dict[str, str]) -> MakeSettings:
    """Make settings for this test's database and Graph; arguments replace what they name."""

    def make(**changed: object) -> Settings:
        return read_settings(environment, **changed)

    return make


def read_settings(environment: Mapping[str, str], **changed: object) -> Settings:
    named: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
    return Settings.model_validate(named | changed)


@pytest.fixture
async def start(settings: MakeSettings) -> AsyncIterator[Start]:
    """Start services in this process; all of them are stopped after the test."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(_session())

        async def start_one(**changed: object) -> Client:
            running = await stack.enter_async_context(service(settings(**changed)))
            return Client(f"http://127.0.0.1:{running.port}", session, running)

        yield start_one


@pytest.fixture
async def own_client(start: Start) -> Client:
    """Start a service that has one connection."""
    client = await start()
    await client.connect()
    return client


@pytest.fixture
async def own_db(database_url: str) -> AsyncIterator[Database]:
    """Look at the tables, as an operator with psql does."""
    async with _look_at(database_url) as db:
        yield db


@dataclass(frozen=True)
class Shared:
    """A service, its database and its Graph, which the tests of a module use one after another."""

    client: Client
    db: Database
    graph: GraphSimulator

    async def begin(self) -> None:
        """Forget the test before: its users, connections and pauses, and what it told Graph."""
        self.graph.reset()
        await self.db.execute("DELETE FROM instagram_participants")
        await until(self._is_idle)
        await self.db.execute(EMPTY_TABLES)
        self.graph.reset()
        _introduce_accounts(self.graph)
        await self.client.connect()
        self.graph.token_calls.clear()

    async def _is_idle(self) -> bool:
        assert self.client.running is not None
        queue = self.client.running.queue
        return queue.depth == queue.in_flight == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service_of_the_module(database_of_the_module: str) -> AsyncIterator[Shared]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(_session())
        graph = await stack.enter_async_context(_graph())
        db = await stack.enter_async_context(_look_at(database_of_the_module))
        settings = read_settings(make_environment(database_of_the_module, graph))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(token_checks, "SOON_S", 3600.0)  # no check takes what a test has scripted
            running = await stack.enter_async_context(service(settings))
        client = Client(f"http://127.0.0.1:{running.port}", session, running)
        yield Shared(client, db, graph)


@pytest_asyncio.fixture(loop_scope="module")
async def shared(service_of_the_module: Shared, monkeypatch: pytest.MonkeyPatch) -> Shared:
    """Give the module's service, with one connection."""
    monkeypatch.setattr(guesses, "_WINDOW_S", 0.0)  # no test pays for the guesses of another
    await service_of_the_module.begin()
    return service_of_the_module


@pytest.fixture
def own_service() -> None:
    """Give the test a service that no other test uses."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that share a service in its event loop."""
    for item in items:
        if item.path.parent == FOLDER and _is_sharing(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


def _is_sharing(item: pytest.Item) -> bool:
    named = set(getattr(item, "fixturenames", ()))
    return "client" in named and named.isdisjoint({"own_service", "environment", "database_url"})


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Client:
    """Give a service that has one connection."""
    if _is_sharing(request.node):
        return cast("Shared", request.getfixturevalue("shared")).client
    return cast("Client", request.getfixturevalue("own_client"))


@pytest.fixture
def graph(request: pytest.FixtureRequest) -> GraphSimulator:
    """Give the Graph API that the test's service calls."""
    if _is_sharing(request.node):
        return cast("Shared", request.getfixturevalue("shared")).graph
    return cast("GraphSimulator", request.getfixturevalue("own_graph"))


@pytest.fixture
def db(request: pytest.FixtureRequest) -> Database:
    """Look at the tables of the test's service, as an operator with psql does."""
    if _is_sharing(request.node):
        return cast("Shared", request.getfixturevalue("shared")).db
    return cast("Database", request.getfixturevalue("own_db"))


@asynccontextmanager
async def _graph() -> AsyncIterator[GraphSimulator]:
    async with GraphSimulator(app_secret=APP_SECRET) as graph:
        _introduce_accounts(graph)
        yield graph


def _introduce_accounts(graph: GraphSimulator) -> None:
    graph.add_account(ACCOUNT, TOKEN)
    graph.add_account(OTHER_ACCOUNT, OTHER_TOKEN)


@asynccontextmanager
async def _look_at(database_url: str) -> AsyncIterator[Database]:
    connection = await asyncpg.connect(database_url)
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    yield connection
    await connection.close()


@dataclass
class ServiceProcess:
    """`python -m service serve`, its output in a file."""

    process: Process | Fork
    output: Path
    session: aiohttp.ClientSession
    client: Client = field(init=False)

    async def ready(self) -> "ServiceProcess":
        """Wait for the line that tells the port."""

        async def port() -> int:
            assert self.process.returncode is None, self.output.read_text()
            lines = [line for line in self.lines() if line["event"] == "serving"]
            return int(lines[0]["port"]) if lines else 0

        self.client = Client(f"http://127.0.0.1:{await until(port)}", self.session)
        return self

    def lines(self) -> list[dict[str, Any]]:
        """Read what was logged; fails unless each whole line is a JSON object."""
        *whole, _ = self.output.read_text().split("\n")
        lines = [json.loads(line) for line in whole]
        assert all(isinstance(line, dict) for line in lines)
        return lines

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and give the exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(60):
            return await self.process.wait()


@pytest.fixture
async def spawn(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Spawn]:
    """Start the service as a process; whatever still runs after the test is killed."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(_session())

        async def spawn_one(**changed: str) -> ServiceProcess:
            output = tmp_path / f"service-{len(list(tmp_path.iterdir()))}.log"
            process = await run_command("serve", environment | changed, output)
            stack.push_async_callback(_end, process)
            return await ServiceProcess(process, output, session).ready()

        yield spawn_one


async def run_command(
    command: str, environment: Mapping[str, str], output: Path, *more: str
) -> Fork:
    """Start `python -m service COMMAND` with this environment and nothing of ours."""
    with output.open("wb") as file:
        return await fork(
            *("service", command, *more),
            environment={"PATH": os.defpath} | dict(environment),
            folder=output.parent,
            stdout=file,
        )


async def _end(process: Process | Fork) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=40))
