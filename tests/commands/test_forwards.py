"""`forwards list|retry|drop`."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from tests.commands.world import World

ADDRESS, GONE = "http://127.0.0.1:9/hook", "http://127.0.0.1:9/gone"
STORE = """
INSERT INTO instagram_forwards (delivery_id, address, headers, body, bytes, due_at, give_up_at,
    attempts, set_aside_at, last_error)
SELECT gen_random_uuid(), $1, '{}', 'x', 1, now() + interval '5 minutes', now() + $3::interval, 9,
    CASE WHEN $3::interval < interval '0' THEN now() END, 'HTTP 500'
FROM generate_series(1, $2::int)
"""


@pytest.fixture
async def db(world: World) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(world.dsn)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
async def _stored(world: World, db: asyncpg.Connection) -> None:
    world.more["FORWARD_URLS"] = ADDRESS
    await db.execute(STORE, ADDRESS, 3, timedelta(hours=1))
    await db.execute(STORE, ADDRESS, 2, timedelta(hours=-1))
    await db.execute(STORE, GONE, 1, timedelta(hours=1))


async def test_list_tells_what_waits_why_and_what_to_do(world: World) -> None:
    ended = await world.run("forwards", "list")
    assert ended.code == 1  # something is set aside
    lines = ended.out.splitlines()
    assert lines[1].split()[:1] + lines[1].split()[-2:] == [ADDRESS, "HTTP", "500"]
    assert "forwards drop ADDRESS" in ended.out
    assert "forwards retry" in ended.out


async def test_list_in_json(world: World) -> None:
    ended = await world.run("forwards", "list", "--json")
    listed = {each["address"]: each for each in json.loads(ended.out)["forwards"]}
    assert (listed[ADDRESS]["waiting"], listed[ADDRESS]["setAside"]) == (3, 2)
    assert listed[ADDRESS]["isConfigured"]
    assert not listed[GONE]["isConfigured"]


async def test_retry_makes_everything_due_for_another_36_hours(
    world: World, db: asyncpg.Connection
) -> None:
    ended = await world.run("forwards", "retry", ADDRESS)
    assert (ended.code, ended.out) == (0, "5 deliveries will be posted again now.\n")
    due = await db.fetchval(
        "SELECT count(*) FROM instagram_forwards WHERE due_at <= now() AND attempts = 0"
        " AND set_aside_at IS NULL AND give_up_at > now() + interval '35 hours'"
    )
    assert due == 5


async def test_drop_asks_to_be_sure_and_drops_one_address(
    world: World, db: asyncpg.Connection
) -> None:
    refused = await world.run("forwards", "drop", ADDRESS)
    assert (refused.code, "--yes" in refused.err) == (2, True)
    only_aside = await world.run("forwards", "drop", ADDRESS, "--set-aside", "--yes")
    assert only_aside.out == f"2 deliveries to {ADDRESS} deleted.\n"
    await world.run("forwards", "drop", ADDRESS, "--yes")
    assert await db.fetchval("SELECT count(*) FROM instagram_forwards") == 1
