"""The database role of deploy/least-privilege.sql: enough to serve, and no more.

Every test that starts the service through `rig` runs it as this role.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from tests.faults.rigs import named
from tests.system.chaos.rig import LEAST_PRIVILEGE, ROLE, Rig, new_user

pytestmark = pytest.mark.asyncio(loop_scope="session")

FORBIDDEN = (
    "DROP TABLE instagram_user_cache",
    "TRUNCATE instagram_participants",
    "ALTER TABLE instagram_user_cache ADD COLUMN x text",
    "CREATE TABLE mine (x text)",
    "CREATE TEMPORARY TABLE mine (x text)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION instagram_notify_table() RETURNS trigger LANGUAGE sql AS 'x'",
    "ALTER TABLE instagram_pauses DISABLE TRIGGER ALL",
    "CREATE ROLE mine",
    "ALTER ROLE postgres PASSWORD 'x'",
    "SET ROLE postgres",
    "SELECT * FROM pg_authid",
    "SELECT * FROM others_table",
    "SELECT * FROM instagram_messages",
    "INSERT INTO instagram_migrations (name) VALUES ('mine')",
    "SELECT pg_read_file('PG_VERSION')",
    "COPY instagram_user_cache TO '/tmp/x'",
    "COPY instagram_user_cache TO PROGRAM 'cat'",
    "CREATE EXTENSION dblink",
    "CREATE DATABASE mine",
)


@pytest_asyncio.fixture(loop_scope="session")
async def as_role(shared_rig: Rig) -> AsyncIterator[asyncpg.Connection]:
    for table in ("others_table", "instagram_messages"):
        await shared_rig.fetch(f"CREATE TABLE IF NOT EXISTS {table} (x text)")
    await apply(shared_rig)
    connection = await asyncpg.connect(shared_rig.role_dsn)
    yield connection
    await connection.close()


async def test_the_service_runs_as_it(shared_rig: Rig) -> None:
    rows = await shared_rig.fetch(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'instagram-identity'"
    )
    assert [row["usename"] for row in rows] == [ROLE]
    user = new_user()
    assert (await shared_rig.write_as(user)).status == 200
    await named(shared_rig, user)


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_it_may_not(as_role: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await as_role.execute(statement)


async def apply(rig: Rig) -> None:
    connection = await asyncpg.connect(rig.owner_dsn)
    await connection.execute(LEAST_PRIVILEGE.read_text())
    await connection.close()


async def test_every_table_of_the_schema_is_named(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    relations = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'v') AND relname <> 'instagram_migrations'"
    )
    await connection.close()
    script = LEAST_PRIVILEGE.read_text()
    assert [row["relname"] for row in relations if f"'{row['relname']}'" not in script] == []


async def test_applying_the_file_again_changes_nothing(shared_rig: Rig) -> None:
    rights = "SELECT relname, relacl::text FROM pg_class WHERE relname LIKE 'instagram%' ORDER BY 1"
    before = await shared_rig.fetch(rights)
    await apply(shared_rig)
    assert await shared_rig.fetch(rights) == before
