import asyncio

import pytest
import pytest_asyncio

from sandbox.postgres.server import EmbeddedPostgres
from service.errors import UnavailableError, UnstorableError
from service.store.database import Database
from tests.limits import SMALL_POOL

from .tables import PATIENCE_S, Tables

OURS = "application_name = 'instagram-identity' AND datname = current_database()"
TERMINATE = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"  # noqa: S608


async def one(database: Database) -> object:
    return (await database.fetch("SELECT 1"))[0][0]


async def fetch(database: Database, query: str) -> object:
    return await database.fetch(query)


async def one_in_a_transaction(database: Database, query: str = "SELECT 1") -> object:
    async with database.transaction() as connection:
        return await connection.fetchval(query)


# A server that is away


@pytest.mark.usefixtures("production_limits")
async def test_a_frozen_server_fails_all_who_wait_and_heals_when_thawed(
    server: EmbeddedPostgres, fragile: Database
) -> None:
    """Those who hold a connection, who wait for one, and who open one; and then nobody."""
    await asyncio.gather(*(one(fragile) for _ in range(2)))
    server.freeze()
    try:
        async with asyncio.timeout(PATIENCE_S):
            outcomes = await asyncio.gather(
                *(one(fragile) for _ in range(50)),
                *(one_in_a_transaction(fragile) for _ in range(50)),
                return_exceptions=True,
            )
    finally:
        server.thaw()
    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
    assert not fragile.is_answering
    assert await asyncio.gather(*(one(fragile) for _ in range(20))) == [1] * 20
    assert await one_in_a_transaction(fragile) == 1
    assert fragile.is_answering


@pytest.mark.usefixtures("production_limits")
async def test_a_server_that_freezes_within_transactions_fails_them_too(
    server: EmbeddedPostgres, fragile: Database
) -> None:
    begun = asyncio.Barrier(4)

    async def work() -> None:
        async with fragile.transaction() as connection:
            await begun.wait()
            await begun.wait()
            await connection.execute("SELECT 1")

    working = [asyncio.create_task(work()) for _ in range(3)]
    await begun.wait()
    server.freeze()
    try:
        await begun.wait()
        async with asyncio.timeout(PATIENCE_S):
            outcomes = await asyncio.gather(*working, return_exceptions=True)
    finally:
        server.thaw()
    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 3
    assert await one(fragile) == 1


