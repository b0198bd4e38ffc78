"""Parses PostgreSQL connection strings, including those of providers and other drivers.

Source: PostgreSQL documentation, "libpq: Connection Strings" and "Parameter Key Words".
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

DEFAULT_PORT = 5432
CONNECT_TIMEOUT_S = 5.0
_LONGEST_CONNECT_TIMEOUT_S = 30.0
_SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9_]+)?://", re.IGNORECASE)
_RAW = re.compile(r"[][#/?@\s]|%(?![0-9A-Fa-f]{2})")
_NAME_OF_HOST = re.compile(
    r"[^\s\[\]:%]*|\[[0-9A-Fa-f:.]+(%25\w+)?\]|%2F[^\s\[\]:]*", re.IGNORECASE
)
_WRITABLE = ("any", "primary", "read-write", "prefer-standby")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL_MODE_OF_FLAG = {"true": "require", "1": "require", "false": "disable", "0": "disable"}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_FOR_ASYNCPG = {
    *("sslmode", "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    *("sslnegotiation", "krbsrvname", "gsslib"),
    *_FILES,
}
_OURS = {
    *("host", "port", "user", "password", "dbname", "database", "ssl", "options"),
    *("application_name", "connect_timeout", "target_session_attrs"),
}
# Parameters of libpq, SQLAlchemy, Prisma and JDBC that have no effect here. A warning names only
# these, since any other name could be a part of a password.
_KNOWN_ELSEWHERE = {
    *("channel_binding", "client_encoding", "fallback_application_name", "gssdelegation"),
    *("gssencmode", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle"),
    *("keepalives_interval", "load_balance_hosts", "max_protocol_version"),
    *("min_protocol_version", "replication", "require_auth", "requirepeer", "requiressl"),
    *("service", "sslcertmode", "sslcompression", "sslcrldir", "sslsni", "tcp_user_timeout"),
    *("async_fallback", "command_timeout", "prepared_statement_cache_size"),
    *("statement_cache_size", "connection_limit", "pgbouncer", "pool_timeout", "schema"),
    *("search_path", "socket_timeout", "sslaccept", "sslidentity", "supa", "workaround"),
    *("statement_timeout", "timezone", "pool_size", "max_overflow", "uselibpqcompat"),
}


@dataclass(frozen=True)
class PostgresUrl:
    """A parsed connection string; `left_out` names the parameters that have no effect."""

    hosts: tuple[str, ...]
    ports: tuple[int, ...]
    user: str
    password: str | None = field(repr=False)
    database: str | None
    parameters: Mapping[str, str] = field(repr=False)  # for TLS and the like, in asyncpg's names
    server_settings: Mapping[str, str]
    connect_timeout_s: float
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        """Return the servers' names, for messages."""
        ports = self.ports or (DEFAULT_PORT,)
        named = [f'"{host}" port {port}' for host, port in zip(self.hosts, ports, strict=False)]
        return f"host {', '.join(named)}" if named else "the local server"


