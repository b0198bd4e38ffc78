"""Parses NATS addresses with a user, a token or a credentials file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

_ADDRESS = re.compile(r"(nats|tls)://(?:([^/?#@]*)@)?([^/?#@]*)/?(?:\?([^#]*))?", re.IGNORECASE)
_RAW = re.compile(r"[][\s]|%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:%]+)(?::([0-9]{1,5}))?")
_PERCENT = (
    "has characters that must be percent-encoded: in a user or password, "
    "write # / ? @ , [ ] % as %23 %2F %3F %40 %2C %5B %5D %25"
)
_MOST_PORT = (1 << 16) - 1


@dataclass(frozen=True)
class NatsUrl:
    """The address of one node without secrets, and its credentials."""

    address: str
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)  # a token if there is no user
    credentials_file: str | None


def read_nats_urls(urls: str) -> tuple[NatsUrl, ...]:
    """Parse a comma-separated list of addresses; raises ValueError, which quotes none of it.

    A credentials file applies to its address and the following ones.
    """
    read: list[NatsUrl] = []
    for url in urls.split(","):
        credentials = read[-1].credentials_file if read else None
        read.append(_read(url.strip(), credentials))
    return tuple(read)


def _read(url: str, credentials: str | None) -> NatsUrl:
    if not url.lower().startswith(("nats://", "tls://")):
        raise ValueError("is empty or nats://host:port[,…]; " + _PERCENT)
    found = _ADDRESS.fullmatch(url)
    if found is None or _RAW.search(found[2] or ""):
        raise ValueError(_PERCENT)
    host = _HOST.fullmatch(found[3])
    if host is None or int(host[2] or 1) not in range(1, _MOST_PORT + 1):
        raise ValueError("names a host or a port that is not one; " + _PERCENT)
    user, colon, password = (found[2] or "").partition(":")
    return NatsUrl(
        address=f"{found[1].lower()}://{found[3]}",
        user=_plain(user) if colon else None,
        password=_plain(password if colon else user),
        credentials_file=_credentials_file(found[4] or "") or credentials,
    )


def _plain(text: str) -> str | None:
    try:
        return unquote(text, errors="strict") or None
    except UnicodeDecodeError:
        raise ValueError("has percent-encoded bytes that are not UTF-8") from None


def _credentials_file(query: str) -> str | None:
    given = dict(parse_qsl(query.replace("+", "%2B"), keep_blank_values=True))
    path = given.pop("creds", None)
    if given:
        raise ValueError("has a parameter other than creds=, the path of a credentials file")
    if path is not None:
        _check_credentials(path)
    return path


def _check_credentials(path: str) -> None:
    try:
        text = Path(path).read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ValueError(f"creds= names a file that cannot be read: {reason}") from None
    if "-----BEGIN NATS USER JWT-----" not in text or "SEED-----" not in text:
        raise ValueError("creds= names a file that holds no NATS credentials")
