"""The virtual environments of the competitors, created when they are first needed."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from benchmarks.loads import BenchmarkError
from benchmarks.target import Target
from benchmarks.world import ACCOUNT, World
from tests.system.chaos.processes import PROJECT

FOLDER = PROJECT / ".bench"
REQUIREMENTS = Path(__file__).parent
_INSERT_USERS = """
INSERT INTO users (ig_user_id, username, name, profile_pic_url, fetched_at)
SELECT u, 'user.' || u, 'Some Name', 'https://scontent.cdninstagram.com/v/t51.2885-19/' || u
    || '_n.jpg?stp=dst-jpg_s206x206&oe=6A5C0E80', now()
FROM unnest($1::text[]) u
"""
_INSERT_PARTICIPANTS = """
INSERT INTO participants (ig_account_id, ig_user_id, last_message_at)
SELECT $2, u, now() FROM unnest($1::text[]) u
"""
_QUEUE = "benchmarks.competitors.queued.tasks.queue"


@asynccontextmanager
async def inline(world: World) -> AsyncIterator[Target]:
    """FastAPI, uvicorn, SQLAlchemy and httpx, fetching before the ack."""
    python = await _python("inline")
    settings = {"DATABASE_URL": await world.new_database()}
    async with world.beside("inline", _uvicorn(python, "inline"), settings) as target:
        yield target


@asynccontextmanager
async def queued(world: World) -> AsyncIterator[Target]:
    """The same with procrastinate; its worker's processor time is included."""
    python = await _python("queued")
    settings = {"DATABASE_URL": await world.new_database()}
    worker = [python, "-m", "procrastinate", "--app", _QUEUE, "worker", "--concurrency", "16"]
    async with AsyncExitStack() as stack:
        await world.run_once([python, "-m", "benchmarks.competitors.queued.prepare"], settings)
        serving = world.beside("queued", _uvicorn(python, "queued"), settings, [worker])
        yield await stack.enter_async_context(serving)


async def make_known(target: Target, users: Sequence[str]) -> None:
    """Write participants with a fresh profile into a competitor's tables."""
    if not target.dsn:
        return
    connection = await asyncpg.connect(target.dsn)
    try:
        await connection.execute(_INSERT_USERS, users)
        await connection.execute(_INSERT_PARTICIPANTS, users, ACCOUNT)
    finally:
        await connection.close()


def _uvicorn(python: str, name: str) -> list[str]:
    application = f"benchmarks.competitors.{name}.app:app"
    quiet = ["--no-access-log", "--log-level", "warning"]
    return [python, "-m", "uvicorn", application, "--host", "127.0.0.1", *quiet]


async def _python(name: str) -> str:
    """Return the environment's Python; recreates the environment if its requirements changed."""
    requirements = REQUIREMENTS / name / "requirements.txt"
    folder = FOLDER / f"{name}-{hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]}"
    python, whole = folder / "bin" / "python", folder / ".whole"
    if not whole.exists():
        print(f"Installing what the competitor '{name}' needs ...", flush=True)
        await _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        install = ("pip", "install", "--quiet", "--python", str(python), "-r", str(requirements))
        await _uv(*install)
        whole.touch()
    return str(python)


async def _uv(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "uv", *arguments)
    if await process.wait():
        raise BenchmarkError(f"uv {arguments[0]} failed: is the package index reachable?")
