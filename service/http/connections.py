"""The connections: listed, created or replaced, removed with or without their people."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import msgspec
from aiohttp import web

from service.errors import UnstorableError
from service.http.bodies import decode_body, read_body
from service.http.parameters import END, LocationId, account_id, boolean
from service.http.problems import ProblemError, bad_request, json_response
from service.model import Login, ig_id
from service.store.connections import TakenError

if TYPE_CHECKING:
    from service.accounts.leaving import AccountLeaver
    from service.replica import Replica
    from service.store.connections import Connections

AccessToken = Annotated[
    str, msgspec.Meta(min_length=1, max_length=4096, pattern=rf"^[\x21-\x7e]+{END}")
]


class ConnectionBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What `PUT /connections/{igAccountId}` takes."""

    location_id: LocationId
    access_token: AccessToken
    login: Login = "facebook"
    alias_ids: Annotated[list[str], msgspec.Meta(max_length=20)] = []


class ConnectionRoutes:
    """Answers operators about the connected accounts."""

    def __init__(self, connections: Connections, replica: Replica, leaver: AccountLeaver) -> None:
        self._connections = connections
        self._replica = replica
        self._leaver = leaver

    async def list_all(self, _: web.Request) -> web.Response:
        """List the connections, without their tokens."""
        return json_response({"connections": await self._connections.list()})

    async def put(self, request: web.Request) -> web.Response:
        """Create or replace a connection."""
        account = account_id(request.match_info["igAccountId"])
        body = decode_body(await read_body(request), ConnectionBody)
        aliases = [ig_id(alias) for alias in body.alias_ids]
        if None in aliases:
            raise bad_request("aliasIds: each is 1 to 32 digits.")
        try:
            connection = await self._connections.put(
                account,
                body.location_id,
                body.access_token,
                body.login,
                sorted({alias for alias in aliases if alias and alias != account}),
            )
        except TakenError as error:
            raise ProblemError(HTTPStatus.CONFLICT, f"{error}.".capitalize()) from None
        except UnstorableError as error:
            detail = f"The connection can't be stored: {error}."
            raise ProblemError(HTTPStatus.CONFLICT, detail) from None
        await self._replica.read()
        return json_response(connection)

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a connection; with `erase=true` also the people who wrote to it alone.

        Erasing goes on in the background where it takes longer than some seconds.
        """
        account, erases = account_id(request.match_info["igAccountId"]), boolean(request, "erase")
        if not await self._connections.delete(account, erases=erases):
            raise ProblemError(HTTPStatus.NOT_FOUND, "There is no such connection.")
        await self._replica.read()
        if erases:
            await self._leaver.wait_for(account)
        return web.Response(status=HTTPStatus.NO_CONTENT)
