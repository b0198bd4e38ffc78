"""The values that a request carries to its handler, and the headers of nearly all answers."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - the key holds the type at run time
from typing import NamedTuple

from aiohttp import web

REQUEST_ID = web.RequestKey("request_id", str)
# No shared cache can pass an answer on to a client without the key. Pages, which are the same for
# everybody, and pictures say something else.
USUAL_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Granted(NamedTuple):
    """The grant that opened a route, and when it ends."""

    grant: str
    until: datetime


GRANTED = web.RequestKey("granted", Granted)
