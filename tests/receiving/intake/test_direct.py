"""The intake without a broker."""

import asyncpg
import msgspec
import pytest
import structlog

from service.errors import UnavailableError
from service.receiving.intake import Intake
from service.receiving.intake.arrivals import Arrivals
from service.receiving.intake.direct import DirectIntake
from service.store.database import Database
from tests.receiving.intake.conftest import contact, stored_users
from tests.receiving.intake.suite import *  # noqa: F403 - the suite that every intake passes


@pytest.fixture
def intake(arrivals: Arrivals) -> Intake:
    return DirectIntake(arrivals)


@pytest.fixture
async def stored_away(database: Database, arrivals: Arrivals) -> Intake:
    await database._pool.close()
    return DirectIntake(arrivals)


async def test_a_contact_is_refused_while_postgres_is_away(stored_away: Intake) -> None:
    with pytest.raises(UnavailableError):
        await stored_away.accept([contact()])


async def test_a_contact_that_cannot_be_stored_is_dropped_aloud_and_costs_no_other(
    intake: Intake, db: asyncpg.Connection
) -> None:
    good = [contact() for _ in range(5)]
    bad = msgspec.structs.replace(contact(), ig_user_id="no digits")
    with structlog.testing.capture_logs() as logs:
        await intake.accept([*good[:2], bad, *good[2:]])
    assert await stored_users(db) == {c.ig_user_id for c in good}
    (said,) = [line for line in logs if "can't be stored" in line["event"]]
    assert said["ig_user_id"] == "no digits"
