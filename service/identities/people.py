"""The list of people: who has written, the most recent first, filtered, page by page.

Filters look at the identity as it is shown, so they are judged here and not in SQL. A page looks at
a bounded number of participants: with a filter that few people match it may hold few of them, or
nobody, and still say where to go on.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from service.model import Identity, has_name, identity, is_fresh, is_stopped
from service.store.people import EARLIEST, NEVER, TOP, Place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from service.model import CachedIdentity, Rules
    from service.store.identities import Identities
    from service.store.people import PeopleStore, Written, WrittenTo

    ReadBelow = Callable[[Place, int], Awaitable[Sequence[Written]]]

MOST_SCANNED = 5000
MOST_MATCHES = 5000  # users that a search sorts; a prefix of more is looked for among the latest
A_STEP = 500


class Asked(msgspec.Struct, frozen=True):
    """Whom to list. `q`: how the username (after an `@`), the name or the id begins."""

    q: str = ""
    location_id: str | None = None
    ig_account_id: str | None = None
    state: str | None = None
    reason: str | None = None
    named: bool | None = None
    days: int | None = None

    @property
    def is_filtered(self) -> bool:
        """Tell whether the identity itself has to be looked at."""
        return (self.state, self.reason, self.named) != (None, None, None)


class PersonAccount(msgspec.Struct, frozen=True, rename="camel"):
    """An account that a person has written to; `location_id` is null if nobody connected it."""

    ig_account_id: str
    location_id: str | None
    last_message_at: datetime


class Person(Identity, frozen=True, rename="camel"):
    """An identity, where the person wrote, and when Meta is asked for it next."""

    accounts: list[PersonAccount]
    next_attempt_at: datetime | None


class PeoplePage(msgspec.Struct, frozen=True):
    """Some people, and the place of the last one looked at; None at the end of the list."""

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
        """Read a page; it looks at 5,000 participants at most."""
        read_below, is_search = await self._source(asked, now)
        size = A_STEP if is_search or asked.is_filtered else limit + 1
        found: list[tuple[Place, CachedIdentity]] = []
        place = after or TOP
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
        return (
            await self._page(
                [
                    (place, cached)
                    for place, cached in found
                    if wanted.lower() in (cached.ig_user_id, f"@{(cached.username or '').lower()}")
                ],
                None,
            )
        ).people

    async def _source(self, asked: Asked, now: datetime) -> tuple[ReadBelow, bool]:
        """Choose where participants are read from; true: they still have to be searched."""
        since = EARLIEST if asked.days is None else now - timedelta(days=asked.days)
        accounts = await self._accounts(asked)
        matches = await self._matches(asked.q) if asked.q else None
        if matches is None:

            async def by_time(place: Place, at_most: int) -> Sequence[Written]:
                return await self._store.read_below(place, since, at_most, accounts)

            return by_time, bool(asked.q)
        of_matches: list[Written] | None = None

        async def by_name(place: Place, at_most: int) -> Sequence[Written]:
            nonlocal of_matches
            if of_matches is None:
                of_matches = await self._store.read_of(matches, place, since, accounts)
            return [row for row in of_matches if row.place < place][:at_most]

        return by_name, False

    async def _accounts(self, asked: Asked) -> list[str] | None:
        """Name the accounts that are asked for; None: all of them."""
        if asked.location_id is None:
            return None if asked.ig_account_id is None else [asked.ig_account_id]
        of_location = await self._store.accounts_of(asked.location_id)
        wanted = asked.ig_account_id
        return [each for each in of_location if wanted in (None, each)]

    async def _matches(self, q: str) -> list[str] | None:
        """Find the users that a search is for; None if there are more than can be sorted."""
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
        people = [self._person(cached, accounts.get(cached.ig_user_id, ())) for _, cached in found]
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
