"""Issues grants: an inbox requests one with its key and passes it to a browser."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web

from service.http.bodies import decode_body, read_body
from service.http.grant_signing import LONGEST_S, Grants
from service.http.problems import json_response


class GrantBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of `POST /grants`; the lifetime is in seconds."""

    expires_in: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_S)] = 600


class GrantRoutes:
    """Issues grants."""

    def __init__(self, grants: Grants) -> None:
        self._grants = grants

    async def issue(self, request: web.Request) -> web.Response:
        """Answer with a new grant, valid for ten minutes by default."""
        body = decode_body(await read_body(request) or b"{}", GrantBody)
        return json_response(self._grants.issue(body.expires_in))
