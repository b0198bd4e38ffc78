"""Sessions: how they are opened, what ends them, and the error when none can be had."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from sandbox.ports import free_port
from sandbox.postgres.server import EmbeddedPostgres
from service.errors import RefusedError, UnavailableError
from service.store.database import Database
from service.store.session import KEEPALIVE_IDLE_S, MOST_IDLE_S
from tests.certificates import PrivateAuthority
from tests.pgbouncer import pgbouncer, write_for_nobody

from .tables import Tables

NAT_FORGETS_AFTER_S = 240.0
SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE application_name = 'instagram-identity' AND datname = current_database()"
)


async def one(database: Database) -> object:
    return (await database.fetch("SELECT 1"))[0][0]


def with_query(url: str, query: str) -> str:
    return urlsplit(url)._replace(query=query).geturl()


def with_hosts(url: str, hosts: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}:{parts.password}@{hosts}").geturl()


# Connection strings as providers print them


@pytest.mark.parametrize(
    ("scheme", "query"),
    [
        ("postgres", ""),
        ("postgresql+asyncpg", "ssl=disable&prepared_statement_cache_size=0"),
        ("postgresql", "channel_binding=require&connect_timeout=10"),
        ("postgresql", "target_session_attrs=read-write&keepalives_idle=30"),
        ("postgresql", "options=-c%20search_path%3Dpublic%20-c%20jit%3Don"),
        ("postgresql", "pgbouncer=true&connection_limit=1&schema=public&application_name=mine"),
    ],
)
async def test_connection_strings_work_as_they_are_printed(
    database_url: str, scheme: str, query: str
) -> None:
    url = with_query(database_url, query).replace("postgresql", scheme, 1)
    async with Database.connect(url, pool_size=1) as database:
        [row] = await database.fetch(
            "SELECT current_setting('application_name'), current_setting('jit'),"
            " current_setting('synchronous_commit')"
        )
    name = "mine" if "mine" in query else "instagram-identity"
    assert tuple(row) == (name, "off", "on")


async def test_a_password_may_hold_any_character(tables: Tables, database_url: str) -> None:
    password = "".join(map(chr, range(33, 127))) + " üñ\N{SNOWMAN}"
    encoded = "".join(f"%{byte:02X}" for byte in password.encode())
    await tables.execute("DROP ROLE IF EXISTS punctuated")
    quoted = password.replace("'", "''")
    await tables.execute(f"CREATE ROLE punctuated LOGIN PASSWORD '{quoted}'")
    try:
        parts = urlsplit(database_url)
        netloc = f"punctuated:{encoded}@{parts.hostname}:{parts.port}"
        async with Database.connect(parts._replace(netloc=netloc).geturl()) as database:
            assert await one(database) == 1
    finally:
        await tables.execute("DROP ROLE punctuated")


# TLS


@pytest_asyncio.fixture(loop_scope="module")
async def tls(database_url: str, open_folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """A server for `localhost` whose certificate a private authority has signed: URL, folder."""
    authority = PrivateAuthority()
    certificate, key = authority.issue("localhost")
    (open_folder / "ca.pem").write_text(authority.certificate)
    (open_folder / "other-ca.pem").write_text(PrivateAuthority().certificate)
    write_for_nobody(open_folder / "server.pem", certificate)
    write_for_nobody(open_folder / "server.key", key)
    settings = {
        "client_tls_sslmode": "require",
        "client_tls_cert_file": str(open_folder / "server.pem"),
        "client_tls_key_file": str(open_folder / "server.key"),
    }
    async with pgbouncer(open_folder, database_url, "session", settings=settings) as url:
        yield url, open_folder


@pytest.mark.needs_program("pgbouncer")
@pytest.mark.parametrize(
    ("host", "query"),
    [
        ("localhost", "sslmode=verify-full&sslrootcert={folder}/ca.pem&channel_binding=require"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={folder}/ca.pem"),
        ("127.0.0.1", "sslmode=require"),
        ("127.0.0.1", "ssl=true"),
        ("127.0.0.1", ""),
    ],
)
async def test_a_private_authority_is_trusted_where_it_is_named(
    tls: tuple[str, Path], host: str, query: str
) -> None:
    url, folder = tls
    url = with_hosts(with_query(url, query.format(folder=folder)), f"{host}:{urlsplit(url).port}")
    async with Database.connect(url, pool_size=1) as database:
        assert await one(database) == 1


@pytest.mark.needs_program("pgbouncer")
@pytest.mark.parametrize(
    ("host", "query", "words"),
    [
        ("localhost", "sslmode=verify-full", "certificate"),
        ("localhost", "sslmode=verify-full&sslrootcert=system", "certificate"),
        ("localhost", "sslmode=verify-ca&sslrootcert={folder}/other-ca.pem", "certificate"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={folder}/ca.pem", "mismatch"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_refused_at_once(
    tls: tuple[str, Path], host: str, query: str, words: str
) -> None:
    url, folder = tls
    url = with_hosts(with_query(url, query.format(folder=folder)), f"{host}:{urlsplit(url).port}")
    with pytest.raises(RefusedError, match=r"^Cannot connect to PostgreSQL: the cert") as refused:
        async with Database.connect(url):
            pass
    assert words in str(refused.value)


# Servers that are away


async def test_a_host_that_is_not_known_is_named() -> None:
    with pytest.raises(UnavailableError, match=r'host "db\.invalid" port 5432 is not known'):
        async with Database.connect("postgresql://someone:hunter2@db.invalid/x"):
            pass


async def test_a_port_where_nothing_listens_is_named() -> None:
    port = free_port()
    with pytest.raises(UnavailableError) as refused:
        async with Database.connect(f"postgresql://someone:hunter2@127.0.0.1:{port}/x"):
            pass
    assert f'host "127.0.0.1" port {port}' in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_a_server_that_hangs_up_at_once_is_worth_another_try() -> None:
    """As when it dies, or a proxy has lost it, in the middle of the question for TLS."""

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UnavailableError) as refused:
            async with Database.connect(f"postgresql://someone:hunter2@127.0.0.1:{port}/x"):
                pass
    assert not isinstance(refused.value, RefusedError)
    assert f'host "127.0.0.1" port {port}' in str(refused.value)


async def test_of_several_hosts_the_one_that_answers_is_used(database_url: str) -> None:
    parts = urlsplit(database_url)
    hosts = f"127.0.0.1:{free_port()},{parts.hostname}:{parts.port}"
    async with Database.connect(with_hosts(database_url, hosts)) as database:
        assert await one(database) == 1


# Failover


async def test_sessions_of_a_server_that_became_read_only_are_dropped(
    database: Database, tables: Tables
) -> None:
    """The one whose statement failed, and the others that were opened beside it."""
    demote = "SELECT set_config('default_transaction_read_only', 'on', false), pg_sleep(0.05)"
    await asyncio.gather(*(database.fetch(demote) for _ in range(10)))
    insert = "INSERT INTO instagram_user_cache (ig_user_id) VALUES ($1)"
    await database.fetch(insert, "1")
    read_only = "SELECT current_setting('transaction_read_only')"
    states = await asyncio.gather(*(database.fetch(read_only) for _ in range(10)))
    assert {row[0] for [row] in states} == {"off"}
    assert database.is_answering
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 1


async def test_a_demoted_server_is_dropped_in_a_transaction_too(database: Database) -> None:
    demote = "SELECT set_config('default_transaction_read_only', 'on', false), pg_sleep(0.05)"
    await asyncio.gather(*(database.fetch(demote) for _ in range(10)))

    async def insert() -> None:
        async with database.transaction() as session:
            await session.execute("INSERT INTO instagram_user_cache (ig_user_id) VALUES ('1')")

    with pytest.raises(UnavailableError, match="ReadOnlySQLTransactionError 25006"):
        await insert()
    await insert()


async def test_a_server_that_answers_and_takes_no_writes_is_not_well(database: Database) -> None:
    await database.check_writable()
    demote = "SELECT set_config('default_transaction_read_only', 'on', false), pg_sleep(0.05)"
    await asyncio.gather(*(database.fetch(demote) for _ in range(10)))
    with pytest.raises(UnavailableError, match="read-only"):
        await database.check_writable()
    assert not database.is_answering
    await database.check_writable()


async def test_a_server_that_takes_no_writes_is_waited_for(
    database_url: str, tables: Tables
) -> None:
    name = urlsplit(database_url).path[1:]
    await tables.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(UnavailableError, match="is read-only: a standby, or a server that was"):
        async with Database.connect(database_url):
            pass
    await tables.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    async with Database.connect(database_url) as database:
        assert await one(database) == 1


async def test_a_standby_is_waited_for_and_used_once_it_is_promoted(
    data_dir: Path, server: EmbeddedPostgres
) -> None:
    """Two hosts in one connection string: the primary dies, and the standby takes over."""
    server.stop()
    copy = data_dir.with_name("standby")
    shutil.copytree(data_dir, copy)
    _keep_owners(data_dir, copy)
    server.start()
    version = next(copy.glob("*/PG_VERSION"))
    become_standby = version.with_name("standby.signal")
    become_standby.touch()
    shutil.chown(become_standby, version.stat().st_uid, version.stat().st_gid)
    with EmbeddedPostgres(copy, durable=False, port=free_port()) as standby:
        hosts = f"127.0.0.1:{standby.port},127.0.0.1:{server.port}"
        async with Database.connect(with_hosts(server.dsn(), hosts), pool_size=2) as database:
            [row] = await database.fetch("SELECT inet_server_port()")
            assert row[0] == server.port
            server.kill()
            with pytest.raises(UnavailableError):
                await database.check_writable()
            beside = await asyncpg.connect(standby.dsn())
            assert await beside.fetchval("SELECT pg_promote()")
            await beside.close()
            [row] = await database.fetch("SELECT inet_server_port()")
            assert row[0] == standby.port
            await database.check_writable()
    shutil.rmtree(copy)


def _keep_owners(source: Path, copy: Path) -> None:
    for path in (source, *source.rglob("*")):
        owned = copy / path.relative_to(source)
        if owned.exists() and not owned.is_symlink():
            shutil.chown(owned, path.stat().st_uid, path.stat().st_gid)


# Sessions that nobody uses


async def test_sessions_without_use_are_closed(database_url: str, tables: Tables) -> None:
    assert MOST_IDLE_S < NAT_FORGETS_AFTER_S
    async with Database.connect(database_url, pool_size=4, most_idle_s=0.05) as database:
        await asyncio.gather(*(one(database) for _ in range(4)))
        await tables.until(f"SELECT ({SESSIONS}) = 0")
        assert await one(database) == 1


async def test_sessions_are_kept_alive_on_the_network(database: Database) -> None:
    async with database.transaction() as session:
        its_own: Any = session
        connected = its_own._transport.get_extra_info("socket")
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        idle_s = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    assert idle_s == KEEPALIVE_IDLE_S < NAT_FORGETS_AFTER_S
