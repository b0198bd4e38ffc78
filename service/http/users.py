"""The inbox's routes: identities, one or up to 200 at a time."""

from __future__ import annotations

from aiohttp import web

from service.http.answers import Answer
from service.http.parameters import checked_id
from service.http.problems import bad_request
from service.identities.lookups import Lookups
from service.model.contacts import ig_id

MOST_IDS = 200


class UserRoutes:
    """Answers with identities as JSON."""

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups

    async def one(self, request: web.Request) -> web.StreamResponse:
        """Answer with one identity; for a user that never wrote it is `unknown`, not a 404."""
        return await self._answer(user_id(request))

    async def one_by_path(self, request: web.Request) -> web.StreamResponse:
        """Answer with one identity, for a path that ends with digits."""
        return await self._answer(checked_id(request.raw_path.rpartition("/")[2]))

    async def many(self, request: web.Request) -> web.StreamResponse:
        """Answer with 1 to 200 identities, in the order of the request."""
        bodies = await self._lookups.read(user_ids(request))
        return Answer(b'{"users":[' + b",".join(bodies) + b"]}\n", "application/json")

    async def _answer(self, ig_user_id: str) -> web.StreamResponse:
        body = self._lookups.recall(ig_user_id)
        if body is None:
            (body,) = await self._lookups.read((ig_user_id,))
        return Answer(body + b"\n", "application/json")


def user_id(request: web.Request) -> str:
    """Read the user's id from the path; 400 if it is not 1 to 32 digits."""
    return checked_id(request.match_info["igUserId"])


def user_ids(request: web.Request) -> list[str]:
    """Read 1 to 200 ids from `ids`; 400 otherwise."""
    given = ",".join(request.query.getall("ids", []))
    if not given:
        raise bad_request("ids is a comma list of 1 to 200 ids.")
    asked = given.split(",", MOST_IDS + 1)
    if len(asked) > MOST_IDS:
        raise bad_request(f"ids has more than {MOST_IDS} ids.")
    found = [ig_id(part) for part in asked]
    if None in found:
        raise bad_request(f"ids: number {found.index(None) + 1} is not 1 to 32 digits.")
    return [ig_user_id for ig_user_id in found if ig_user_id is not None]
