"""A real PostgreSQL for every worker process, a new database for every test that changes one."""

import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import Mock
from urllib.parse import urlsplit

import aiohttp
import aioresponses.core
import asyncpg
import hypothesis
import pytest
import pytest_asyncio
import structlog
from hypothesis import HealthCheck

from sandbox.postgres.server import EmbeddedPostgres
from tests.isolation import hide_settings
from tests.limits import raise_limits, restore_limits
from tests.programs import check_programs, describe_skipped

FOLDER = Path(__file__).parent
SCHEMA = FOLDER.parent / "schema.sql"
# Tests that wait most of their time, for a broker or a time limit, stand among those that compute.
LONGEST_FIRST = (
    *("receiving/intake/test_cluster", "benchmarks", "sandbox/test_run"),
    *("receiving/intake/test_jetstream", "browser/test_console", "faults/test_broker", "clients"),
    *("browser", "abuse/test_connections", "sandbox", "receiving/intake/test_broker_faults"),
    *("receiving", "faults", "abuse", "replicas", "service", "commands"),
)
ROOMY_BYTES = 2 << 30


def pytest_configure() -> None:
    hide_settings()
    # Each run tries the same examples, in whatever time they take; `make fuzz` makes new ones.
    hypothesis.settings.register_profile(
        "suite",
        derandomize=True,
        deadline=None,
        max_examples=50,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that none of them is left at the end."""

    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(FOLDER).as_posix()
        ranks = (rank for rank, start in enumerate(LONGEST_FIRST) if path.startswith(start))
        return next(ranks, len(LONGEST_FIRST))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Leave what was collected out of garbage collections: they would take a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    check_programs(item)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End with what was skipped for want of a program."""
    skipped = terminalreporter.stats.get("skipped", [])
    lines = describe_skipped(str(report.longrepr) for report in skipped)
    if lines:
        terminalreporter.section("skipped: programs that are not installed")
        for line in lines:
            terminalreporter.line(line)


class DatabaseServer(Protocol):
    def dsn(self, database: str = ...) -> str: ...


@dataclass(frozen=True)
class GivenServer:
    """The server that TEST_DATABASE_URL names; its account must be allowed to create databases."""

    url: str

    def dsn(self, database: str = "") -> str:
        path = f"/{database}" if database else urlsplit(self.url).path
        return urlsplit(self.url)._replace(path=path).geturl()


@pytest.fixture(scope="session", autouse=True)
def _aioresponses_on_aiohttp_3_14() -> Iterator[None]:
    """Give aioresponses 0.7.9 the one argument that aiohttp 3.14 added to ClientResponse.

    The response reads nothing from it but how much of the request was sent. To be deleted as
    soon as a test of the Graph client passes without it.
    """
    response = partial(aiohttp.ClientResponse, stream_writer=Mock(output_size=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aioresponses.core, "ClientResponse", response)
        yield


@pytest.fixture(scope="session", autouse=True)
def _raised_limits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        raise_limits(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_cached_loggers() -> Iterator[None]:
    """Let no logger keep the configuration of the test that used it first: nothing catches it."""

    def configure(**wanted: Any) -> None:  # noqa: ANN401 - as structlog has them
        structlog_configure(**(wanted | {"cache_logger_on_first_use": False}))

    structlog_configure = structlog.configure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", configure)
        yield


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Undo what a command that ran in this process made of the logs."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def production_limits() -> Iterator[None]:
    """Let statements, acknowledgements and pings have the seconds that production gives them."""
    with pytest.MonkeyPatch.context() as patch:
        restore_limits(patch)
        yield


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a new folder that the account of an embedded server can pass, unlike `tmp_path`."""
    with _open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """Share a cluster between a worker's tests that start, stop and break it: initdb is slow."""
    with _open_folder() as folder:
        yield folder / "postgres"


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    """Start a server that the test may break."""
    with EmbeddedPostgres(data_dir, durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[DatabaseServer]:
    """Start the server that a worker's tests share; a test that breaks one starts its own."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield GivenServer(url)
        return
    with _open_folder() as folder, EmbeddedPostgres(folder / "postgres", durable=False) as server:
        yield server


@dataclass(frozen=True)
class Databases:
    """Makes databases on a server, over one connection for a whole run."""

    server: DatabaseServer
    connection: asyncpg.Connection

    @asynccontextmanager
    async def new(self, template: str = "template0") -> AsyncIterator[str]:
        """Give the DSN of a new database, which is dropped when the block ends."""
        name = f"test_{uuid.uuid4().hex}"
        # Our own server, which need not flush, copies files faster than it logs pages.
        how = "STRATEGY file_copy" if isinstance(self.server, EmbeddedPostgres) else ""
        await self.connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} {how}")
        try:
            yield self.server.dsn(name)
        finally:
            await self.connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def databases(postgres: DatabaseServer) -> AsyncIterator[Databases]:
    """Connect to the server that a worker's tests share."""
    connection = await asyncpg.connect(postgres.dsn())
    yield Databases(postgres, connection)
    await connection.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def template_database(databases: Databases) -> AsyncIterator[str]:
    """Name a database that holds schema.sql and nothing else."""
    async with databases.new() as url:
        connection = await asyncpg.connect(url)
        await connection.execute(SCHEMA.read_text())
        await connection.close()
        yield urlsplit(url).path.removeprefix("/")


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(databases: Databases, template_database: str) -> AsyncIterator[str]:
    """Give the DSN of a database of the test's own, with the schema in it."""
    async with databases.new(template_database) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database_of_the_module(
    databases: Databases, template_database: str
) -> AsyncIterator[str]:
    """Give the DSN of a database that the tests of a module share, with the schema in it."""
    async with databases.new(template_database) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def empty_database_url(databases: Databases) -> AsyncIterator[str]:
    """Give the DSN of a database of the test's own, without anything in it."""
    async with databases.new() as url:
        yield url


@contextmanager
def _open_folder() -> Iterator[Path]:
    """Make a folder that the server's account can pass, in memory if there is room.

    A database copied in memory takes 10 ms; on a slow disk, with 300 files each, 250 ms.
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it
    is_roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOMY_BYTES
    folder = Path(tempfile.mkdtemp(prefix="tests-", dir=memory if is_roomy else None))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
