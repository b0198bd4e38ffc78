"""Starts that have to wait, or can't succeed: signals are obeyed, and one sentence says why."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from sandbox import samples
from sandbox.ports import free_port
from service.app import service
from service.errors import SettingsError
from tests.processes.forks import Fork
from tests.service.conftest import (
    ACCOUNT,
    PROJECT,
    Database,
    MakeSettings,
    Spawn,
    Start,
    new_user,
    run_command,
)
from tests.until import until

PATIENCE_S = 60
LOOKUP_HANGS = """
import pathlib, socket, time, service.__main__
def hang(*_, **__):
    pathlib.Path("looking-up").touch()
    time.sleep(600)
socket.getaddrinfo = hang
service.__main__._run()
"""


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """Accept connections and never answer, as behind a firewall that drops packets."""
    accepted, over = asyncio.Event(), asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], accepted
        over.set()


@asynccontextmanager
async def serve(environment: dict[str, str], folder: Path) -> AsyncIterator[Fork]:
    process = await run_command("serve", environment, folder / "serve.log")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def events(folder: Path) -> list[str]:
    *lines, _ = (folder / "serve.log").read_text().split("\n")
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


async def ended(process: Fork) -> int:
    async with asyncio.timeout(PATIENCE_S):
        return await process.wait()


async def until_logged(event: str, process: Fork, folder: Path) -> None:
    async def is_logged() -> bool:
        assert process.returncode is None, (folder / "serve.log").read_text()
        return event in events(folder)

    await until(is_logged)


async def stopped_by(number: signal.Signals, process: Fork, folder: Path) -> None:
    """See a signal obeyed long before the start would give up, which is exit code 1."""
    process.send_signal(number)
    assert await ended(process) == 0
    assert "stopped before the start was complete" in events(folder)


# Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_wait_for_a_server_that_refuses(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    url = f"postgresql://someone:secret@127.0.0.1:{free_port()}/x"
    async with serve(environment | {"DATABASE_URL": url}, tmp_path) as process:
        await until_logged("waiting for PostgreSQL", process, tmp_path)
        await stopped_by(number, process, tmp_path)


async def test_a_signal_ends_the_wait_for_a_server_that_does_not_answer(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with silent_server() as (port, accepted):
        url = f"postgresql://someone:secret@127.0.0.1:{port}/x?connect_timeout=30"
        async with serve(environment | {"DATABASE_URL": url}, tmp_path) as process:
            await asyncio.wait_for(accepted.wait(), PATIENCE_S)
            await stopped_by(signal.SIGTERM, process, tmp_path)


async def test_a_signal_ends_the_wait_for_a_name_that_is_being_looked_up(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """The thread that looks it up can't be interrupted, and is not waited for."""
    url = "postgresql://someone:secret@db.internal/x"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOOKUP_HANGS, "serve"),
        cwd=tmp_path,
        env={"PATH": os.defpath, "PYTHONPATH": str(PROJECT)} | environment | {"DATABASE_URL": url},
    )

    async def is_looking_up() -> bool:
        return (tmp_path / "looking-up").exists()

    await until(is_looking_up, PATIENCE_S)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_S):
        assert await process.wait() == 0


