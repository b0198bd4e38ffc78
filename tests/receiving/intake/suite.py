"""What every intake promises; test_direct.py and test_jetstream.py run all of it."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
import pytest

from service.errors import UnavailableError
from service.queue import TurnQueue
from service.receiving.intake import Intake, jetstream
from service.receiving.intake.known import Known
from service.store.journal import Journalled
from tests.receiving.intake.conftest import contact, stored_users, until_stored
from tests.service.conftest import OTHER_ACCOUNT, fetch_row, new_user
from tests.until import until


async def test_what_is_accepted_becomes_a_participant(
    intake: Intake, db: asyncpg.Connection
) -> None:
    contacts = [contact() for _ in range(5)]
    await intake.accept(contacts)
    await until_stored(db, *(c.ig_user_id for c in contacts))


async def test_a_user_who_is_due_is_queued(
    intake: Intake, db: asyncpg.Connection, queue: TurnQueue
) -> None:
    one = contact()
    await intake.accept([one])

    async def is_queued() -> bool:
        return queue.depth == 1

    await until(is_queued)
    assert (await queue.take()).ig_user_id == one.ig_user_id
    assert await db.fetchval("SELECT due_at IS NOT NULL FROM instagram_participants")


async def test_accepting_twice_changes_nothing(intake: Intake, db: asyncpg.Connection) -> None:
    one = contact()
    for _ in range(3):
        await intake.accept([one])
    await intake.settle()
    row = await fetch_row(
        db, "SELECT first_message_at, last_message_at FROM instagram_participants"
    )
    assert row["first_message_at"] == row["last_message_at"] == one.last_at


async def test_times_are_joined_whatever_the_order(intake: Intake, db: asyncpg.Connection) -> None:
    late = contact()
    before = late.last_at - timedelta(days=1)
    early = msgspec.structs.replace(late, first_at=before, last_at=before)
    await intake.accept([late])
    await intake.settle()
    await intake.accept([early])
    await intake.settle()
    row = await fetch_row(
        db, "SELECT first_message_at, last_message_at FROM instagram_participants"
    )
    assert (row["first_message_at"], row["last_message_at"]) == (before, late.last_at)


async def test_one_user_of_two_accounts_is_two_participants(
    intake: Intake, db: asyncpg.Connection
) -> None:
    user = new_user()
    await intake.accept([contact(user), contact(user, OTHER_ACCOUNT)])
    await intake.settle()
    assert await db.fetchval("SELECT count(*) FROM instagram_participants") == 2


async def test_a_delivery_of_five_thousand_is_accepted_whole(
    intake: Intake, db: asyncpg.Connection
) -> None:
    contacts = [contact() for _ in range(5000)]
    await intake.accept(contacts)
    await until_stored(db, *(c.ig_user_id for c in contacts))


async def test_nothing_to_accept_is_accepted(intake: Intake, db: asyncpg.Connection) -> None:
    await intake.accept([])
    assert await stored_users(db) == set()


async def test_what_is_settled_is_in_the_tables(intake: Intake, db: asyncpg.Connection) -> None:
    contacts = [contact() for _ in range(100)]
    for one in contacts:
        await intake.accept([one])
    await intake.settle()
    assert {c.ig_user_id for c in contacts} == await stored_users(db)


async def test_where_nothing_was_ever_accepted_there_is_nothing_to_wait_for(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jetstream, "SETTLED_WITHIN_S", 3600.0)
    async with asyncio.timeout(60):
        await intake.settle()


async def test_a_participant_known_durable_is_accepted_without_its_store(
    stored_away: Intake, db: asyncpg.Connection, known: Known
) -> None:
    """Whatever makes contacts durable is away here; memory is enough."""
    one, other = contact(), contact()
    known.is_trusted = True
    now = datetime.now(UTC)
    known.remember(_journalled(one.ig_user_id, now), known.mark())
    await stored_away.accept([one])
    with pytest.raises(UnavailableError):
        await stored_away.accept([one, other])
    assert await stored_users(db) == set()


async def test_it_says_what_it_is(intake: Intake) -> None:
    assert intake.describe()["kind"] in {"postgres", "jetstream"}
    assert intake.describe().get("state", "ok") == "ok"


def _journalled(user: str, at: datetime) -> Journalled:
    return Journalled(contact(user).ig_account_id, user, at, None, is_scheduled=True, is_due=False)
