"""Client addresses, normalized for limits by address."""

from __future__ import annotations

from asyncio import BaseTransport
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

_NETWORK_BITS = 64  # of an IPv6 address; a client can use any address of its network


def address_of(transport: BaseTransport) -> str | None:
    """Return the client's address; None for a Unix socket, which has none."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else None


@lru_cache(maxsize=4096)
def counted_as(address: str | None) -> str:
    """Return the key of limits: an IPv4 address, or the /64 network of an IPv6 address.

    An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) counts as IPv4; other text is unchanged.
    """
    found = _read(address)
    if not isinstance(found, IPv6Address):
        return str(found or address or "")
    network = int(found) >> _NETWORK_BITS << _NETWORK_BITS
    return f"{IPv6Address(network)}/{_NETWORK_BITS}"


@lru_cache(maxsize=4096)
def is_near(address: str | None) -> bool:
    """Return whether a client is on this machine or in a private network, as a reverse proxy is."""
    found = _read(address)
    return found is None or found.is_private


def _read(address: str | None) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
