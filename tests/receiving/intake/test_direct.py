"""The intake without a broker."""

import pytest

from service.errors import UnavailableError
from service.receiving.intake import Intake
from service.receiving.intake.arrivals import Arrivals
from service.receiving.intake.direct import DirectIntake
from service.store.database import Database
from tests.receiving.intake.conftest import contact
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
