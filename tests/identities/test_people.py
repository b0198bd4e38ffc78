"""The list of people on a real database: order, filters, search, and what a page costs."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from service.identities import people as people_module
from service.identities.people import Asked, People, Person
from service.model.freshness import Rules
from service.store.database import Database
from service.store.identities import Identities
from service.store.people import PeopleStore, WrittenTo
from tests.store.tables import (
    ACCOUNT,
    HOUR,
    LOCATION,
    MINUTE,
    OTHER_ACCOUNT,
    Tables,
    user_id,
)

JANE, JOHN, NAMELESS, STOPPED, ELSEWHERE = map(user_id, range(1, 6))


@pytest.fixture
async def tables(database_url: str) -> AsyncIterator[Tables]:
    session = await asyncpg.connect(database_url)
    yield Tables(session)
    await session.close()


@pytest.fixture
async def people(database_url: str) -> AsyncIterator[People]:
    async with Database.connect(database_url, pool_size=2) as database:
        rules = Rules()
        yield People(PeopleStore(database), Identities(database, rules), rules)


@pytest.fixture
async def world(tables: Tables) -> Tables:
    """Five people: two with a name, one who waits, one given up, one of another location."""
    await tables.connect()
    await tables.connect(OTHER_ACCOUNT, location_id="loc_2")
    fetched = {"last_fetched_at": -HOUR, "expires_at": HOUR}
    await tables.cache(JANE, username="Jane.Doe", name="Jane Doe", **fetched)
    await tables.cache(JOHN, username="john", name="Jäger_100%", **fetched)
    await tables.cache_failed(NAMELESS, 1, MINUTE / 2)
    await tables.cache_failed(STOPPED, 5, reason="consent_required")
    await tables.cache(ELSEWHERE, username="jane2", **fetched)
    for number, user in enumerate((JANE, JOHN, NAMELESS, STOPPED)):
        await tables.participate(user, last_message_at=-MINUTE * number, due_at=None)
    await tables.participate(JANE, OTHER_ACCOUNT, last_message_at=-HOUR, due_at=None)
    await tables.participate(ELSEWHERE, OTHER_ACCOUNT, last_message_at=-HOUR, due_at=None)
    return tables


async def listed(people: People, **asked: object) -> list[str]:
    page = await people.page(Asked(**asked), datetime.now(UTC), 50)  # type: ignore[arg-type]
    assert page.next_place is None
    return [person.ig_user_id for person in page.people]


async def walk(people: People, limit: int, **asked: object) -> list[Person]:
    found: list[Person] = []
    place = None
    for _ in range(100):
        page = await people.page(Asked(**asked), datetime.now(UTC), limit, place)  # type: ignore[arg-type]
        found += page.people
        place = page.next_place
        if place is None:
            return found
    raise AssertionError("the list has no end")


@pytest.mark.usefixtures("world")
async def test_each_person_is_listed_once_the_most_recent_first(people: People) -> None:
    page = await people.page(Asked(), datetime.now(UTC), 50)
    assert [p.ig_user_id for p in page.people] == [JANE, JOHN, NAMELESS, STOPPED, ELSEWHERE]
    assert [(a.ig_account_id, a.location_id) for a in page.people[0].accounts] == [
        (ACCOUNT, LOCATION),
        (OTHER_ACCOUNT, "loc_2"),
    ]


class ErasedMeanwhile(PeopleStore):
    """Erases a user after the page was read, before the accounts are."""

    def __init__(self, database: Database, identities: Identities) -> None:
        super().__init__(database)
        self._identities = identities

    async def read_accounts(self, ig_user_ids: Sequence[str]) -> dict[str, list[WrittenTo]]:
        await self._identities.erase(JOHN)
        return await super().read_accounts(ig_user_ids)


@pytest.mark.usefixtures("world")
async def test_who_is_erased_while_a_page_is_read_is_not_on_it(database_url: str) -> None:
    async with Database.connect(database_url, pool_size=2) as database:
        identities = Identities(database, Rules())
        people = People(ErasedMeanwhile(database, identities), identities, Rules())
        assert await listed(people) == [JANE, NAMELESS, STOPPED, ELSEWHERE]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"named": False}, [NAMELESS, STOPPED]),
        ({"named": True}, [JANE, JOHN, ELSEWHERE]),
        ({"state": "failed"}, [STOPPED]),
        ({"state": "pending"}, [NAMELESS]),
        ({"reason": "not_found"}, [NAMELESS]),
        ({"ig_account_id": OTHER_ACCOUNT}, [ELSEWHERE, JANE]),
        ({"location_id": "loc_2", "named": True}, [ELSEWHERE, JANE]),
        ({"location_id": "loc_2", "ig_account_id": ACCOUNT}, []),
        ({"location_id": "nowhere"}, []),
        ({"q": "@jane"}, [JANE, ELSEWHERE]),
        ({"q": "JANE D"}, [JANE]),
        ({"q": "@jane d"}, []),
        ({"q": "jäger_100%"}, [JOHN]),
        ({"q": "%"}, []),
        ({"q": NAMELESS}, [NAMELESS]),
        ({"q": user_id(3)[:-1]}, [JANE, JOHN, NAMELESS, STOPPED, ELSEWHERE]),
        ({"q": "jane", "location_id": LOCATION}, [JANE]),
        ({"q": "j", "state": "failed"}, []),
    ],
)
@pytest.mark.usefixtures("world")
async def test_filters_and_searches_go_together(
    people: People, asked: dict[str, object], wanted: list[str]
) -> None:
    assert await listed(people, **asked) == wanted


async def test_days_leave_out_who_wrote_before(people: People, world: Tables) -> None:
    await world.participate(user_id(9), last_message_at=-timedelta(days=3))
    assert user_id(9) in await listed(people, days=4)
    assert user_id(9) not in await listed(people, days=2)


async def test_pages_meet_without_gap_or_repeat(people: People, tables: Tables) -> None:
    """Also where many have written at the very same moment, as after an import."""
    await tables.connect()
    await tables.session.execute(
        "INSERT INTO instagram_participants (ig_account_id, ig_user_id, last_message_at)"
        " SELECT a, 5550000000000000 + n, '2026-11-01' FROM generate_series(1, 25) n,"
        " unnest($1::text[]) a",
        [ACCOUNT, OTHER_ACCOUNT],
    )
    for asked in ({}, {"location_id": LOCATION}, {"q": "555"}):
        found = [person.ig_user_id for person in await walk(people, 7, **asked)]
        assert found == sorted(found, reverse=True)
        assert len(found) == len(set(found)) == 25


async def test_a_page_looks_at_a_bounded_number_and_says_where_to_go_on(
    people: People, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people_module, "MOST_SCANNED", 20)
    monkeypatch.setattr(people_module, "A_STEP", 10)
    for number in range(50):
        await tables.participate(user_id(number), last_message_at=-MINUTE * number)
    await tables.cache(user_id(45), username="rare", last_fetched_at=-HOUR)
    first = await people.page(Asked(named=True), datetime.now(UTC), 5)
    assert first.people == []
    assert first.next_place is not None
    assert [p.username for p in await walk(people, 5, named=True)] == ["rare"]


@pytest.mark.usefixtures("world")
async def test_a_search_that_matches_too_many_to_sort_is_answered_all_the_same(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(people_module, "MOST_MATCHES", 1)
    assert await listed(people, q="jane") == [JANE, ELSEWHERE]
    assert await listed(people, q="@JANE.") == [JANE]
    assert await listed(people, q="555") == [JANE, JOHN, NAMELESS, STOPPED, ELSEWHERE]


async def test_the_next_attempt_is_not_before_a_pause_has_ended(
    people: People, tables: Tables
) -> None:
    await tables.connect()
    await tables.participate(JANE, due_at=MINUTE)
    (before,) = await walk(people, 1)
    await tables.pause(f"account:{ACCOUNT}", "throttled", HOUR)
    (during,) = await walk(people, 1)
    await tables.session.execute("UPDATE instagram_pauses SET until = 'infinity'")
    (for_ever,) = await walk(people, 1)
    assert before.next_attempt_at is not None
    assert during.next_attempt_at is not None
    assert during.next_attempt_at - before.next_attempt_at > MINUTE * 50
    assert for_ever.next_attempt_at is None
