"""What requests carry on their way to a handler, and the headers that nearly all answers have."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - the key holds the type at run time
from typing import NamedTuple

from aiohttp import web

REQUEST_ID = web.RequestKey("request_id", str)
# No cache in front may hand an answer on to somebody without the key. Pages, which are the same for
# everybody, and pictures say something else.
USUAL_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Granted(NamedTuple):
    """The grant that opened a route, and when it ends."""

    grant: str
    until: datetime


GRANTED = web.RequestKey("granted", Granted)
