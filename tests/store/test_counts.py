"""Users are counted by state while they are few, and estimated from a share of them beyond."""

import pytest

from service.model.freshness import Rules
from service.store.counts import Counts
from service.store.database import Database

from .tables import DAY, OTHER_ACCOUNT, Tables, user_id


async def test_users_are_counted_by_state(database: Database, tables: Tables) -> None:
    await tables.cache(user_id(1), last_fetched_at=-DAY)
    await tables.cache(user_id(2), last_fetched_at=-9 * DAY, fail_count=5)
    await tables.cache_failed(user_id(3), fail_count=5)
    await tables.cache_failed(user_id(4), fail_count=4)
    for n in range(1, 7):
        await tables.participate(user_id(n))
        await tables.participate(user_id(n), OTHER_ACCOUNT)
    counted = await Counts(database, Rules()).read()
    assert counted == {"resolved": 2, "failed": 1, "pending": 3}


async def test_where_nobody_is_known_nobody_is_counted(database: Database) -> None:
    assert await Counts(database, Rules()).read() == {"resolved": 0, "failed": 0, "pending": 0}


async def test_of_large_tables_a_share_is_read_and_stands_for_the_rest(
    database: Database, tables: Tables
) -> None:
    await tables.execute(
        "INSERT INTO instagram_user_cache (ig_user_id, last_fetched_at)"
        " SELECT n::text, now() FROM generate_series(1, 20000) n"
    )
    await tables.execute(
        "INSERT INTO instagram_participants (ig_account_id, ig_user_id)"
        " SELECT '1', n::text FROM generate_series(10001, 30000) n"
    )
    counted = await Counts(database, Rules(), 50, 50).read()
    assert counted["resolved"] == pytest.approx(20000, rel=0.7)
    assert counted["pending"] == pytest.approx(10000, rel=0.9)
    assert counted["failed"] == 0
