"""What an upgrade waits for, and what it keeps nobody from doing meanwhile."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from service.errors import UnavailableError
from service.store import migration
from service.store.migration import migrate
from service.vault import Vault

from .tables import ACCOUNT, PATIENCE_S, USER, Tables, user_id
from .test_migration import VERSION_1, shape

INDEX = "instagram_participants_due"


@pytest_asyncio.fixture(loop_scope="module")
async def sessions(empty_database_url: str) -> AsyncIterator[list[Tables]]:
    """Three sessions of a database of version 1 that lacks an index."""
    opened = [await asyncpg.connect(empty_database_url) for _ in range(3)]
    await opened[0].execute(f"{VERSION_1}; DROP INDEX {INDEX}")
    yield [Tables(session) for session in opened]
    for session in opened:
        await session.close()


async def test_others_write_while_an_index_is_built(
    empty_database_url: str, vault: Vault, sessions: list[Tables]
) -> None:
    slow, writer, watcher = sessions
    async with slow.session.transaction():
        await slow.participate(USER)
        migrating = asyncio.create_task(migrate(empty_database_url, vault))
        await watcher.until_blocked()  # the build waits for the transaction of the slow one
        async with asyncio.timeout(PATIENCE_S):
            await writer.participate(user_id(2))
            await writer.execute("UPDATE instagram_participants SET last_message_at = now()")
    await migrating
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
    assert await writer.value(valid, INDEX)
    assert await writer.value("SELECT count(*) FROM instagram_participants") == 2


async def test_an_index_whose_build_was_interrupted_is_built_again(
    empty_database_url: str, database_url: str, vault: Vault, sessions: list[Tables]
) -> None:
    slow, _, watcher = sessions
    async with slow.session.transaction():
        await slow.participate(USER)
        migrating = asyncio.create_task(migrate(empty_database_url, vault))
        await watcher.until_blocked()
        await watcher.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with pytest.raises(UnavailableError):
            await migrating
    left = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    assert await watcher.value(left) == 1
    await migrate(empty_database_url, vault)
    assert await watcher.value(left) == 0
    new = await asyncpg.connect(database_url)
    assert await shape(watcher) == await shape(Tables(new))
    await new.close()


async def test_a_change_of_a_table_waits_briefly_and_tries_again(
    empty_database_url: str,
    vault: Vault,
    sessions: list[Tables],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What waits for a lock of the whole table keeps everybody waiting who comes after it."""
    monkeypatch.setattr(migration, "LOCK_TIMEOUT_MS", 50)
    monkeypatch.setattr(migration, "LOCK_RETRY_S", 0.01)
    slow, writer, watcher = sessions
    async with slow.session.transaction():
        await slow.cache(USER)
        migrating = asyncio.create_task(migrate(empty_database_url, vault))
        for number in range(2, 6):
            await watcher.until_blocked()
            async with asyncio.timeout(PATIENCE_S):
                await writer.cache(user_id(number))
    await migrating
    assert await writer.value("SELECT count(source IS NULL) FROM instagram_user_cache") == 5


async def test_a_database_that_is_up_to_date_is_migrated_under_full_traffic(
    empty_database_url: str, vault: Vault, sessions: list[Tables]
) -> None:
    """Nothing waits for transactions that write, and none of them waits."""
    tables, *_ = sessions
    await migrate(empty_database_url, vault)
    await tables.connect(ACCOUNT, access_token=vault.seal("EAAG-1", ACCOUNT))
    async with tables.session.transaction():
        await tables.cache(USER)
        await tables.participate(USER)
        await tables.execute("UPDATE instagram_connections SET updated_at = now()")
        await tables.execute("INSERT INTO instagram_pauses VALUES ('app', now(), 'outage')")
        await tables.execute("INSERT INTO instagram_budget VALUES ('app', now())")
        await tables.insert("instagram_streaks", scope="app", ig_user_id=user_id(3), error="{}")
        async with asyncio.timeout(PATIENCE_S):
            assert await migrate(empty_database_url, vault) == 0
