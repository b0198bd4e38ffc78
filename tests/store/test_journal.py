import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from service.model.contacts import Contact
from service.model.freshness import Rules
from service.store.database import Database
from service.store.journal import Journal

from .tables import (
    ACCOUNT,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    OTHER_ACCOUNT,
    OTHER_USER,
    USER,
    Tables,
    user_id,
)

MORNING = datetime(2025, 11, 22, 10, tzinfo=UTC)


def contact(
    ig_user_id: str = USER,
    ig_account_id: str = ACCOUNT,
    first_at: datetime = MORNING,
    last_at: datetime | None = None,
    *,
    wrote: bool = True,
) -> Contact:
    return Contact(ig_account_id, ig_user_id, first_at, last_at or first_at, wrote)


async def test_a_new_participant_is_due_at_once(journal: Journal, tables: Tables) -> None:
    (written,) = await journal.write([contact()])
    assert written.is_due
    assert written.is_scheduled
    assert written.fresh_until is None
    stored = await tables.participant()
    assert stored["is_due"]
    assert not stored["forced"]
    assert stored["first_message_at"] == stored["last_message_at"] == MORNING


async def test_a_repeated_contact_moves_nothing_but_the_last_message(
    journal: Journal, tables: Tables
) -> None:
    await journal.write([contact()])
    before = await tables.participant()
    (again,) = await journal.write([contact(first_at=MORNING + HOUR)])
    after = await tables.participant()
    assert again.is_due
    assert again.last_message_at == after["last_message_at"] == MORNING + HOUR
    assert after["first_message_at"] == MORNING
    assert after["due_at"] == before["due_at"]


async def test_contacts_out_of_order_keep_the_first_and_the_last_time(
    journal: Journal, tables: Tables
) -> None:
    for hours in (1, 3, 0, 2):
        await journal.write([contact(first_at=MORNING + hours * HOUR)])
    stored = await tables.participant()
    assert stored["first_message_at"] == MORNING
    assert stored["last_message_at"] == MORNING + 3 * HOUR


async def test_one_batch_may_name_a_participant_many_times(
    journal: Journal, tables: Tables
) -> None:
    written = await journal.write(
        [contact(first_at=MORNING + hours * HOUR) for hours in (2, 0, 1)]
        + [contact(ig_account_id=OTHER_ACCOUNT), contact(OTHER_USER)]
    )
    assert [w.ig_user_id for w in written] == [USER, USER, USER, USER, OTHER_USER]
    assert written[3].ig_account_id == OTHER_ACCOUNT
    assert {w.last_message_at for w in written[:3]} == {MORNING + 2 * HOUR}
    stored = await tables.participant()
    assert stored["first_message_at"] == MORNING
    assert await tables.value("SELECT count(*) FROM instagram_participants") == 3


async def test_concurrent_deliveries_of_one_participant_are_one_row(
    journal: Journal, tables: Tables
) -> None:
    written = await asyncio.gather(
        *(journal.write([contact(first_at=MORNING + n * MINUTE)]) for n in range(200))
    )
    assert all(w.is_due for (w,) in written)
    stored = await tables.participant()
    assert stored["first_message_at"] == MORNING
    assert stored["last_message_at"] == MORNING + 199 * MINUTE


async def test_a_time_ahead_of_the_database_counts_as_now(journal: Journal, tables: Tables) -> None:
    ahead = datetime.now(UTC) + 30 * DAY
    (written,) = await journal.write([contact(first_at=ahead)])
    (again,) = await journal.write([contact(first_at=ahead + DAY)])
    now = await tables.value("SELECT now()")
    assert written.last_message_at <= again.last_message_at <= now
    assert (await tables.participant())["first_message_at"] <= now


async def test_a_fresh_user_is_not_scheduled(journal: Journal, tables: Tables) -> None:
    await tables.cache(last_fetched_at=-DAY, expires_at=DAY)
    (written,) = await journal.write([contact()])
    assert written.fresh_until == (await tables.cached())["expires_at"]
    assert not written.is_scheduled
    assert not written.is_due
    assert (await tables.participant())["due_at"] is None


