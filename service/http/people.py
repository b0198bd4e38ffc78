"""The list of people, for operators and their console."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import get_args

from aiohttp import web

from service.http.parameters import account_id, boolean, location, whole_number
from service.http.problems import bad_request, json_response
from service.identities.people import Asked, People
from service.model.calls import PauseReason, UserReason
from service.model.identity import State
from service.store.people import LONGEST_PREFIX, Place

MOST_PEOPLE, USUAL_PEOPLE = 200, 50
MOST_DAYS = 3650
STATES = tuple(get_args(State))
REASONS = tuple(sorted({*get_args(UserReason), *get_args(PauseReason)}))
_CURSOR = re.compile(r"(\d{1,18})-(\d{1,33})-(\d{1,33})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PeopleRoutes:
    """Answers with pages of people."""

    def __init__(self, people: People) -> None:
        self._people = people

    async def list(self, request: web.Request) -> web.Response:
        """List the users who wrote, most recent first; `next` is null at the end."""
        limit = whole_number(request, "limit", USUAL_PEOPLE, MOST_PEOPLE)
        page = await self._people.page(_asked(request), datetime.now(UTC), limit, _after(request))
        next_cursor = None if page.next_place is None else _cursor(page.next_place)
        return json_response({"people": page.people, "next": next_cursor})


def _asked(request: web.Request) -> Asked:
    query = request.query
    q = query.get("q", "").strip()
    if len(q) > LONGEST_PREFIX or "\0" in q:
        raise bad_request(f"q is at most {LONGEST_PREFIX} characters, and none of them is NUL.")
    return Asked(
        q="" if q == "@" else q,
        location_id=location(request) if query.get("locationId") else None,
        ig_account_id=account_id(query["igAccountId"]) if query.get("igAccountId") else None,
        state=_one_of(request, "state", STATES),
        reason=_one_of(request, "reason", REASONS),
        named=boolean(request, "named") if query.get("named") else None,
        days=whole_number(request, "days", 1, MOST_DAYS) if query.get("days") else None,
    )


def _one_of(request: web.Request, name: str, known: tuple[str, ...]) -> str | None:
    value = request.query.get(name) or None
    if value is not None and value not in known:
        raise bad_request(f"{name} is one of {', '.join(known)}.")
    return value


def _after(request: web.Request) -> Place | None:
    given = request.query.get("cursor")
    if not given:
        return None
    found = _CURSOR.fullmatch(given)
    if found is None:
        raise bad_request("cursor is not one that this service gave.")
    micros, ig_user_id, ig_account_id = found.groups()
    try:
        return Place(_EPOCH + timedelta(microseconds=int(micros)), ig_user_id, ig_account_id)
    except OverflowError:
        raise bad_request("cursor is not one that this service gave.") from None


def _cursor(place: Place) -> str:
    micros = (place.last_message_at - _EPOCH) // timedelta(microseconds=1)
    return f"{max(0, micros)}-{place.ig_user_id}-{place.ig_account_id}"
