"""Erasing the people of a removed account, and people who have long been silent."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from service.accounts.leaving import AccountLeaver, Retention
from service.store.database import Database
from service.store.leaving import Leavings
from service.store.queries import read_queries
from tests.until import until

SHOP, OTHER = "17841400000000001", "17841400000000002"
DAY = timedelta(days=1)
WRITE = """
INSERT INTO instagram_participants (ig_account_id, ig_user_id, last_message_at)
VALUES ($1, $2, now() - $3::interval)
"""
NAME = "INSERT INTO instagram_user_cache (ig_user_id, username) VALUES ($1, 'u' || $1)"


@pytest.fixture
def leavings(database: Database) -> Leavings:
    return Leavings(database)


class Forgotten:
    """Records the users that the memory was told to forget."""

    def __init__(self) -> None:
        self.users: set[str] = set()

    def __call__(self, ig_user_ids: Sequence[str]) -> None:
        self.users.update(ig_user_ids)


async def write(database: Database, account: str, user: str, ago: timedelta = DAY) -> None:
    await database.fetch(WRITE, account, user, ago)


async def named(database: Database) -> set[str]:
    return {row[0] for row in await database.fetch("SELECT ig_user_id FROM instagram_user_cache")}


async def people_of(database: Database, account: str) -> set[str]:
    query = "SELECT ig_user_id FROM instagram_participants WHERE ig_account_id = $1"
    return {row[0] for row in await database.fetch(query, account)}


async def note(database: Database, account: str) -> None:
    await database.fetch(read_queries("leaving")["begin"], account)


async def until_left(leavings: Leavings) -> None:
    async def is_empty() -> bool:
        return not await leavings.list_leavings()

    await until(is_empty)


async def test_an_account_leaves_with_the_people_who_wrote_to_it_alone(
    database: Database, leavings: Leavings
) -> None:
    users = [str(100 + n) for n in range(450)]  # more than two batches
    for user in users:
        await write(database, SHOP, user)
        await database.fetch(NAME, user)
    await write(database, OTHER, users[0])
    forgotten = Forgotten()
    leaver = AccountLeaver(leavings, forgotten)
    await note(database, SHOP)
    work = asyncio.create_task(leaver.run())
    await until_left(leavings)
    work.cancel()
    assert await people_of(database, SHOP) == set()
    assert await people_of(database, OTHER) == {users[0]}
    assert await named(database) == {users[0]}
    assert forgotten.users == set(users[1:])


async def test_what_one_replica_began_another_finishes(
    database: Database, leavings: Leavings
) -> None:
    await write(database, SHOP, "1")
    await note(database, SHOP)
    assert await leavings.claim() == SHOP  # and the replica dies
    assert await leavings.claim() is None
    await database.fetch("UPDATE instagram_leavings SET due_at = now()")
    work = asyncio.create_task(AccountLeaver(leavings, Forgotten()).run())
    await until_left(leavings)
    work.cancel()
    assert await people_of(database, SHOP) == set()


async def test_an_account_that_is_connected_again_keeps_its_people(
    database: Database, leavings: Leavings
) -> None:
    await write(database, SHOP, "1")
    await database.fetch(
        "INSERT INTO instagram_connections (ig_account_id, location_id, access_token)"
        " VALUES ($1, 'loc', 'token')",
        SHOP,
    )
    leaver = AccountLeaver(leavings, Forgotten())
    await note(database, SHOP)
    work = asyncio.create_task(leaver.run())
    await until_left(leavings)
    work.cancel()
    assert await people_of(database, SHOP) == {"1"}


async def test_who_writes_to_another_account_meanwhile_is_not_erased(
    database: Database, leavings: Leavings
) -> None:
    await write(database, SHOP, "1")
    await write(database, OTHER, "1")
    assert await leavings.erase_alone(["1"], SHOP) == []
    assert await leavings.erase_silent(["1"], datetime.now(UTC) - 2 * DAY) == []
    assert await people_of(database, SHOP) == {"1"}


async def test_retention_erases_who_has_written_to_nobody_for_that_long(
    database: Database, leavings: Leavings
) -> None:
    await write(database, SHOP, "1", 40 * DAY)
    await write(database, SHOP, "2", 40 * DAY)
    await write(database, OTHER, "2", 3 * DAY)
    await write(database, SHOP, "3", 29 * DAY)
    for n in range(300):
        await write(database, OTHER, str(1000 + n), 31 * DAY)
    for user in ("1", "2", "3"):
        await database.fetch(NAME, user)
    erased = await Retention(leavings, Forgotten(), days=30).sweep(datetime.now(UTC))
    assert erased == 301
    assert await named(database) == {"2", "3"}
    assert await people_of(database, SHOP) == {"2", "3"}


async def test_one_replica_does_a_chore_for_all(leavings: Leavings) -> None:
    done = await asyncio.gather(*(leavings.claim_chore("sweep", DAY) for _ in range(5)))
    assert sorted(done) == [False, False, False, False, True]
