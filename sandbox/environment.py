"""The settings of the sandbox's service: from the shell or `.env`, else generated."""

import base64
import os
import secrets
import shlex
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from sandbox.folder import POSTGRES, stored_keys
from sandbox.ports import free_port
from sandbox.problems import RefusedError
from service.settings import Settings

PROJECT = Path(__file__).parents[1]
DEFAULT_PORT, _PORTS_TRIED = 8080, 100
_LOOPBACK, _ANYWHERE = "127.0.0.1", ("0.0.0.0", "::")  # noqa: S104 - only compared
_META = ("META_APP_SECRETS", "META_VERIFY_TOKEN")
_KEYS = (*_META, "INBOX_API_KEYS", "OPERATOR_API_KEYS", "TOKEN_ENCRYPTION_KEYS")
_SECRET = frozenset({*_META, "TOKEN_ENCRYPTION_KEYS", "DATABASE_URL"})
_GRAPH_URLS = ("GRAPH_BASE_URL", "INSTAGRAM_GRAPH_BASE_URL")
_SHOWN = ("DATABASE_URL", *_KEYS, *_GRAPH_URLS, "PICTURE_HOSTS", "HOST", "PORT")
_FROM_THE_SYSTEM = frozenset(
    {
        *("PATH", "HOME", "USER", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    }
)
_FROM_THE_SYSTEM_BY_PREFIX = ("PYTHON", "COVERAGE")


@dataclass(frozen=True, slots=True)
class Given:
    """The settings from the shell and `.env` without blank ones, and the Graph API they select."""

    values: Mapping[str, str]

    @classmethod
    def read(cls) -> "Given":
        """Read the project's `.env` and this process's environment, which takes precedence."""
        both = dotenv_values(PROJECT / ".env", interpolate=False) | dict(os.environ)
        return cls({name: value for name, value in both.items() if value and value.strip()})

    @property
    def real_graph(self) -> bool:
        """Return whether Meta's API is used: an app secret, and no Graph URL on this machine."""
        if "META_APP_SECRETS" not in self.values:
            return False
        return not _on_this_machine(self.values.get("GRAPH_BASE_URL", "https://graph.facebook.com"))

    @property
    def withheld(self) -> frozenset[str]:
        """Return the settings that are not shown: with the real Graph API, the given secrets."""
        return _SECRET & self.values.keys() if self.real_graph else frozenset()

    @property
    def host(self) -> str:
        """Return HOST if it is an address; some shells set it to the machine's name."""
        host = self.values.get("HOST", "")
        try:
            return str(ip_address(host))
        except ValueError:
            return _LOOPBACK

    def database_url(self, folder: Path) -> str | None:
        """Return the given database URL, unless it is that of this sandbox."""
        url = self.values.get("DATABASE_URL")
        if url is None:
            return None
        file = folder / POSTGRES / "password"
        own = file.exists() and urlsplit(url).password == file.read_text().strip()
        return None if own else url

    def keys(self, folder: Path) -> dict[str, str]:
        """Return all keys: the given ones, else those of the last run, else new ones."""
        kept = stored_keys(folder, _new_keys())
        return {name: self.values.get(name, kept[name]) for name in _KEYS}

    def graph_urls(self) -> dict[str, str]:
        """Return the URLs of the real Graph API."""
        fields = Settings.model_fields
        hosts = {"PICTURE_HOSTS": ",".join(fields["picture_hosts"].default)}
        urls = {name: str(fields[name.lower()].default) for name in _GRAPH_URLS}
        return {name: self.values.get(name, usual) for name, usual in (urls | hosts).items()}


@dataclass(frozen=True, slots=True)
class Address:
    """The address that the service listens on."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The URL on this machine."""
        host = _LOOPBACK if self.host in _ANYWHERE else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def choose_address(given: Given, asked_port: int | None) -> Address:
    """Find a free port: the requested one (else RefusedError), or the first from 8080 on.

    The search starts at PORT if it is set.
    """
    host = given.host
    if asked_port is not None:
        return Address(host, _asked(host, asked_port))
    wanted = given.values.get("PORT", "")
    start = int(wanted) if wanted.isdecimal() else DEFAULT_PORT
    candidates = range(start, min(start + _PORTS_TRIED, 65536))
    free = next((port for port in (_bound(host, p) for p in candidates) if port), None)
    if free is None:
        raise RefusedError(
            f"No port from {start} on is free at {host}. Stop what runs there, or name another "
            "port with --port (0 takes any free one)."
        )
    return Address(host, free)


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the service's environment: the sandbox's, tuning and system variables."""
    passed = {name.upper() for name in Settings.model_fields} | _FROM_THE_SYSTEM
    kept = {
        name: value
        for name, value in os.environ.items()
        if value and (name in passed or name.startswith(_FROM_THE_SYSTEM_BY_PREFIX))
    }
    return kept | {"LOG_FORMAT": "json"} | dict(settings)


def pasteable(settings: Mapping[str, str], withheld: Collection[str] = ()) -> list[str]:
    """Return the settings as NAME=value lines for a shell; withheld ones by name only."""
    return [
        f"# {name} is the one that you have set"
        if name in withheld
        else f"{name}={shlex.quote(settings[name])}"
        for name in _SHOWN
    ]


def first(comma_list: str) -> str:
    """Return the first value of a comma-separated list."""
    return comma_list.partition(",")[0].strip()


def _new_keys() -> dict[str, str]:
    return {
        "META_APP_SECRETS": secrets.token_hex(16),
        "META_VERIFY_TOKEN": secrets.token_urlsafe(18),
        "INBOX_API_KEYS": f"inbox_{secrets.token_urlsafe(24)}",
        "OPERATOR_API_KEYS": f"operator_{secrets.token_urlsafe(24)}",
        "TOKEN_ENCRYPTION_KEYS": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }


def _on_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _asked(host: str, port: int) -> int:
    free = _bound(host, port or free_port(host))
    if free is None:
        raise RefusedError(
            f"Port {port} at {host} is taken or not allowed. Stop what listens there, name another "
            "port, or leave --port out to take the next free one."
        )
    return free


def _bound(host: str, port: int) -> int | None:
    """Return the port if it can be bound, else None."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as probe:
            return int(probe.getsockname()[1])
    except (OSError, OverflowError):
        return None
