"""The list of people who have written, most recent first, in pages and with filters.

Filters apply to the identity as it is shown, so they run here and not in SQL. A page reads a
bounded number of participants: with a filter that few people match, a page can be short or empty
and still have a next page.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import msgspec

from service.model.freshness import CachedIdentity, Rules, is_fresh, is_stopped
from service.model.identity import Identity, has_name, identity
from service.store.identities import Identities
from service.store.people import EARLIEST, NEVER, TOP, PeopleStore, Place, Written, WrittenTo

ReadBelow = Callable[[Place, int], Awaitable[Sequence[Written]]]

MOST_SCANNED = 5000
MOST_MATCHES = 5000  # a search with more matches filters the most recent people instead of sorting
A_STEP = 500


class Asked(msgspec.Struct, frozen=True):
    """The filters. `q` is a prefix of the username (after an `@`), the name or the id."""

    q: str = ""
    location_id: str | None = None
    ig_account_id: str | None = None
    state: str | None = None
    reason: str | None = None
    named: bool | None = None
    days: int | None = None

    @property
    def is_filtered(self) -> bool:
        """Return whether a filter needs the identity itself."""
        return (self.state, self.reason, self.named) != (None, None, None)


class PersonAccount(msgspec.Struct, frozen=True, rename="camel"):
    """An account that a person wrote to; `location_id` is null if it is not connected."""

    ig_account_id: str
    location_id: str | None
    last_message_at: datetime


class Person(Identity, frozen=True, rename="camel"):
    """An identity, the accounts the person wrote to, and the time of the next fetch."""

    accounts: list[PersonAccount]
    next_attempt_at: datetime | None


class PeoplePage(msgspec.Struct, frozen=True):
    """People, and the place where the next page starts; None at the end of the list."""

    people: list[Person]
    next_place: Place | None


class People:
    """Reads pages of people."""

    def __init__(self, store: PeopleStore, identities: Identities, rules: Rules) -> None:
        self._store = store
        self._identities = identities
        self._rules = rules

    async def page(
        self, asked: Asked, now: datetime, limit: int, after: Place | None = None
    ) -> PeoplePage:
        """Read a page from at most 5,000 participants."""
        place = after or TOP
        read_below, is_search = await self._source(asked, now, place)
        size = A_STEP if is_search or asked.is_filtered else limit + 1
        found: list[tuple[Place, CachedIdentity]] = []
        for _ in range(0, MOST_SCANNED, size):
            rows = await read_below(place, size)
            found += await self._fitting(rows, asked, is_search=is_search)
            if len(found) > limit:
                return await self._page(found[:limit], found[limit - 1][0])
            if len(rows) < size:
                return await self._page(found, None)
            place = rows[-1].place
        return await self._page(found, place)

    async def find(self, wanted: str) -> list[Person]:
        """Find the people with this id, or with this `@username` in any case."""
        ids = [wanted]
        if wanted.startswith("@"):
            ids = await self._store.find_by_prefix(
                wanted[1:], MOST_MATCHES, is_username=True, may_be_id=False
            )
        rows = await self._store.read_of(ids, TOP, EARLIEST, None)
        found = await self._fitting(rows, Asked(), is_search=False)
        matching = [
            (place, cached)
            for place, cached in found
            if wanted.lower() in (cached.ig_user_id, f"@{(cached.username or '').lower()}")
        ]
        return (await self._page(matching, None)).people

    async def _source(self, asked: Asked, now: datetime, top: Place) -> tuple[ReadBelow, bool]:
        """Choose how to read participants after `top`; true if `q` is still to be applied."""
        since = EARLIEST if asked.days is None else now - timedelta(days=asked.days)
        accounts = await self._accounts(asked)
        matches = await self._matches(asked.q) if asked.q else None
        if matches is None:

            async def by_time(place: Place, at_most: int) -> Sequence[Written]:
                return await self._store.read_below(place, since, at_most, accounts)

            return by_time, bool(asked.q)
        of_matches = await self._store.read_of(matches, top, since, accounts)

        async def by_name(place: Place, at_most: int) -> Sequence[Written]:
            return [row for row in of_matches if row.place < place][:at_most]

        return by_name, False

    async def _accounts(self, asked: Asked) -> list[str] | None:
        """Return the requested accounts; None for all."""
        if asked.location_id is None:
            return None if asked.ig_account_id is None else [asked.ig_account_id]
        of_location = await self._store.accounts_of(asked.location_id)
        wanted = asked.ig_account_id
        return [each for each in of_location if wanted in (None, each)]

    async def _matches(self, q: str) -> list[str] | None:
        """Find the users that match a search; None if there are too many to sort."""
        prefix, is_username = q.removeprefix("@"), q.startswith("@")
        may_be_id = prefix.isascii() and prefix.isdigit()
        found = await self._store.find_by_prefix(
            prefix, MOST_MATCHES + 1, is_username=is_username, may_be_id=may_be_id
        )
        return found if len(found) <= MOST_MATCHES else None

    async def _fitting(
        self, rows: Sequence[Written], asked: Asked, *, is_search: bool
    ) -> list[tuple[Place, CachedIdentity]]:
        latest = [row.place for row in rows if row.is_latest]
        cached = await self._identities.watch([place.ig_user_id for place in latest])
        return [
            (place, each)
            for place, each in zip(latest, cached, strict=True)
            if self._fits(each, asked) and (not is_search or _begins(each, asked.q))
        ]

    def _fits(self, cached: CachedIdentity, asked: Asked) -> bool:
        if not asked.is_filtered:
            return True
        shown = identity(cached, cached.read_at, self._rules)
        return (
            asked.state in (None, shown.state)
            and asked.reason in (None, shown.reason)
            and asked.named in (None, has_name(cached.username, cached.name))
        )

    async def _page(
        self, found: Sequence[tuple[Place, CachedIdentity]], next_place: Place | None
    ) -> PeoplePage:
        accounts = await self._store.read_accounts([place.ig_user_id for place, _ in found])
        people = [
            self._person(cached, accounts[cached.ig_user_id])
            for _, cached in found
            if cached.ig_user_id in accounts  # else erased since the page was read
        ]
        return PeoplePage(people, next_place)

    def _person(self, cached: CachedIdentity, written_to: Sequence[WrittenTo]) -> Person:
        shown = identity(cached, cached.read_at, self._rules)
        attempts = [each.next_attempt_at for each in written_to if each.next_attempt_at]
        soonest = min(attempts, default=NEVER)
        is_over = is_fresh(cached, cached.read_at, self._rules) or is_stopped(cached, self._rules)
        return Person(
            **{name: getattr(shown, name) for name in shown.__struct_fields__},
            accounts=[
                PersonAccount(each.ig_account_id, each.location_id, each.last_message_at)
                for each in written_to
            ],
            next_attempt_at=soonest if soonest < NEVER and not is_over else None,
        )


def _begins(cached: CachedIdentity, q: str) -> bool:
    prefix = q.removeprefix("@").lower()
    texts = [cached.username] if q.startswith("@") else [cached.username, cached.name]
    is_of_id = prefix.isascii() and prefix.isdigit() and not q.startswith("@")
    is_id = is_of_id and cached.ig_user_id.startswith(prefix)
    return is_id or any((text or "").lower().startswith(prefix) for text in texts)
