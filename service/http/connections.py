"""The connections: listed, created or replaced, removed with or without their people."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import msgspec
from aiohttp import web

from service.accounts.token_trial import TokenRefusedError
from service.errors import UnstorableError
from service.http.bodies import decode_body, read_body
from service.http.parameters import END, LocationId, account_id, boolean
from service.http.problems import ProblemError, bad_request, json_response
from service.model import Login, ig_id
from service.store.connections import ExistsError, TakenError

if TYPE_CHECKING:
    from service.accounts.leaving import AccountLeaver
    from service.accounts.token_trial import TokenTrial
    from service.model import Trial
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

    def __init__(
        self,
        connections: Connections,
        replica: Replica,
        leaver: AccountLeaver,
        trial: TokenTrial,
    ) -> None:
        self._connections = connections
        self._replica = replica
        self._leaver = leaver
        self._trial = trial

    async def list_all(self, _: web.Request) -> web.Response:
        """List the connections, without their tokens."""
        return json_response({"connections": await self._connections.list()})

    async def put(self, request: web.Request) -> web.Response:
        """Create or replace a connection, once Meta has not refused its token.

        With `If-None-Match: *` an account that is connected already is left as it is: 412.
        """
        account = account_id(request.match_info["igAccountId"])
        is_new_only = _is_new_only(request)
        body = decode_body(await read_body(request), ConnectionBody)
        aliases = [ig_id(alias) for alias in body.alias_ids]
        if None in aliases:
            raise bad_request("aliasIds: each is 1 to 32 digits.")
        if is_new_only and await self._connections.exists(account):
            raise _connected_already()
        trial = await self._try(account, body)
        try:
            connection = await self._connections.put(
                account,
                body.location_id,
                body.access_token,
                body.login,
                sorted({alias for alias in aliases if alias and alias != account}),
                trial,
                is_new_only=is_new_only,
            )
        except ExistsError:
            raise _connected_already() from None
        except TakenError as error:
            raise ProblemError(HTTPStatus.CONFLICT, f"{error}.".capitalize()) from None
        except UnstorableError as error:
            detail = f"The connection can't be stored: {error}."
            raise ProblemError(HTTPStatus.CONFLICT, detail) from None
        await self._replica.read()
        return json_response(connection)

    async def _try(self, account: str, body: ConnectionBody) -> Trial:
        try:
            return await self._trial.try_token(account, body.login, body.access_token)
        except TokenRefusedError as error:
            detail = f"{error}. Nothing was changed."
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from None

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


def _is_new_only(request: web.Request) -> bool:
    condition = request.headers.get("If-None-Match")
    if condition not in (None, "*"):
        raise bad_request("If-None-Match can only be *.")
    return condition is not None


def _connected_already() -> ProblemError:
    return ProblemError(HTTPStatus.PRECONDITION_FAILED, "The account is connected already.")
