"""Opens PostgreSQL sessions: directly or through a pooler, with TLS, on a writable server."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import asyncpg

from service.errors import RefusedError, UnavailableError
from service.postgres_url import CONNECT_TIMEOUT_S, PostgresUrl, read_postgres_url

# Networks drop idle TCP connections, some after 240 s: keepalive probes keep a session alive, and
# an idle one is closed before that.
KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
MOST_IDLE_S = 180.0
_STATEMENTS_CACHED = 100
_PERMANENT_CLASSES = ("28", "3D", "42", "22")  # credentials, database, permission, parameters
_POOLER_REFUSALS = ("no such", "unsupported startup parameter", "not allowed", "bouncer config")
_PROTOCOL_VIOLATION = "08P01"  # how PgBouncer reports everything
_TLS_REFUSED = "rejected SSL upgrade"  # in asyncpg's message
CONNECT_FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # no writable server, or a protocol error
    OSError,
    TimeoutError,
)

_WHO_ANSWERS = """
    SELECT pg_backend_pid() AS pid, current_setting('synchronous_commit') AS synchronous_commit,
        current_setting('server_encoding') AS encoding, current_database() AS database
"""
# Sent after connecting, since poolers refuse them as startup parameters. Acks depend on the first.
_SETTINGS = """
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply');
    SET jit = off;
    SET statement_timeout = '30s'
"""


class PooledSession(asyncpg.Connection):
    """A session with keepalive probes, returned to the pool without a round trip."""

    def __init__(self, protocol: Any, transport: asyncio.Transport, *rest: Any) -> None:  # noqa: ANN401 - asyncpg's own
        super().__init__(protocol, transport, *rest)
        _keep_alive(transport.get_extra_info("socket"))

    def get_reset_query(self) -> str:
        """Reset nothing: no statement leaves state in the session."""
        return ""


def _keep_alive(connected: socket.socket | None) -> None:
    """Enable TCP keepalive; a local socket needs none."""
    if connected is None or connected.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


async def connect(url: str) -> asyncpg.Connection:
    """Open one session; raises UnavailableError, or RefusedError if retrying cannot help.

    It keeps no prepared statements, which a pooler in transaction mode can lose.
    """
    server = read_postgres_url(url)
    async with _explained(server):
        return await asyncpg.connect(**_arguments(server), statement_cache_size=0)


class Opened(NamedTuple):
    """A pool, and whether its sessions report a commit before it is on disk."""

    pool: asyncpg.Pool[Any]
    commits_lazily: bool


async def create_pool(url: str, size: int, most_idle_s: float = MOST_IDLE_S) -> Opened:
    """Open a pool for a server or a pooler; raises UnavailableError or RefusedError.

    Sessions of a pooler keep their settings: in transaction mode other clients use them too.
    """
    server = read_postgres_url(url)
    is_pooler, commits_lazily = await _examine(url)
    async with _explained(server):
        pool = await asyncpg.create_pool(
            **_arguments(server),
            min_size=0,  # asyncpg never closes these, however long they are idle
            max_size=size,
            max_inactive_connection_lifetime=most_idle_s,
            init=None if is_pooler else _set_up,
            statement_cache_size=0 if is_pooler else _STATEMENTS_CACHED,
        )
    return Opened(pool, is_pooler and commits_lazily)


async def _examine(url: str) -> tuple[bool, bool]:
    """Return whether a pooler answers, by its process ids, and whether commits are lazy."""
    server = read_postgres_url(url)
    connection = await connect(url)
    try:
        async with _explained(server):
            [row] = await connection.fetch(_WHO_ANSWERS, timeout=server.connect_timeout_s)
        is_pooler: bool = row["pid"] != connection.get_server_pid()
    finally:
        connection.terminate()
    refuse_encoding(row["database"], row["encoding"])
    return is_pooler, row["synchronous_commit"] == "off"


def refuse_encoding(database: str, encoding: str) -> None:
    """Raise RefusedError unless the database can store every name and every message of Meta."""
    if encoding != "UTF8":
        raise RefusedError(
            f'The database "{database}" has the encoding {encoding}, which can\'t hold every name: '
            f"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and name that in DATABASE_URL"
        )


async def _set_up(connection: asyncpg.Connection) -> None:
    await connection.execute(_SETTINGS, timeout=CONNECT_TIMEOUT_S)


def _arguments(server: PostgresUrl) -> dict[str, Any]:
    """Return a connection string as asyncpg's arguments; sessions must be writable."""
    parameters = dict(server.parameters)
    context = _context_of_the_systems_certificates(parameters)
    return {
        "dsn": f"postgresql://?{urlencode(parameters)}" if parameters else None,
        "host": list(server.hosts) or None,
        "port": list(server.ports) or None,
        "user": server.user,
        "password": server.password,
        "database": server.database,
        "ssl": context,
        "server_settings": dict(server.server_settings),
        "timeout": server.connect_timeout_s * max(1, len(server.hosts)),
        "target_session_attrs": "read-write",
        "connection_class": PooledSession,
    }


