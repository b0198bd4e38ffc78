"""A pool on a database of the test's own."""

from collections.abc import AsyncIterator

import pytest

from service.store.database import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database.connect(database_url) as database:
        yield database
