"""The Inbox's way to let a browser watch: it gives its key for a grant, and the browser that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from service.grants import LONGEST_S
from service.http.problems import bad_request, json_response
from service.http.webhook import read_body

if TYPE_CHECKING:
    from aiohttp import web

    from service.grants import Grants


class GrantBody(msgspec.Struct, rename="camel"):
    """What `POST /grants` takes; the lifetime is in seconds."""

    expires_in: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_S)] = 600


class GrantRoutes:
    """Issues grants."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    async def issue(self, request: web.Request) -> web.Response:
        """Answer with a new grant; an empty body asks for ten minutes."""
        body = _grant_body(await read_body(request))
        response = json_response(self._grants.issue(body.expires_in))
        response.headers["Cache-Control"] = "no-store"
        return response


def _grant_body(body: bytes) -> GrantBody:
    try:
        return msgspec.json.decode(body or b"{}", type=GrantBody)
    except msgspec.ValidationError as error:
        # msgspec names the place and the expected type, never the value
        raise bad_request(f"The body does not fit: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise bad_request("The body is not JSON.") from None