def _context_of_the_systems_certificates(parameters: dict[str, str]) -> ssl.SSLContext | None:
    """Trust the system's certificate authorities if requested, or by default with verify-full.

    Removes the parameters that it uses, so that asyncpg reads only the others.
    """
    if parameters.get("sslmode") != "verify-full":
        return None
    default = os.environ.get("PGSSLROOTCERT") or Path.home() / ".postgresql" / "root.crt"
    if "sslrootcert" not in parameters and Path(default).exists():
        return None
    if parameters.get("sslrootcert", "system") != "system":
        return None
    parameters.pop("sslrootcert", None)
    del parameters["sslmode"]
    context = ssl.create_default_context()
    if "sslcert" in parameters:
        context.load_cert_chain(parameters.pop("sslcert"), parameters.pop("sslkey", None))
    return context


@asynccontextmanager
async def _explained(server: PostgresUrl) -> AsyncIterator[None]:
    """Translate errors into one sentence that an operator can act on."""
    try:
        yield
    except CONNECT_FAILURES as error:
        reason, is_permanent = _reason(error, server)
        kind = RefusedError if is_permanent else UnavailableError
        raise kind(f"Cannot connect to PostgreSQL: {reason}") from None


def _reason(error: BaseException, server: PostgresUrl) -> tuple[str, bool]:
    """Return why the server cannot be used, without secrets, and whether that is permanent."""
    match error:
        case TimeoutError():
            return f"no answer from {server} within {server.connect_timeout_s:g} s", False
        case ssl.SSLCertVerificationError():
            return f"the certificate of {server} is not accepted: {error.verify_message}", True
        case ssl.SSLError():
            return f"TLS with {server} failed: {error.reason}", False
        case socket.gaierror():
            return f"{server} is not known", error.errno == socket.EAI_NONAME
        case asyncpg.TargetServerAttributeNotMatched():
            return f"{server} is read-only: a standby, or a server that was demoted", False
        case asyncpg.PostgresError():
            return _words_of_the_server(error)
        case OSError():
            return _unreachable(error, server)
    return f"{server}: {type(error).__name__}", False


def _words_of_the_server(error: asyncpg.PostgresError) -> tuple[str, bool]:
    """Return the server's message, which names a role, database or parameter, without details."""
    message = str(getattr(error, "message", None) or type(error).__name__)
    state = error.sqlstate or ""
    if state == _PROTOCOL_VIOLATION:
        return message, any(words in message for words in _POOLER_REFUSALS)
    return message, state.startswith(_PERMANENT_CLASSES)


def _unreachable(error: OSError, server: PostgresUrl) -> tuple[str, bool]:
    if _TLS_REFUSED in str(error):
        return f"{server} does not offer TLS, which sslmode asks for", True
    if isinstance(error, FileNotFoundError) and not server.hosts:
        return "no host is named, and no server is listening on this machine", False
    if error.errno is None:  # all of several addresses failed
        return f"{server}: nothing listens there, or it is out of reach", False
    return f"{server}: {os.strerror(error.errno)}", False