async def test_a_server_that_was_restarted_is_used_again(
    server: EmbeddedPostgres, fragile: Database
) -> None:
    await asyncio.gather(*(one(fragile) for _ in range(3)))
    server.kill()
    outcomes = await asyncio.gather(
        *(one(fragile) for _ in range(5)), one_in_a_transaction(fragile), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {UnavailableError}
    server.start()
    assert await asyncio.gather(*(one(fragile) for _ in range(10))) == [1] * 10
    assert fragile.is_answering


async def test_a_server_that_is_not_there_is_named_at_the_start(server: EmbeddedPostgres) -> None:
    dsn = server.dsn()
    server.stop()
    with pytest.raises(UnavailableError, match=r"^Cannot connect to PostgreSQL: "):
        async with Database.connect(dsn):
            pass


async def test_the_end_of_a_pool_does_not_wait_for_a_frozen_server(
    server: EmbeddedPostgres,
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        try:
            async with Database.connect(server.dsn()) as database:
                assert await one(database) == 1
                server.freeze()
        finally:
            server.thaw()


async def test_a_wrong_password_does_not_appear_in_the_error(server: EmbeddedPostgres) -> None:
    dsn = f"postgresql://postgres:a-secret-password@127.0.0.1:{server.port}/postgres"
    with pytest.raises(UnavailableError) as refused:
        async with Database.connect(dsn):
            pass
    assert "a-secret-password" not in str(refused.value)


# Connections that break


async def test_broken_connections_are_nobodys_business(database: Database, tables: Tables) -> None:
    await asyncio.gather(*(one(database) for _ in range(10)))
    await tables.execute(TERMINATE)
    assert await asyncio.gather(*(one(database) for _ in range(30))) == [1] * 30


@pytest_asyncio.fixture(loop_scope="module")
async def unlucky(tables: Tables) -> Tables:
    """A function that fails its first callers as PostgreSQL does the victim of a deadlock."""
    await tables.execute("""
        CREATE SEQUENCE tries;
        CREATE FUNCTION fail_first(callers integer, state text) RETURNS integer
        LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') <= callers THEN
                RAISE EXCEPTION 'unlucky' USING ERRCODE = state;
            END IF;
            RETURN 1;
        END $$;
    """)
    return tables


@pytest.mark.parametrize("state", ["40P01", "40001"])
async def test_a_deadlock_is_tried_again(database: Database, unlucky: Tables, state: str) -> None:
    rows = await database.fetch("SELECT fail_first(1, $1)", state)
    assert rows[0][0] == 1
    assert await unlucky.value("SELECT last_value FROM tries") == 2


async def test_a_deadlock_after_a_deadlock_is_left_to_the_caller(
    database: Database, unlucky: Tables
) -> None:
    with pytest.raises(UnavailableError, match="DeadlockDetectedError 40P01"):
        await database.fetch("SELECT fail_first(9, '40P01')")
    assert await unlucky.value("SELECT last_value FROM tries") == 2
    assert await one(database) == 1


async def test_who_gives_up_leaks_no_connection(database: Database, tables: Tables) -> None:
    """Neither here nor on the server, which is told to give up as well."""
    asleep = (
        f"SELECT count(*) FROM pg_stat_activity WHERE {OURS}"  # noqa: S608
        " AND query LIKE '%pg_sleep%' AND state = 'active'"
    )
    for _ in range(3):
        sleepers = [
            asyncio.create_task(run(database, "SELECT pg_sleep(60)"))
            for run in [fetch] * 15 + [one_in_a_transaction] * 15
        ]
        await tables.until(f"SELECT ({asleep}) = {SMALL_POOL}")
        for sleeper in sleepers:
            sleeper.cancel()
        await asyncio.wait(sleepers)
        assert all(sleeper.cancelled() for sleeper in sleepers)
    assert await asyncio.gather(*(one(database) for _ in range(30))) == [1] * 30
    await tables.until(f"SELECT ({asleep}) = 0")


# Statements that Postgres refuses


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("SELECT $1::text", "a\0b"),
        ("SELECT $1::text", "\ud800"),
        ("SELECT $1::jsonb", '{"a": "\\u0000"}'),
        ("SELECT $1::jsonb", '{"a": "\\ud800"}'),
        ("SELECT $1::jsonb", '{"a": 1e400000}'),
        ("SELECT $1::jsonb", "{"),
        ("SELECT $1::bigint", 2**63),
        ("INSERT INTO instagram_participants VALUES ('1', $1)", "no digits"),
        ("INSERT INTO instagram_participants VALUES ('1', $1)", None),
    ],
)
async def test_a_value_that_cannot_be_stored_is_told_apart_from_a_server_that_is_away(
    database: Database, query: str, value: object
) -> None:
    for run in (database.fetch(query, value), refuse_in_a_transaction(database, query, value)):
        with pytest.raises(UnstorableError) as refused:
            await run
        assert str(value) not in str(refused.value)
    assert database.is_answering
    assert await one(database) == 1


async def refuse_in_a_transaction(database: Database, query: str, value: object) -> None:
    async with database.transaction() as connection:
        await connection.execute(query, value)


async def test_what_fails_in_a_transaction_leaves_nothing(
    database: Database, tables: Tables
) -> None:
    with pytest.raises(UnstorableError):
        await insert_and(database, "SELECT '{'::jsonb")
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 0


async def test_an_error_of_the_caller_passes_through_a_transaction_and_undoes_it(
    database: Database, tables: Tables
) -> None:
    with pytest.raises(LookupError):
        await insert_and(database, LookupError())
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 0


async def insert_and(database: Database, then: str | Exception) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO instagram_user_cache (ig_user_id) VALUES ('1')")
        if isinstance(then, Exception):
            raise then
        await connection.execute(then)
