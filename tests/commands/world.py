"""A database, a Graph simulator and the service; commands as processes."""

import asyncio
import io
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile

import asyncpg
import structlog

from sandbox.graph.simulator import GraphSimulator
from service.app import service
from service.commands.doctor.command import doctor
from service.settings import DoctorSettings, Settings
from service.vault import Vault
from tests.processes.forks import NO_DOTENV, fork

ROOT = Path(__file__).parents[2]
SECRET, OPERATOR_KEY, ENCRYPTION_KEY = (
    "app-secret-of-tests",
    "operator-key-of-tests",
    "A" * 43 + "=",
)
ACCOUNT, LOCATION, TOKEN = "17841400000000001", "loc_1", "EAATokenOfTests"
NAMES = {name.upper() for name in (*Settings.model_fields, *DoctorSettings.model_fields)}
PATIENCE_S = 60


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass
class World:
    """Everything a command may need, and a way to run one."""

    dsn: str
    graph: GraphSimulator
    port: int
    more: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in NAMES}
        return kept | {
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": self.dsn,
            "META_APP_SECRETS": SECRET,
            "META_VERIFY_TOKEN": "verify-token-of-tests",
            "INBOX_API_KEYS": "inbox-key-of-tests",
            "OPERATOR_API_KEYS": OPERATOR_KEY,
            "TOKEN_ENCRYPTION_KEYS": ENCRYPTION_KEY,
            "GRAPH_BASE_URL": self.graph.url,
            "INSTAGRAM_GRAPH_BASE_URL": self.graph.instagram_url,
            "GRAPH_CALLS_PER_SECOND": "200",
            "GRAPH_TIMEOUT_SECONDS": "30",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "MIGRATE_ON_START": "false",
            **self.more,
        }

    @property
    def _named(self) -> dict[str, str]:
        """The settings of the environment by their names in the code."""
        return {name.lower(): value for name, value in self.environment.items() if name in NAMES}

    async def start(self, *arguments: str, stdin: int = DEVNULL) -> Process:
        command = ("-m", "service", *arguments)
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=NO_DOTENV,
            env=self.environment,
            stdin=stdin,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, *arguments: str, stdin: bytes = b"") -> Ended:
        """Run a command to its end."""
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(stdin)
            given.seek(0)
            process = await fork(
                *("service", *arguments),
                environment=self.environment,
                stdin=given,
                stdout=out,
                stderr=err,
            )
            try:
                async with asyncio.timeout(PATIENCE_S):
                    code = await process.wait()
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
            for file in (out, err):
                file.seek(0)
            ended = Ended(code, out.read().decode(), err.read().decode())
        return self._checked(ended)

    @staticmethod
    def _checked(ended: Ended) -> Ended:
        for secret in (TOKEN, OPERATOR_KEY, SECRET):
            assert secret not in ended.out + ended.err
        assert "Traceback" not in ended.err, ended.err
        return ended

    async def examine(self, location: str | None = LOCATION, *, as_json: bool = False) -> Ended:
        """Run `doctor` in this process, which has imported it already."""
        settings, out = DoctorSettings.model_validate(self._named), io.StringIO()
        with redirect_stdout(out):
            code = await doctor(settings, None, location, as_json=as_json)
        return self._checked(Ended(code, out.getvalue(), ""))

    @asynccontextmanager
    async def running(self, *arguments: str, stdin: int = DEVNULL) -> AsyncIterator[Process]:
        """Run a command that the block ends or waits for; it does not outlive the block."""
        process = await self.start(*arguments, stdin=stdin)
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run the service, in this process, until the block ends."""
        with structlog.testing.capture_logs():
            async with service(Settings.model_validate(self._named)):
                yield

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def has(self, question: str) -> None:
        """Return when the database says yes."""
        async with asyncio.timeout(PATIENCE_S):
            while not (await self.fetch(question))[0][0]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)

    async def connect(
        self,
        account: str = ACCOUNT,
        location: str = LOCATION,
        *,
        login: str = "facebook",
        aliases: Sequence[str] = (),
        token: str = TOKEN,
    ) -> None:
        """Store a connection whose token the simulator knows."""
        self.graph.add_account(
            account, token, login="instagram" if login == "instagram" else "facebook"
        )
        await self.fetch(
            "INSERT INTO instagram_connections VALUES ($1, $2, $3, $4, $5)",
            account,
            list(aliases),
            location,
            login,
            Vault((ENCRYPTION_KEY,)).seal(token, account),
        )

    async def participants(self, users: Sequence[str], account: str = ACCOUNT) -> None:
        """Store participants that nobody fetches by himself: only a backfill does."""
        await self.fetch(
            "INSERT INTO instagram_participants (ig_account_id, ig_user_id, due_at)"
            " SELECT $1, unnest($2::text[]), NULL",
            account,
            list(users),
        )


def user(number: int) -> str:
    """Make up a user's id."""
    return f"{9_000_000_000_000_000 + number}"


def ago(**span: float) -> datetime:
    """Give a moment before now."""
    return datetime.now(UTC) - timedelta(**span)
