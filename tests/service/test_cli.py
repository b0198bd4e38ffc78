"""The commands from the shell: their exit codes and what they say."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from service.vault import Vault
from tests.service.conftest import (
    ACCOUNT,
    ENCRYPTION_KEY,
    PROJECT,
    SECRETS,
    TOKEN,
    fetch_row,
    run_command,
)
from tests.until import until

REQUIRED = (
    "DATABASE_URL",
    "META_APP_SECRETS",
    "META_VERIFY_TOKEN",
    "INBOX_API_KEYS",
    "OPERATOR_API_KEYS",
    "TOKEN_ENCRYPTION_KEYS",
)
OLD_TABLES = """
CREATE TABLE instagram_user_cache (
    ig_user_id varchar(64) PRIMARY KEY, username text, name text, profile_pic_url text,
    last_fetched_at timestamptz, fail_count integer DEFAULT 0, last_failed_at timestamptz,
    raw jsonb);
CREATE TABLE instagram_connections (
    ig_account_id text PRIMARY KEY, location_id text NOT NULL, access_token text NOT NULL);
INSERT INTO instagram_user_cache VALUES ('123', 'kept', 'Kept', NULL, now(), 2, NULL, '{"a": 1}');
"""


@dataclass(frozen=True)
class Ended:
    code: int
    said: str


async def run(command: str, environment: Mapping[str, str], folder: Path, *more: str) -> Ended:
    output = folder / f"{command}.out"
    process = await run_command(command, environment, output, *more)
    try:
        async with asyncio.timeout(60):
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Ended(code, output.read_text())


async def test_serve_from_a_shell_serves_until_sigterm(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    output = tmp_path / "serve.log"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", "serve"),
            cwd=tmp_path,
            env={"PATH": os.defpath, "PYTHONPATH": str(PROJECT)} | environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )

    async def is_serving() -> bool:
        assert process.returncode is None, output.read_text()
        return '"serving"' in output.read_text()

    try:
        await until(is_serving)
        process.terminate()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert [json.loads(line)["event"] for line in output.read_text().splitlines()][-1] == "stopped"


async def test_serve_names_every_missing_setting_in_one_message(tmp_path: Path) -> None:
    ended = await run("serve", {}, tmp_path)
    assert ended.code == 2
    assert "Traceback" not in ended.said
    for name in REQUIRED:
        assert ended.said.count(name) == 1


WRONG = {
    "DATABASE_URL": "mysql://user:a-wrong-value@127.0.0.1/x",
    "META_APP_SECRETS": " , ",
    "META_VERIFY_TOKEN": "   ",
    "INBOX_API_KEYS": "a-wrong-value",
    "OPERATOR_API_KEYS": "a-wrong-value",
    "TOKEN_ENCRYPTION_KEYS": "a-wrong-value",
    "GRAPH_BASE_URL": "a-wrong-value",
    "INSTAGRAM_GRAPH_BASE_URL": "ftp://a-wrong-value",
    "GRAPH_API_VERSION": "a-wrong-value",
    "GRAPH_TIMEOUT_SECONDS": "0",
    "GRAPH_CALLS_PER_SECOND": "nan",
    "GRAPH_CONCURRENCY": "0",
    "PROFILE_TTL_DAYS": "-1",
    "MAX_FAILURES": "a-wrong-value",
    "INTAKE_URL": "http://a-wrong-value",
    "QUEUE_CAPACITY": "1.5",
    "MIGRATE_ON_START": "a-wrong-value",
    "PORT": "65536",
    "LOG_FORMAT": "a-wrong-value",
    "LOG_LEVEL": "a-wrong-value",
    "SHUTDOWN_TIMEOUT_SECONDS": "inf",
}


async def test_serve_names_every_wrong_setting_and_shows_no_value(tmp_path: Path) -> None:
    ended = await run("serve", WRONG, tmp_path)
    assert ended.code == 2
    assert "a-wrong-value" not in ended.said
    missing = [name for name in WRONG if f"{name}:" not in ended.said]
    assert missing == []


async def test_migrate_needs_less_and_says_so(tmp_path: Path) -> None:
    ended = await run("migrate", {}, tmp_path)
    assert ended.code == 2
    assert "DATABASE_URL" in ended.said
    assert "META_VERIFY_TOKEN" not in ended.said


async def test_an_env_file_is_read(tmp_path: Path, empty_database_url: str) -> None:
    env = f"DATABASE_URL={empty_database_url}\nTOKEN_ENCRYPTION_KEYS={ENCRYPTION_KEY}\n"
    (tmp_path / ".env").write_text(env)
    assert (await run("migrate", {}, tmp_path)).code == 0


async def test_migrate_makes_the_tables_and_may_be_run_again(
    tmp_path: Path, empty_database_url: str
) -> None:
    environment = {"DATABASE_URL": empty_database_url, "TOKEN_ENCRYPTION_KEYS": ENCRYPTION_KEY}
    for _ in range(2):
        ended = await run("migrate", environment, tmp_path)
        assert ended.code == 0, ended.said
    connection = await asyncpg.connect(empty_database_url)
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    assert {row["tablename"] for row in rows} >= {
        "instagram_user_cache",
        "instagram_connections",
        "instagram_participants",
        "instagram_pauses",
    }


async def test_several_migrations_at_once_all_succeed(
    tmp_path: Path, empty_database_url: str
) -> None:
    environment = {"DATABASE_URL": empty_database_url, "TOKEN_ENCRYPTION_KEYS": ENCRYPTION_KEY}
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    ended = await asyncio.gather(*(run("migrate", environment, folder) for folder in folders))
    assert [one.code for one in ended] == [0, 0, 0], ended


async def test_migrate_upgrades_an_old_database_in_place(
    tmp_path: Path, empty_database_url: str
) -> None:
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(OLD_TABLES)
    await connection.execute(
        "INSERT INTO instagram_connections VALUES ($1, 'loc_1', $2)", ACCOUNT, TOKEN
    )
    environment = {"DATABASE_URL": empty_database_url, "TOKEN_ENCRYPTION_KEYS": ENCRYPTION_KEY}
    ended = await run("migrate", environment, tmp_path)
    assert "0 tokens were encrypted" in ended.said
    stored = await fetch_row(connection, "SELECT access_token FROM instagram_connections")
    assert stored["access_token"] == TOKEN
    ended = await run("migrate", environment, tmp_path, "--seal-tokens")
    assert ended.code == 0, ended.said
    assert not [secret for secret in SECRETS if secret in ended.said]
    cached = await fetch_row(connection, "SELECT * FROM instagram_user_cache")
    stored = await fetch_row(connection, "SELECT * FROM instagram_connections")
    await connection.close()
    assert (cached["username"], cached["fail_count"]) == ("kept", 2)
    assert json.loads(cached["raw"]) == {"a": 1}
    assert (cached["expires_at"], cached["last_error"]) == (None, None)
    assert (stored["login"], stored["token_status"], stored["alias_ids"]) == (
        "facebook",
        "active",
        [],
    )
    assert TOKEN not in stored["access_token"]
    assert Vault((ENCRYPTION_KEY,)).open(stored["access_token"], ACCOUNT) == TOKEN


@pytest.mark.parametrize("command", ["migrate"])
async def test_a_database_that_lets_nobody_in_is_one_line_and_exit_1(
    tmp_path: Path, environment: dict[str, str], command: str
) -> None:
    url = environment["DATABASE_URL"]
    password = url.split(":")[2].split("@")[0]
    wrong = url.replace(password, "a-wrong-password")
    ended = await run(command, environment | {"DATABASE_URL": wrong}, tmp_path)
    assert ended.code == 1
    assert "Traceback" not in ended.said
    assert "a-wrong-password" not in ended.said


async def test_help_names_the_commands(tmp_path: Path) -> None:
    ended = await run("--help", {}, tmp_path)
    assert ended.code == 0
    for command in (*("serve", "doctor", "backfill", "connections", "participants", "migrate"),):
        assert command in ended.said
    assert sys.executable not in ended.said
