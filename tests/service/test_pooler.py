"""Two replicas behind PgBouncer in transaction mode, which does not pass notices on."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from tests.pgbouncer import pgbouncer
from tests.service.conftest import Client, Database, Start, new_user
from tests.until import until

pytestmark = pytest.mark.needs_program("pgbouncer")


@pytest.fixture
async def pooled_url(database_url: str, open_folder: Path) -> AsyncIterator[str]:
    async with pgbouncer(open_folder, database_url, "transaction") as url:
        yield url


async def notices_are_up(client: Client) -> bool:
    answer = await client.call("GET", "/metrics")
    return b"instagram_notices_up 1.0" in answer.body


async def test_whoever_is_erased_and_writes_to_another_replica_is_stored(
    start: Start, pooled_url: str, db: Database
) -> None:
    """Without notices nothing may be answered from memory."""
    one = await start(database_url=pooled_url)
    other = await start(database_url=pooled_url)
    await one.connect()
    users = [new_user() for _ in range(10)]
    await other.write(*users)
    for user in users:
        await other.until_state(user, "resolved")
    for user in users:
        assert (await one.operator("DELETE", f"/users/{user}")).status == 204
    await other.write(*users)
    count = "SELECT count(*) FROM instagram_participants WHERE ig_user_id = ANY($1)"
    assert await db.fetchval(count, users) == len(users)
    assert not await notices_are_up(one)
    assert not await notices_are_up(other)


async def test_with_a_direct_connection_for_notices_memory_is_trusted(
    start: Start, pooled_url: str, database_url: str, db: Database
) -> None:
    one = await start(database_url=pooled_url, listen_database_url=database_url)
    other = await start(database_url=pooled_url, listen_database_url=database_url)
    await until(lambda: notices_are_up(one))
    await until(lambda: notices_are_up(other))
    await one.connect()
    user = new_user()
    await other.write(user)
    await other.until_state(user, "resolved")
    assert (await one.operator("DELETE", f"/users/{user}")).status == 204

    async def is_stored() -> bool:
        await other.write(user)
        count = "SELECT count(*) FROM instagram_participants WHERE ig_user_id = $1"
        return bool(await db.fetchval(count, user))

    await until(is_stored)


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_new_database_is_set_up_and_used_through_a_pooler(
    start: Start,
    empty_database_url: str,
    open_folder: Path,
    mode: Literal["session", "transaction"],
) -> None:
    async with pgbouncer(open_folder, empty_database_url, mode) as url:
        client = await start(database_url=url, migrate_on_start=True)
        await client.connect()
        user = new_user()
        await client.write(user)
        await client.until_state(user, "resolved")
        assert (await client.call("GET", "/readyz")).json["postgres"] == "ok"
