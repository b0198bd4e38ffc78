"""Routes without a key, for the browser of the user who runs the sandbox only."""

import os
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from service.http.problems import ProblemError

_FORWARDED = frozenset({"forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"})
_OWN_SITES = (None, "same-origin", "none")
_LOCAL_COLUMN, _PEER_COLUMN, _USER_COLUMN = 1, 2, 7  # of /proc/net/tcp


def for_own_browser(handler: Handler) -> Handler:
    """Guard a handler: 403 unless the request comes from this machine and this user.

    The request's host must be this machine too, which refuses pages of other sites whose name
    points here (DNS rebinding), and the request must not come through a proxy or tunnel.
    """

    async def guarded(request: web.Request) -> web.StreamResponse:
        if not _is_own(request):
            raise ProblemError(
                HTTPStatus.FORBIDDEN,
                "This opens only in a browser on the sandbox's machine, at 127.0.0.1 or localhost, "
                "for the user who started the sandbox.",
            )
        return await handler(request)

    return guarded


def _is_own(request: web.Request) -> bool:
    return (
        _is_loopback(urlsplit(f"//{request.host}").hostname)
        and _is_loopback(request.remote)
        and request.headers.get("Sec-Fetch-Site") in _OWN_SITES
        and not any(name.lower() in _FORWARDED for name in request.headers)
        and _users_of_peer(request) == {os.getuid()}
    )


def _is_loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _users_of_peer(request: web.Request) -> set[int]:
    """Return the users of the local sockets that can be the other end of the connection."""
    transport = request.transport
    if transport is None:
        return set()
    here, peer = (transport.get_extra_info(end)[1] for end in ("sockname", "peername"))
    rows = [row.split() for file in ("tcp", "tcp6") for row in _rows(file)]
    return {
        int(row[_USER_COLUMN])
        for row in rows
        if (_port(row[_LOCAL_COLUMN]), _port(row[_PEER_COLUMN])) == (peer, here)
    }


def _rows(file: str) -> list[str]:
    try:
        return Path("/proc/net", file).read_text().splitlines()[1:]
    except FileNotFoundError:  # a kernel without IPv6
        return []


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
