"""CORS for the routes that accept a grant, and for no others.

This is safe because the grant in the URL is the only authorization: browsers add no cookie or
password that a foreign page could use, and a client with a grant can read without a browser too.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

_READABLE = "readable-"
_ANY_ORIGIN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Retry-After, X-Request-ID",
}
_PREFLIGHT = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Cache-Control, If-None-Match, Last-Event-ID, X-Request-ID",
    "Access-Control-Max-Age": "600",
}


def readable_routes(routes: Iterable[tuple[str, str, Handler]]) -> list[web.RouteDef]:
    """Return GET routes for pages of any origin; each is a name, a path and a handler."""
    made = []
    for name, path, handler in routes:
        is_stream = name == "events"
        made.append(web.get(path, handler, name=f"{_READABLE}{name}", allow_head=not is_stream))
        made.append(web.options(path, _preflight))
    return made


async def let_other_origins_read(request: web.Request, response: web.StreamResponse) -> None:
    """Add the CORS headers to an answer or a problem; a signal handler for aiohttp."""
    if (request.match_info.route.name or "").startswith(_READABLE):
        response.headers.update(_ANY_ORIGIN)


async def _preflight(_: web.Request) -> web.StreamResponse:
    """Answer a CORS preflight request."""
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=_PREFLIGHT)