async def test_a_signal_ends_the_wait_for_the_broker(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with silent_server() as (port, accepted):
        url = f"nats://127.0.0.1:{port}"
        async with serve(environment | {"INTAKE_URL": url}, tmp_path) as process:
            await asyncio.wait_for(accepted.wait(), PATIENCE_S)
            await stopped_by(signal.SIGTERM, process, tmp_path)


async def test_a_signal_ends_the_wait_for_a_migrations_lock(
    environment: dict[str, str], tmp_path: Path, db: Database
) -> None:
    """Every lock that a migration asks for is taken, whatever its number."""
    async with db.transaction():
        await db.execute("LOCK TABLE instagram_migrations IN ACCESS EXCLUSIVE MODE")
        async with serve(environment | {"MIGRATE_ON_START": "true"}, tmp_path) as process:

            async def is_waiting() -> bool:
                assert process.returncode is None, (tmp_path / "serve.log").read_text()
                return bool(await db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

            await until(is_waiting)
            await stopped_by(signal.SIGTERM, process, tmp_path)


async def test_a_second_signal_ends_the_process_at_once(spawn: Spawn) -> None:
    service = await spawn(DRAIN_SECONDS="600")
    service.process.send_signal(signal.SIGTERM)

    async def is_stopping() -> bool:
        return "stopping" in {line["event"] for line in service.lines()}

    await until(is_stopping)
    assert await service.stop(signal.SIGTERM) == -signal.SIGTERM


# What can't succeed


async def refusal(environment: dict[str, str], folder: Path, command: str = "serve") -> str:
    """Run a command that can't start; give the last line of what it says."""
    process = await run_command(command, environment, folder / "serve.log")
    assert await ended(process) == 1
    said = (folder / "serve.log").read_text()
    assert "Traceback" not in said
    assert "waiting for" not in said
    return said.strip().split("\n")[-1]


async def test_a_port_in_use_is_one_sentence(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = await refusal(environment | {"PORT": port}, tmp_path)
    assert said == (
        f"Stopped: Cannot listen on 127.0.0.1 port {port} (HOST, PORT): Address already in use"
    )


async def test_a_host_that_is_not_ours_is_one_sentence(
    environment: dict[str, str], tmp_path: Path
) -> None:
    said = await refusal(environment | {"HOST": "192.0.2.1"}, tmp_path)
    assert said.startswith("Stopped: Cannot listen on 192.0.2.1 port 0 (HOST, PORT): ")


@pytest.mark.parametrize("command", ["serve", "migrate"])
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"password": "wrong"}, 'password authentication failed for user "postgres"'),
        ({"username": "nobody"}, 'password authentication failed for user "nobody"'),
        ({"path": "/missing"}, 'database "missing" does not exist'),
        ({"query": "sslmode=require"}, "does not offer TLS, which sslmode asks for"),
    ],
    ids=["password", "role", "database", "tls"],
)
async def test_a_wrong_connection_string_is_one_sentence_at_once(
    environment: dict[str, str],
    tmp_path: Path,
    command: str,
    changed: dict[str, str],
    words: str,
) -> None:
    parts = urlsplit(environment["DATABASE_URL"])
    user = changed.get("username", parts.username)
    password = changed.get("password", parts.password)
    url = parts._replace(
        netloc=f"{user}:{password}@{parts.hostname}:{parts.port}",
        path=changed.get("path", parts.path),
        query=changed.get("query", ""),
    ).geturl()
    said = await refusal(environment | {"DATABASE_URL": url}, tmp_path, command)
    assert said.startswith("Stopped: Cannot connect to PostgreSQL: ")
    assert said.endswith(words)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("serve", "DATABASE_URL"),
        ("serve", "INTAKE_URL"),
        ("migrate", "DATABASE_URL"),
        ("doctor", "DATABASE_URL"),
        ("participants", "DATABASE_URL"),
    ],
)
async def test_a_password_with_raw_punctuation_is_one_sentence_without_its_value(
    environment: dict[str, str], tmp_path: Path, command: str, name: str
) -> None:
    scheme = "nats" if name == "INTAKE_URL" else "postgresql"
    wrong = {name: f"{scheme}://svc:Hunter2Secret/9#x@db:5432/app"}
    more = ("import",) if command == "participants" else ()
    process = await run_command(command, environment | wrong, tmp_path / "serve.log", *more)
    assert await ended(process) == 2
    said = (tmp_path / "serve.log").read_text()
    assert [line.split(":")[0].strip() for line in said.strip().split("\n")[1:]] == [name]
    assert "percent-encoded" in said
    assert "unter" not in said
    assert "Traceback" not in said


async def test_a_server_that_takes_no_writes_is_away_until_it_takes_them_again(
    start: Start, db: Database
) -> None:
    """A failover while the name still leads to the demoted server."""
    client = await start()

    async def postgres() -> str:
        return str((await client.call("GET", "/readyz")).json["postgres"])

    async def deliver() -> int:
        message = samples.message(new_user(), ACCOUNT)
        return (await client.post_webhook(samples.delivery(samples.entry(ACCOUNT, message)))).status

    assert (await postgres(), await deliver()) == ("ok", 200)
    name = await db.fetchval("SELECT current_database()")
    await db.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'instagram-identity' AND datname = current_database()"
    )
    assert (await postgres(), await deliver()) == ("unavailable", 503)
    await db.execute("SET default_transaction_read_only = off")
    await db.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert (await postgres(), await deliver()) == ("ok", 200)


async def test_all_addresses_are_those_of_both_families(spawn: Spawn) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    service = await spawn(HOST="::")
    port = service.client.url.rpartition(":")[2]
    for host in ("127.0.0.1", "[::1]"):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{host}:{port}/healthz") as answer,
        ):
            assert answer.status == 200


async def test_a_broker_without_its_client_is_said_in_one_sentence(
    settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("service.receiving.intake.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nats", None)
    monkeypatch.setitem(sys.modules, "nats.errors", None)
    with pytest.raises(SettingsError, match=r"INTAKE_URL names a broker.*nats-py"):
        async with service(settings(intake_url="nats://127.0.0.1:1")):
            pytest.fail("it started")


def test_without_a_broker_its_client_is_not_imported() -> None:
    code = "import sys, service.app; sys.exit('nats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=False).returncode == 0  # noqa: S603 - our own
