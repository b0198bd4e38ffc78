"""The operator's routes: refresh, erase, backfill, connections and status."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import msgspec
from aiohttp import web

from service.errors import UnstorableError
from service.http.bodies import decode_body, read_body
from service.http.parameters import END, LocationId, account_id, boolean, location, whole_number
from service.http.problems import ProblemError, bad_request, json_response
from service.http.users import checked_id, user_id
from service.model import Login, identity, ig_id
from service.store.connections import TakenError

if TYPE_CHECKING:
    from service.erasure import Erasure
    from service.http.health import Status
    from service.model import Rules
    from service.replica import Replica
    from service.resolving.on_request import Fetching
    from service.store.connections import Connections
    from service.store.identities import Identities

DEFAULT_DAYS, MOST_DAYS = 7, 90
MOST_ERASED = 1000
AccessToken = Annotated[
    str, msgspec.Meta(min_length=1, max_length=4096, pattern=rf"^[\x21-\x7e]+{END}")
]


class ConnectionBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What `PUT /connections/{igAccountId}` takes."""

    location_id: LocationId
    access_token: AccessToken
    login: Login = "facebook"
    alias_ids: Annotated[list[str], msgspec.Meta(max_length=20)] = []


class EraseBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What `POST /users/erase` takes."""

    ig_user_ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_ERASED)]


class OperatorRoutes:
    """Answers operators."""

    def __init__(
        self,
        fetching: Fetching,
        identities: Identities,
        erasure: Erasure,
        connections: Connections,
        status: Status,
        replica: Replica,
        rules: Rules,
    ) -> None:
        self._fetching = fetching
        self._identities = identities
        self._erasure = erasure
        self._connections = connections
        self._status = status
        self._replica = replica
        self._rules = rules

    async def refresh(self, request: web.Request) -> web.Response:
        """Clear a user's failures, fetch within 10 s, answer with the identity as it is then."""
        cached = await self._fetching.refresh(user_id(request))
        if cached is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "No participant has this id.")
        return json_response(identity(cached, cached.read_at, self._rules))

    async def erase(self, request: web.Request) -> web.Response:
        """Erase everything held about a user, known or not."""
        await self._erasure.erase([user_id(request)])
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def erase_many(self, request: web.Request) -> web.Response:
        """Erase everything held about 1 to 1000 users, known or not."""
        body = decode_body(await read_body(request), EraseBody)
        ig_user_ids = sorted({checked_id(each) for each in body.ig_user_ids})
        await self._erasure.erase(ig_user_ids)
        return json_response({"erased": len(ig_user_ids)})

    async def backfill(self, request: web.Request) -> web.Response:
        """Fetch up to 50 users of a location that lack a fresh identity."""
        location_id, days = (
            location(request),
            whole_number(request, "days", DEFAULT_DAYS, MOST_DAYS),
        )
        include_failed = boolean(request, "includeFailed")
        if not await self._identities.has_location(location_id):
            raise ProblemError(HTTPStatus.NOT_FOUND, "No connection belongs to this location.")
        report = await self._fetching.backfill(location_id, days, include_failed=include_failed)
        return json_response(report)

    async def list_connections(self, _: web.Request) -> web.Response:
        """List the connections, without their tokens."""
        return json_response({"connections": await self._connections.list()})

    async def put_connection(self, request: web.Request) -> web.Response:
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

    async def delete_connection(self, request: web.Request) -> web.Response:
        """Remove a connection."""
        if not await self._connections.delete(account_id(request.match_info["igAccountId"])):
            raise ProblemError(HTTPStatus.NOT_FOUND, "There is no such connection.")
        await self._replica.read()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def status(self, _: web.Request) -> web.Response:
        """Tell how the service does, also while Postgres is away."""
        return json_response(await self._status.read())
