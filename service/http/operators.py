"""The operator's routes: refresh, erase, backfill and status."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import msgspec
from aiohttp import web

from service.erasure import Erasure
from service.http.bodies import decode_body, read_body
from service.http.concurrency import ConcurrencyLimit
from service.http.health import Status
from service.http.parameters import boolean, checked_id, location, moment, whole_number
from service.http.problems import ProblemError, json_response
from service.http.users import user_id
from service.model.freshness import Rules
from service.model.identity import identity
from service.resolving.on_request import RequestedFetches
from service.store.identities import Identities

DEFAULT_DAYS, MOST_DAYS = 7, 90
MOST_ERASED = 1000
MOST_BACKFILLS, MOST_REFRESHES = 10, 50  # concurrent, per process: they take 30 and 10 s


class EraseBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """The body of `POST /users/erase`."""

    ig_user_ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_ERASED)]


class OperatorRoutes:
    """Answers operators."""

    def __init__(
        self,
        requested: RequestedFetches,
        identities: Identities,
        erasure: Erasure,
        status: Status,
        rules: Rules,
    ) -> None:
        self._requested = requested
        self._identities = identities
        self._erasure = erasure
        self._status = status
        self._rules = rules
        self._refreshes = ConcurrencyLimit(MOST_REFRESHES, "refreshes", 2)
        self._backfills = ConcurrencyLimit(MOST_BACKFILLS, "backfills", 5)

    async def refresh(self, request: web.Request) -> web.Response:
        """Clear a user's failures, fetch within 10 s, and answer with the resulting identity."""
        with self._refreshes.one():
            cached = await self._requested.refresh(user_id(request))
        if cached is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "No participant has this id.")
        return json_response(identity(cached, cached.read_at, self._rules))

    async def erase(self, request: web.Request) -> web.Response:
        """Erase everything stored about a user, who need not be known."""
        await self._erasure.erase([user_id(request)])
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def erase_many(self, request: web.Request) -> web.Response:
        """Erase everything stored about 1 to 1000 users, who need not be known."""
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
        with self._backfills.one():
            if not await self._identities.has_location(location_id):
                raise ProblemError(HTTPStatus.NOT_FOUND, "No connection belongs to this location.")
            report = await self._requested.backfill(
                location_id,
                days,
                include_failed=include_failed,
                failed_before=moment(request, "failedBefore"),
            )
        return json_response(report)

    async def status(self, _: web.Request) -> web.Response:
        """Return the state of the service, even while PostgreSQL is unavailable."""
        return json_response(await self._status.read())
