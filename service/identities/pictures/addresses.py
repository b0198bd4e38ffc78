"""The picture addresses that are fetched: https on Meta's hosts, never a private network."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from yarl import URL

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

LONGEST_URL = 4096
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Only a plain address: no user before the host, no backslash (browsers read it as a slash) and no
# character that could end a header.
_URL = re.compile(
    r"(?P<origin>(?P<scheme>https?)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?P<port>:[0-9]{1,5})?)"
    r"/[!-\[\]-~]*",
    re.ASCII | re.IGNORECASE,
)
_DOMAIN = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII
)


class PictureHosts:
    """The hosts that pictures are fetched from.

    An entry is a domain, which allows https on it and its subdomains, or an origin such as
    `http://127.0.0.1:9000`, which allows exactly that origin, even on a private network.
    """

    def __init__(self, entries: Iterable[str]) -> None:
        named = {entry.lower().rstrip("/") for entry in entries}
        self._origins = {entry for entry in named if "://" in entry}
        self._domains = tuple(f".{entry}" for entry in named - self._origins)

    def allows(self, url: str) -> bool:
        """Return whether pictures can be fetched from this address, and browsers sent to it."""
        return self.is_named_origin(url) or self._is_on_a_domain(url)

    def is_named_origin(self, url: str) -> bool:
        """Return whether the address belongs to an allowed origin."""
        found = _matched(url)
        return found is not None and found["origin"].lower() in self._origins

    def _is_on_a_domain(self, url: str) -> bool:
        found = _matched(url)
        if found is None or found["scheme"].lower() != "https" or found["port"] is not None:
            return False
        host = found["host"].lower()
        is_name = _DOMAIN.fullmatch(host) is not None  # an IP address would bypass the resolver
        return is_name and bool(self._domains) and f".{host}".endswith(self._domains)


def host_of(url: str) -> str | None:
    """Return the host of an address, None if it is not an address."""
    found = _matched(url)
    return found and found["host"]


def redirected(url: str, location: str) -> str:
    """Resolve a redirect's Location against its address; empty if it is invalid."""
    try:
        return str(URL(url, encoded=True).join(URL(location, encoded=True)))
    except ValueError:
        return ""


def is_public(address: str) -> bool:
    """Return whether an IP address is public, including IPv4 addresses embedded in IPv6."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(map(_is_public, [ip, *_embedded(ip)]))


def _embedded(ip: Ip) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses embedded in an IPv6 address: mapped, 6to4, Teredo, NAT64."""
    if isinstance(ip, ipaddress.IPv4Address):
        return []
    nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
    found = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ()), nat64]
    return [v4 for v4 in found if v4 is not None]


def _is_public(ip: Ip) -> bool:
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return True  # decided by the mapped address
    if ip in _NAT64:
        return True
    is_site_local = isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local
    is_special = ip.is_multicast or ip.is_reserved or ip.is_unspecified or is_site_local
    return ip.is_global and not is_special


def _matched(url: str) -> re.Match[str] | None:
    return _URL.fullmatch(url) if len(url) <= LONGEST_URL else None