async def test_a_fresh_user_without_an_expiry_is_fresh_for_the_ttl(
    journal: Journal, tables: Tables, rules: Rules
) -> None:
    await tables.cache(last_fetched_at=-DAY)
    (written,) = await journal.write([contact()])
    assert written.fresh_until == (await tables.cached())["last_fetched_at"] + rules.ttl


async def test_a_row_with_only_the_eight_columns_of_the_handbook_works(
    journal: Journal, tables: Tables
) -> None:
    await tables.execute(
        "INSERT INTO instagram_user_cache (ig_user_id, username, name, profile_pic_url,"
        " last_fetched_at, fail_count, last_failed_at, raw) VALUES"
        """ ($1, 'jane', 'Jane', 'https://example.com/p.jpg', now(), 0, null, '{"id": "1"}'),"""
        " ($2, null, null, null, now() - interval '8 days', 2, now() - interval '1 hour', null)",
        USER,
        OTHER_USER,
    )
    fresh, stale = await journal.write([contact(), contact(OTHER_USER)])
    assert fresh.fresh_until is not None
    assert not fresh.is_due
    assert stale.fresh_until is None
    assert stale.is_due


async def test_an_expired_user_who_writes_is_due_at_once(journal: Journal, tables: Tables) -> None:
    await tables.cache(last_fetched_at=-DAY, expires_at=-MINUTE)
    await tables.participate(due_at=None)
    (written,) = await journal.write([contact()])
    assert written.is_due
    assert written.fresh_until is None
    assert (await tables.participant())["is_due"]


async def test_a_stopped_user_stays_stopped(journal: Journal, tables: Tables) -> None:
    await tables.cache_failed(USER, fail_count=5, ago=DAY)
    (written,) = await journal.write([contact()])
    assert not written.is_due
    assert not written.is_scheduled
    assert (await tables.participant())["due_at"] is None


async def test_a_user_who_waits_after_a_failure_keeps_the_wait(
    journal: Journal, tables: Tables
) -> None:
    await tables.cache_failed(USER, fail_count=2, ago=MINUTE)
    await tables.participate(due_at=9 * MINUTE)
    before = await tables.participant()
    (written,) = await journal.write([contact()])
    assert not written.is_due
    assert not written.is_scheduled  # a retry is no first fetch: it need not stand for long
    assert (await tables.participant())["due_at"] == before["due_at"]


async def test_a_failed_user_who_writes_to_another_account_waits_there_too(
    journal: Journal, tables: Tables
) -> None:
    await tables.cache_failed(USER, fail_count=2, ago=MINUTE)
    (written,) = await journal.write([contact(ig_account_id=OTHER_ACCOUNT)])
    assert not written.is_due
    failed_at = (await tables.cached())["last_failed_at"]
    due_at = (await tables.participant(USER, OTHER_ACCOUNT))["due_at"]
    assert due_at == failed_at + timedelta(minutes=10)


async def test_writing_gives_consent_and_ends_the_wait(journal: Journal, tables: Tables) -> None:
    await tables.cache_failed(USER, fail_count=3, ago=10 * MINUTE, reason="consent_required")
    await tables.participate(due_at=HOUR)
    (written,) = await journal.write([contact(wrote=True)])
    assert written.is_due
    stored = await tables.participant()
    assert stored["is_due"]
    assert stored["forced"]


async def test_writing_gives_consent_also_after_the_last_failure(
    journal: Journal, tables: Tables
) -> None:
    await tables.cache_failed(USER, fail_count=5, ago=DAY, reason="consent_required")
    await tables.participate(due_at=None)
    (written,) = await journal.write([contact(wrote=True)])
    assert written.is_due
    assert (await tables.participant())["forced"]


