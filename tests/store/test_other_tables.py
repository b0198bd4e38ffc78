"""Tables of another application: used as they are, or refused in a sentence."""

import traceback
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from service.errors import RefusedError, UnavailableError
from service.store.connections import Connections
from service.store.database import Database
from service.store.migration import migrate
from service.vault import Vault
from tests.conftest import DatabaseServer

from .tables import ACCOUNT, OTHER_ACCOUNT, Tables
from .test_migration import OLD_CONNECTIONS, works

TOKEN = "EAAG-a-plain-token"
THEIRS = """
CREATE TABLE instagram_connections (
    id serial PRIMARY KEY, tenant text NOT NULL DEFAULT 'acme',
    ig_account_id varchar(50) UNIQUE, location_id varchar(50), login varchar(10),
    access_token varchar(60), created_at timestamp DEFAULT now()
)
"""
INSERT = "INSERT INTO instagram_connections (ig_account_id, access_token) VALUES ($1, $2)"


@pytest_asyncio.fixture(loop_scope="module")
async def tables(empty_database_url: str) -> AsyncIterator[Tables]:
    session = await asyncpg.connect(empty_database_url)
    yield Tables(session)
    await session.close()


async def test_their_columns_nulls_and_inserts_stay_as_they_are(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await tables.execute(THEIRS)
    await tables.execute(INSERT, ACCOUNT, TOKEN)
    await migrate(empty_database_url, vault)
    await tables.execute(INSERT, OTHER_ACCOUNT, None)
    row = await tables.row("SELECT * FROM instagram_connections WHERE ig_account_id = $1", ACCOUNT)
    assert row is not None
    assert (row["id"], row["tenant"], row["location_id"], row["login"]) == (1, "acme", None, None)
    assert row["access_token"] == TOKEN
    assert row["created_at"].tzinfo is None
    async with Database.connect(empty_database_url) as database:
        first, second = await Connections(database, vault).list()
    assert (first.location_id, first.login, first.token_status) == ("", "facebook", "active")
    assert (first.is_plain, second.is_plain) == (True, False)
    await works(empty_database_url, vault)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (
            "CREATE VIEW instagram_connections AS SELECT 1",
            "instagram_connections is not an ordinary",
        ),
        ("CREATE VIEW instagram_user_cache AS SELECT 1", "instagram_user_cache is not an ordinary"),
        ("CREATE TABLE instagram_connections (id bigint)", "has no column ig_account_id"),
        (
            "CREATE TABLE instagram_connections (ig_account_id bigint PRIMARY KEY)",
            "instagram_connections.ig_account_id has the type bigint, and the service needs text",
        ),
        (
            "CREATE TABLE instagram_connections (ig_account_id text PRIMARY KEY, location_id uuid)",
            "instagram_connections.location_id has the type uuid, and the service needs text",
        ),
        (
            f"{OLD_CONNECTIONS}; CREATE VIEW of_us AS TABLE instagram_connections",
            "a view or a rule uses a column of instagram_connections",
        ),
        (
            "CREATE TABLE instagram_connections (ig_account_id) AS VALUES ('1'::text), ('1')",
            "instagram_connections has several rows with the same ig_account_id",
        ),
    ],
)
async def test_what_can_not_be_used_is_refused_in_a_sentence(
    empty_database_url: str, vault: Vault, tables: Tables, theirs: str, said: str
) -> None:
    await tables.execute(theirs)
    with pytest.raises(RefusedError, match=said):
        await migrate(empty_database_url, vault)


async def test_a_refused_migration_shows_no_value_of_a_row(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await tables.execute(
        "CREATE TABLE instagram_user_cache (ig_user_id text PRIMARY KEY, name text,"
        " fail_count integer CONSTRAINT strict CHECK (fail_count > 7))"
    )
    await tables.execute("INSERT INTO instagram_user_cache VALUES ('1', 'A Secret Name', NULL)")
    with pytest.raises(UnavailableError, match="its constraint strict does not hold") as refused:
        await migrate(empty_database_url, vault)
    shown = "".join(traceback.format_exception(refused.value))
    seen: BaseException | None = refused.value
    while seen is not None:
        shown += f"{seen!r}{vars(seen)}"
        seen = seen.__context__
    assert "A Secret Name" not in shown


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
async def other_encoding(
    request: pytest.FixtureRequest, postgres: DatabaseServer
) -> AsyncIterator[tuple[str, str]]:
    """Give the DSN of a database of another encoding, and what is said of it."""
    name = f"test_{request.param.lower()}"
    session = await asyncpg.connect(postgres.dsn())
    await session.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{request.param}'"
        " LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    yield postgres.dsn(name), f'The database "{name}" has the encoding {request.param}'
    await session.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await session.close()


async def test_a_database_of_another_encoding_is_refused(
    other_encoding: tuple[str, str], vault: Vault
) -> None:
    dsn, said = other_encoding
    with pytest.raises(RefusedError, match=said):
        await migrate(dsn, vault)
    with pytest.raises(RefusedError, match=said):
        async with Database.connect(dsn):
            pass


async def test_a_row_of_the_handbooks_eight_columns_works(
    tables: Tables, empty_database_url: str, vault: Vault
) -> None:
    await migrate(empty_database_url, vault)
    await tables.execute(
        "INSERT INTO instagram_user_cache (ig_user_id, username, name, profile_pic_url,"
        " last_fetched_at, fail_count, last_failed_at, raw)"
        " VALUES ('6', 'jane', 'Jane', NULL, now(), 0, NULL, '{}')"
    )
    row = await tables.cached("6")
    assert (row["expires_at"], row["last_error"], row["source"]) == (None, None, None)
    await works(empty_database_url, vault)


async def test_their_role_need_not_know_of_our_other_tables(
    tables: Tables, empty_database_url: str, vault: Vault
) -> None:
    """What our triggers write on its writes needs no rights of its own."""
    await migrate(empty_database_url, vault)
    await tables.cache("5", profile_pic_url="https://example.com/p")
    await tables.insert(
        "instagram_pictures",
        ig_user_id="5",
        sha256="0" * 64,
        content_type="image/png",
        bytes=b"png",
    )
    role = f"neighbour_{tables.session.get_server_pid()}"
    await tables.execute(
        f"CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE, DELETE"
        f" ON instagram_user_cache, instagram_connections TO {role}"
    )
    try:
        await tables.execute(f"SET ROLE {role}")
        await tables.connect("77", access_token="EAAG")
        await tables.execute("UPDATE instagram_connections SET access_token = 'EAAG-2'")
        await tables.execute("UPDATE instagram_user_cache SET profile_pic_url = NULL")
        await tables.execute("DELETE FROM instagram_user_cache")
        await tables.execute("DELETE FROM instagram_connections")
    finally:
        await tables.execute("RESET ROLE")
        await tables.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert await tables.value("SELECT count(*) FROM instagram_pictures") == 0


async def test_a_row_that_breaks_a_rule_from_before_stays_and_new_ones_are_checked(
    tables: Tables, empty_database_url: str, vault: Vault
) -> None:
    await tables.execute(
        "CREATE TABLE instagram_user_cache"
        " (ig_user_id text PRIMARY KEY, fail_count integer NOT NULL DEFAULT 0);"
        "INSERT INTO instagram_user_cache VALUES ('1', -1)"
    )
    for _ in range(2):
        await migrate(empty_database_url, vault)
    assert (await tables.cached("1"))["fail_count"] == -1
    with pytest.raises(asyncpg.CheckViolationError):
        await tables.cache("2", fail_count=-1)
    await works(empty_database_url, vault)
