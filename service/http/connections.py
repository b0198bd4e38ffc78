"""Connected accounts: list, create or replace, and delete with or without their users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated

import msgspec
import structlog
from aiohttp import web

from service.accounts.leaving import AccountLeaver
from service.accounts.token_trial import TokenRefusedError, TokenTrial
from service.errors import UnstorableError
from service.http.bodies import decode_body, read_body
from service.http.parameters import LocationId, account_id, boolean
from service.http.problems import ProblemError, bad_request, json_response
from service.model.calls import APP_SCOPE, Login, Trial, account_scope
from service.model.contacts import ig_id
from service.replica import Replica
from service.store.connections import Connections, ExistsError, TakenError

log = structlog.get_logger()

LONGEST_TOKEN = 4096
AccessToken = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_TOKEN)]


class ConnectionBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of `PUT /connections/{igAccountId}`."""

    location_id: LocationId
    access_token: AccessToken
    login: Login = "facebook"
    alias_ids: Annotated[list[str], msgspec.Meta(max_length=20)] = []


class ConnectionChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of `PATCH /connections/{igAccountId}`; missing fields stay unchanged."""

    location_id: LocationId | None = None
    alias_ids: Annotated[list[str], msgspec.Meta(max_length=20)] | None = None


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
        """Create or replace a connection, unless Meta refuses its token.

        With `If-None-Match: *`, raises 412 if the account is connected already.
        """
        account = account_id(request.match_info["igAccountId"])
        is_new_only = _is_new_only(request)
        body = decode_body(await read_body(request), ConnectionBody)
        token, aliases = _token(body.access_token), _aliases(body.alias_ids, account)
        if is_new_only and await self._connections.exists(account):
            raise _connected_already()
        trial = await self._try(account, body.login, token)
        with _refusals_as_conflicts():
            connection = await self._connections.put(
                account,
                body.location_id,
                token,
                body.login,
                aliases,
                trial,
                is_new_only=is_new_only,
            )
        await self._replica.read()
        return json_response(connection)

    async def _try(self, account: str, login: Login, token: str) -> Trial:
        try:
            return await self._trial.try_token(account, login, token)
        except TokenRefusedError as error:
            detail = f"{error}. Nothing was changed."
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail) from None

    async def change(self, request: web.Request) -> web.Response:
        """Change the location or the aliases of a connection, and keep its token."""
        account = account_id(request.match_info["igAccountId"])
        body = decode_body(await read_body(request), ConnectionChange)
        aliases = None if body.alias_ids is None else _aliases(body.alias_ids, account)
        with _refusals_as_conflicts():
            connection = await self._connections.change(account, body.location_id, aliases)
        if connection is None:
            raise _no_such_connection()
        await self._replica.read()
        return json_response(connection)

    async def lift_pause(self, request: web.Request) -> web.Response:
        """End a pause now; the next call can start a new one. Raises 404 if there is none."""
        scope = request.match_info["scope"]
        if scope != APP_SCOPE:
            scope = account_scope(account_id(scope.removeprefix(account_scope(""))))
        if not await self._connections.lift_pause(scope):
            raise ProblemError(HTTPStatus.NOT_FOUND, "There is no such pause.")
        log.info("a pause was lifted by an operator", scope=scope)
        await self._replica.read()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a connection; `erase=true` also erases users that wrote to no other account.

        Erasing continues in the background if it takes longer than a few seconds.
        """
        account, erases = account_id(request.match_info["igAccountId"]), boolean(request, "erase")
        if not await self._connections.delete(account, erases=erases):
            raise _no_such_connection()
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


def _token(given: str) -> str:
    """Remove blanks around a token; raises 400 if it is not one."""
    token = given.strip(" \t\r\n")
    if not token:
        raise bad_request("accessToken is blank.")
    if any(ch.isspace() for ch in token):
        raise bad_request("accessToken contains a blank or a line end: a token is one word.")
    if not (token.isascii() and token.isprintable()):
        raise bad_request("accessToken contains a character that Meta's tokens never have.")
    return token


def _aliases(given: Sequence[str], account: str) -> list[str]:
    aliases = [ig_id(alias) for alias in given]
    if None in aliases:
        raise bad_request("aliasIds: each is 1 to 32 digits.")
    return sorted({alias for alias in aliases if alias and alias != account})


@contextmanager
def _refusals_as_conflicts() -> Iterator[None]:
    try:
        yield
    except ExistsError:
        raise _connected_already() from None
    except TakenError as error:
        raise ProblemError(HTTPStatus.CONFLICT, f"{error}.".capitalize()) from None
    except UnstorableError as error:
        detail = f"The connection can't be stored: {error}."
        raise ProblemError(HTTPStatus.CONFLICT, detail) from None


def _no_such_connection() -> ProblemError:
    return ProblemError(HTTPStatus.NOT_FOUND, "There is no such connection.")
