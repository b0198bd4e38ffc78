"""The values that a request carries to its handler, and headers that many answers share."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from aiohttp import web

REQUEST_ID = web.RequestKey("request_id", str)
# No shared cache passes an answer to a client without the key. Static pages and pictures have other
# headers.
USUAL_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Granted(NamedTuple):
    """The grant that opened a route, and when it ends."""

    grant: str
    until: datetime


GRANTED = web.RequestKey("granted", Granted)


def has_copy(request: web.Request, tag: str) -> bool:
    """Return whether the client's copy has this ETag."""
    return any(each.value in {tag, "*"} for each in request.if_none_match or ())
