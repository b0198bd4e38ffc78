"""Whom a backfill may fetch."""

import pytest
import pytest_asyncio

from service.store.claims import Claims
from service.store.identities import Candidates, Identities
from service.store.outcomes import Claim, Refusal

from .tables import (
    ACCOUNT,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    OTHER_ACCOUNT,
    SECOND,
    THIRD_ACCOUNT,
    USER,
    Tables,
    user_id,
)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _connected(tables: Tables) -> None:
    await tables.connect(ACCOUNT, location_id="loc_1")
    await tables.connect(OTHER_ACCOUNT, location_id="loc_1")
    await tables.connect(THIRD_ACCOUNT, location_id="loc_2")


async def find(
    identities: Identities, at_most: int = 50, days: int = 7, *, include_failed: bool = False
) -> Candidates:
    return await identities.find_candidates(
        "loc_1", days * DAY, at_most, include_failed=include_failed
    )


@pytest.mark.parametrize("include_failed", [False, True])
@pytest.mark.parametrize(
    "cached",
    [
        None,
        {},
        {"last_fetched_at": -DAY, "expires_at": -SECOND},
        {"last_fetched_at": -8 * DAY},
        {"fail_count": 0, "last_failed_at": -SECOND},  # cleared by an operator
        {"fail_count": 1, "last_failed_at": -2 * MINUTE},  # the wait is over
        {"fail_count": 4, "last_failed_at": -7 * HOUR},
        {"fail_count": 2, "last_failed_at": None},
    ],
)
async def test_who_has_no_fresh_identity_is_a_candidate(
    identities: Identities,
    tables: Tables,
    cached: dict[str, object] | None,
    *,
    include_failed: bool,
) -> None:
    await tables.participate()
    if cached is not None:
        await tables.insert("instagram_user_cache", ig_user_id=USER, **cached)
    found = await find(identities, include_failed=include_failed)
    assert found == Candidates(1, [USER])


@pytest.mark.parametrize("include_failed", [False, True])
@pytest.mark.parametrize(
    "cached",
    [
        {"last_fetched_at": -DAY},
        {"last_fetched_at": -DAY, "expires_at": HOUR},
        {"last_fetched_at": -DAY, "fail_count": 5, "last_failed_at": -2 * DAY},
    ],
)
async def test_who_is_fresh_is_none(
    identities: Identities, tables: Tables, cached: dict[str, object], *, include_failed: bool
) -> None:
    await tables.participate()
    await tables.insert("instagram_user_cache", ig_user_id=USER, **cached)
    assert await find(identities, include_failed=include_failed) == Candidates(0, [])


@pytest.mark.parametrize(
    "cached",
    [
        {"fail_count": 1, "last_failed_at": -30 * SECOND},
        {"fail_count": 3, "last_failed_at": -11 * MINUTE},
        {"fail_count": 5, "last_failed_at": -11 * MINUTE},
        {"fail_count": 9, "last_failed_at": None},
        {"fail_count": 5, "last_failed_at": -DAY, "last_fetched_at": -8 * DAY},
    ],
)
async def test_who_waits_or_is_stopped_is_one_only_if_asked_for(
    identities: Identities, tables: Tables, cached: dict[str, object]
) -> None:
    await tables.participate()
    await tables.insert("instagram_user_cache", ig_user_id=USER, **cached)
    assert await find(identities) == Candidates(0, [])
    assert await find(identities, include_failed=True) == Candidates(1, [USER])


async def test_only_who_wrote_within_the_days_to_an_account_of_the_location_is_one(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(user_id(1), last_message_at=-6 * DAY)
    await tables.participate(user_id(2), last_message_at=-8 * DAY)
    await tables.participate(user_id(3), THIRD_ACCOUNT)
    await tables.participate(user_id(4), "4")
    assert (await find(identities)).ig_user_ids == [user_id(1)]
    assert (await find(identities, days=9)).ig_user_ids == [user_id(1), user_id(2)]


async def test_a_user_of_two_accounts_counts_once_by_the_latest_message(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(user_id(1), ACCOUNT, last_message_at=-3 * HOUR)
    await tables.participate(user_id(1), OTHER_ACCOUNT, last_message_at=-HOUR)
    await tables.participate(user_id(2), ACCOUNT, last_message_at=-2 * HOUR)
    assert await find(identities) == Candidates(2, [user_id(1), user_id(2)])


async def test_the_most_recent_come_first_as_many_as_asked(
    identities: Identities, tables: Tables
) -> None:
    for n in range(30):
        await tables.participate(
            user_id(n), (ACCOUNT, OTHER_ACCOUNT)[n % 2], last_message_at=-n * MINUTE
        )
    found = await find(identities, at_most=10)
    assert found == Candidates(30, [user_id(n) for n in range(10)])


async def test_candidates_are_counted_up_to_ten_thousand(
    identities: Identities, tables: Tables
) -> None:
    insert = """
        INSERT INTO instagram_participants (ig_account_id, ig_user_id, last_message_at)
        SELECT $1, n, now() - n * interval '1 ms' FROM generate_series(1, 9000 + $2::integer) n
    """
    await tables.execute(insert, ACCOUNT, 0)
    assert (await find(identities, at_most=1)).total == 9000
    await tables.execute(insert, OTHER_ACCOUNT, 2000)
    assert await find(identities, at_most=2) == Candidates(10_000, ["1", "2"])


async def test_a_user_in_flight_is_a_candidate_still(
    identities: Identities, tables: Tables
) -> None:
    await tables.participate(due_at=MINUTE, lease=7)
    await tables.cache(fail_count=0, last_failed_at=NOW)
    assert await find(identities) == Candidates(1, [USER])


async def test_a_candidate_who_was_fetched_meanwhile_is_not_fetched_again(
    identities: Identities, claims: Claims, tables: Tables
) -> None:
    await tables.participate()
    found = await find(identities)
    await tables.cache(last_fetched_at=NOW)
    await tables.execute("UPDATE instagram_participants SET due_at = NULL")
    await identities.force(found.ig_user_ids, include_fresh=False)
    assert await claims.take(ACCOUNT, USER) == Refusal("fresh")


async def test_a_candidate_who_is_stopped_may_be_claimed(
    identities: Identities, claims: Claims, tables: Tables
) -> None:
    await tables.participate(due_at=None)
    await tables.cache(fail_count=5, last_failed_at=-HOUR)
    found = await find(identities, include_failed=True)
    await identities.force(found.ig_user_ids, include_fresh=False)
    assert isinstance(await claims.take(ACCOUNT, USER), Claim)