def read_postgres_url(url: str) -> PostgresUrl:
    """Parse a connection string; raises ValueError, which quotes none of it."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        raise ValueError("begins with postgresql://")
    authority, path, query = _split(url[scheme.end() :])
    credentials, _, hosts_and_ports = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    given = _parameters(query)
    hosts, ports = _hosts(hosts_and_ports, given)
    database = _plain(path) or given.get("dbname") or given.get("database")
    return PostgresUrl(
        hosts=hosts,
        ports=ports,
        user=_plain(user) or given.get("user") or _user_of_the_process(),
        password=_plain(password) or given.get("password"),
        database=database,
        parameters=_parameters_of_asyncpg(given),
        server_settings=_server_settings(given),
        connect_timeout_s=_connect_timeout_s(given),
        left_out=_left_out(given),
    )


def _split(rest: str) -> tuple[str, str, str]:
    """Split into user and hosts, database, and parameters."""
    found = re.fullmatch(r"([^/?#]*)(?:/([^?#]*))?(?:\?([^#]*))?", rest)
    if found is None or "@" in (found[2] or "") + (found[3] or "") or "/" in (found[2] or ""):
        raise ValueError(_PERCENT)
    authority, path, query = (part or "" for part in found.groups())
    credentials = authority.rpartition("@")[0]
    if _RAW.search(credentials) or _RAW.search(path):
        raise ValueError(_PERCENT)
    return authority, path, query


_PERCENT = (
    "has characters that must be percent-encoded: in a user, password or database, "
    "write # / ? @ [ ] % as %23 %2F %3F %40 %5B %5D %25"
)


def _plain(text: str) -> str | None:
    try:
        return unquote(text, errors="strict") or None
    except UnicodeDecodeError:
        raise ValueError("has percent-encoded bytes that are not UTF-8") from None


def _parameters(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=True, errors="strict"
        )
    except ValueError:
        if not query:
            return {}
        raise ValueError("has parameters that are not of the form name=value&…") from None
    return {name: value for name, value in pairs if value}


def _hosts(authority: str, given: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Parse hosts, each with its port; without a host it is the local server."""
    named = [each for each in authority.split(",") if authority]
    if not named:
        hosts = tuple(host for host in given.get("host", "").split(",") if host)
        ports = [port for port in given.get("port", "").split(",") if port]
        if len(ports) not in (0, 1, len(hosts) or 1):
            raise ValueError("has not as many ports as hosts")
        return hosts, tuple(_port(port) for port in ports * (len(hosts) if len(ports) == 1 else 1))
    found = [re.fullmatch(r"(\[.*\]|[^:]*)(?::(.*))?", each) for each in named]
    if any(each is None or not _NAME_OF_HOST.fullmatch(each[1]) for each in found):
        raise ValueError("names a host that is not one")
    pairs = [(each[1], each[2]) for each in found if each is not None]
    default = given.get("port") or str(DEFAULT_PORT)
    hosts = tuple(unquote(host.strip("[]")) or "localhost" for host, _ in pairs)
    return hosts, tuple(_port(port or default) for _, port in pairs)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 1 << 16:
        raise ValueError("has a port that is not a number up to 65535; " + _PERCENT)
    return int(text)


def _user_of_the_process() -> str:
    """Return the operating system's user, as libpq does; a container's user can have no name."""
    try:
        return os.environ.get("PGUSER") or getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise ValueError("names no user") from None


def _parameters_of_asyncpg(given: Mapping[str, str]) -> dict[str, str]:
    parameters = {name: value for name, value in given.items() if name in _FOR_ASYNCPG}
    if (flag := given.get("ssl")) and "sslmode" not in parameters:
        parameters["sslmode"] = _SSL_MODE_OF_FLAG.get(flag.lower(), flag)
    mode = parameters.get("sslmode", "prefer")
    if mode not in _SSL_MODES:
        raise ValueError(f"sslmode is one of {', '.join(_SSL_MODES)}")
    if parameters.get("sslrootcert") == "system" and mode != "verify-full":
        raise ValueError("sslrootcert=system goes with sslmode=verify-full")
    for name in _FILES:
        if name in parameters and parameters[name] != "system":
            _check_file(name, parameters[name])
    return parameters


def _check_file(name: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise ValueError(f"{name} names a file that cannot be read: {reason}") from None


def _server_settings(given: Mapping[str, str]) -> dict[str, str]:
    named = {"application_name": given.get("application_name", "instagram-identity")}
    if options := given.get("options"):
        named["options"] = options.replace("+", " ")  # SQLAlchemy encodes a blank as +
    return named


def _connect_timeout_s(given: Mapping[str, str]) -> float:
    text = given.get("connect_timeout", "")
    try:
        seconds = int(text or 0)
    except ValueError:
        raise ValueError("connect_timeout is a whole number of seconds") from None
    if seconds <= 0:
        return CONNECT_TIMEOUT_S
    return min(max(float(seconds), 2.0), _LONGEST_CONNECT_TIMEOUT_S)


def _left_out(given: Mapping[str, str]) -> tuple[str, ...]:
    target = given.get("target_session_attrs", "any")
    if target not in _WRITABLE:
        raise ValueError(f"target_session_attrs is one of {', '.join(_WRITABLE)}: it is written to")
    unknown = given.keys() - _FOR_ASYNCPG - _OURS
    named = sorted(unknown & _KNOWN_ELSEWHERE)
    if target == "prefer-standby":
        named.append("target_session_attrs")
    unlisted = len(unknown - _KNOWN_ELSEWHERE)
    return (*named, f"{unlisted} that no driver knows") if unlisted else tuple(named)
