"""Reading from pages of other origins: the routes that a grant opens, and no others.

Safe for these, since what opens them is the grant in the address: a browser adds no cookie or
password of its own that a foreign page could borrow, and whatever holds a grant could as well read
without a browser.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable

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
    """Make GET routes that pages of any origin can read; each is a name, a path and a handler."""
    made = []
    for name, path, handler in routes:
        is_stream = name == "events"
        made.append(web.get(path, handler, name=f"{_READABLE}{name}", allow_head=not is_stream))
        made.append(web.options(path, _preflight))
    return made


async def let_other_origins_read(request: web.Request, response: web.StreamResponse) -> None:
    """Let pages of any origin read an answer or a problem; a signal handler for aiohttp."""
    if (request.match_info.route.name or "").startswith(_READABLE):
        response.headers.update(_ANY_ORIGIN)


async def _preflight(_: web.Request) -> web.StreamResponse:
    """Answer a CORS preflight request."""
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=_PREFLIGHT)