@pytest.mark.parametrize("fail_count", [3, 5])
async def test_who_gives_consent_waits_ten_minutes_from_the_last_try(
    journal: Journal, tables: Tables, fail_count: int
) -> None:
    await tables.cache_failed(USER, fail_count, ago=MINUTE, reason="consent_required")
    await tables.participate(due_at=None if fail_count == 5 else HOUR)
    (written,) = await journal.write([contact(wrote=True)])
    assert not written.is_due
    stored, failed = await tables.participant(), await tables.cached()
    assert stored["due_at"] == failed["last_failed_at"] + 10 * MINUTE
    assert stored["forced"]


async def test_an_echo_gives_no_consent(journal: Journal, tables: Tables) -> None:
    await tables.cache_failed(USER, fail_count=5, reason="consent_required")
    await tables.cache_failed(OTHER_USER, fail_count=1, ago=NOW, reason="consent_required")
    await tables.participate(OTHER_USER, due_at=MINUTE)
    written = await journal.write([contact(wrote=False), contact(OTHER_USER, wrote=False)])
    assert not any(w.is_due for w in written)
    assert not (await tables.participant())["forced"]
    assert (await tables.participant())["due_at"] is None
    assert not (await tables.participant(OTHER_USER))["is_due"]


async def test_consent_is_no_reason_to_fetch_a_fresh_user(journal: Journal, tables: Tables) -> None:
    await tables.cache(
        last_fetched_at=-DAY,
        fail_count=1,
        last_failed_at=-HOUR,
        last_error='{"reason": "consent_required"}',
    )
    (written,) = await journal.write([contact()])
    assert not written.is_due
    assert not (await tables.participant())["forced"]


async def test_a_user_in_flight_is_left_alone(journal: Journal, tables: Tables) -> None:
    await tables.cache_failed(USER, fail_count=1, reason="consent_required")
    await tables.participate(due_at=MINUTE, lease=42)
    before = await tables.participant()
    (written,) = await journal.write([contact(first_at=before["last_message_at"])])
    after = await tables.participant()
    assert not written.is_due
    assert (after["due_at"], after["lease"], after["forced"]) == (before["due_at"], 42, False)


async def test_a_lapsed_lease_is_due_again(journal: Journal, tables: Tables) -> None:
    await tables.participate(due_at=-MINUTE, lease=42)
    (written,) = await journal.write([contact()])
    assert written.is_due


async def test_replicas_that_journal_the_same_rows_do_not_deadlock(
    replicas: list[Database], rules: Rules, tables: Tables
) -> None:
    contacts = [contact(user_id(n // 2), (ACCOUNT, OTHER_ACCOUNT)[n % 2]) for n in range(120)]

    async def deliver(database: Database, seed: int) -> None:
        shuffled = random.Random(seed).sample(contacts, len(contacts))  # noqa: S311 - no secret
        written = await Journal(database, rules).write(shuffled)
        assert [(w.ig_account_id, w.ig_user_id) for w in written] == [c.key for c in shuffled]

    await asyncio.gather(*(deliver(database, seed) for seed in range(4) for database in replicas))
    assert await tables.value("SELECT count(*) FROM instagram_participants") == 120
    assert await tables.deadlocks() == 0


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "20000-01-01", "4713-01-02 BC"])
async def test_times_written_by_hand_beyond_any_calendar_are_read_and_put_right(
    journal: Journal, tables: Tables, moment: str
) -> None:
    now = datetime.now(UTC)
    await tables.participate(USER)
    await tables.execute(
        f"UPDATE instagram_participants SET first_message_at = '{moment}',"  # noqa: S608 - of this file
        f" last_message_at = '{moment}', due_at = '{moment}'"
    )
    one, other = (Contact(ACCOUNT, user, now, now, wrote=True) for user in (USER, OTHER_USER))
    written = await journal.write([one, other])
    assert [w.ig_user_id for w in written] == [USER, OTHER_USER]
    assert all(now - HOUR < w.last_message_at < now + HOUR for w in written)
    assert await tables.value(
        "SELECT bool_and(first_message_at >= timestamptz 'epoch'"
        " AND last_message_at BETWEEN first_message_at AND now()) FROM instagram_participants"
    )
