import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
import structlog

from service.errors import UnavailableError
from service.model.contacts import Contact
from service.model.freshness import Rules
from service.store.connections import Connections
from service.store.database import Database
from service.store.identities import Identities
from service.store.journal import Journal
from service.store.migration import MIGRATIONS, SCHEMA, migrate
from service.vault import Vault

from .conftest import new_key
from .tables import ACCOUNT, OTHER_ACCOUNT, Tables

CATALOG = """
SELECT 'column ' || attrelid::regclass || '.' || attname AS thing,
    concat_ws(' ', attnum, format_type(atttypid, atttypmod), attnotnull, attstorage,
        (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
            WHERE adrelid = attrelid AND adnum = attnum)) AS said
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace AND attnum > 0
UNION ALL SELECT 'index ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'invalid index ' || indexrelid::regclass, '' FROM pg_index WHERE NOT indisvalid
UNION ALL SELECT 'trigger ' || tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function ' || oid::regprocedure, pg_get_functiondef(oid) FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'view ' || viewname, definition FROM pg_views WHERE schemaname = 'public'
UNION ALL SELECT 'constraint ' || conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'migration ' || name, '' FROM instagram_migrations
ORDER BY 1
"""
VERSION_1 = (Path(__file__).parent / "version_1.sql").read_text()
HANDBOOK = """
CREATE TABLE instagram_user_cache (
    ig_user_id text PRIMARY KEY, username text, name text, profile_pic_url text,
    last_fetched_at timestamptz, fail_count integer NOT NULL DEFAULT 0,
    last_failed_at timestamptz, raw jsonb
)
"""
LOOSE = """
CREATE TABLE instagram_user_cache (
    ig_user_id varchar(64) UNIQUE, username varchar(100), name varchar(100) NOT NULL,
    profile_pic_url varchar, last_fetched_at timestamp, fail_count bigint,
    last_failed_at timestamp, raw json, note text
)
"""
OLD_CONNECTIONS = """
CREATE TABLE instagram_connections (
    ig_account_id varchar(50) PRIMARY KEY, location_id varchar(50), access_token varchar(500)
)
"""


@pytest_asyncio.fixture(loop_scope="module")
async def tables(empty_database_url: str) -> AsyncIterator[Tables]:
    session = await asyncpg.connect(empty_database_url)
    yield Tables(session)
    await session.close()


@pytest_asyncio.fixture(loop_scope="module")
async def fresh_shape(database_url: str) -> dict[str, str]:
    """What a new database looks like."""
    session = await asyncpg.connect(database_url)
    try:
        return await shape(Tables(session))
    finally:
        await session.close()


async def shape(tables: Tables) -> dict[str, str]:
    """Describe everything that stands in the schema."""
    return {row["thing"]: row["said"] for row in await tables.session.fetch(CATALOG)}


async def works(dsn: str, vault: Vault) -> None:
    """Use a database as the service does."""
    async with Database.connect(dsn) as database:
        identities = Identities(database, Rules())
        stored = await Connections(database, vault).put("77", "loc_7", "tok", "facebook", ["78"])
        at = stored.created_at
        (written,) = await Journal(database, Rules()).write([Contact("77", "5", at, at, True)])  # noqa: FBT003
        assert written.is_due
        assert (await identities.look_up(["5"]))[0].is_participant
        await identities.erase("5")


async def test_a_fresh_database_gets_the_schema(
    empty_database_url: str,
    vault: Vault,
    tables: Tables,
    fresh_shape: dict[str, str],
) -> None:
    assert await migrate(empty_database_url, vault) == 0
    assert await shape(tables) == fresh_shape
    await works(empty_database_url, vault)


async def test_migrating_again_changes_nothing(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await migrate(empty_database_url, vault)
    before = await shape(tables)
    assert await migrate(empty_database_url, vault) == 0
    assert await shape(tables) == before


@pytest.mark.parametrize("old", ["SELECT", VERSION_1, HANDBOOK, LOOSE, OLD_CONNECTIONS])
async def test_replicas_may_migrate_at_once(
    empty_database_url: str, vault: Vault, tables: Tables, old: str
) -> None:
    await tables.execute(old)
    if old == OLD_CONNECTIONS:
        await tables.execute(f"INSERT INTO instagram_connections VALUES ('{ACCOUNT}', 'l', 't')")  # noqa: S608
    sealed = await asyncio.gather(
        *(migrate(empty_database_url, vault, seals_plain=True) for _ in range(8))
    )
    assert sum(sealed) == (old == OLD_CONNECTIONS)
    assert await tables.deadlocks() == 0
    await works(empty_database_url, vault)


async def test_version_1_becomes_what_a_new_database_is(
    empty_database_url: str, vault: Vault, tables: Tables, fresh_shape: dict[str, str]
) -> None:
    await tables.execute(VERSION_1)
    await migrate(empty_database_url, vault)
    assert await shape(tables) == fresh_shape
    await works(empty_database_url, vault)


async def test_the_schema_lists_every_migration_once(tables: Tables) -> None:
    await tables.execute(SCHEMA.read_text())
    listed = await tables.column("SELECT name FROM instagram_migrations ORDER BY name")
    names = sorted(path.stem for path in MIGRATIONS.glob("*.sql"))
    assert listed == names
    assert len({name[:4] for name in names}) == len(names)


async def test_the_handbooks_table_is_upgraded_in_place(
    empty_database_url: str,
    vault: Vault,
    tables: Tables,
    fresh_shape: dict[str, str],
) -> None:
    await tables.execute(HANDBOOK)
    await tables.execute(
        "INSERT INTO instagram_user_cache VALUES ('1', 'jane.doe', 'Jane',"
        """ 'https://example.com/p.jpg', now() - interval '1 day', 2, now(), '{"id": "1"}'),"""
        " ('2', null, null, null, null, 7, null, null)"
    )
    before = await tables.session.fetch("SELECT * FROM instagram_user_cache ORDER BY 1")
    await migrate(empty_database_url, vault)
    after = await tables.session.fetch("SELECT * FROM instagram_user_cache ORDER BY 1")
    for old, new in zip(before, after, strict=True):
        assert dict(new) == dict(old) | {"expires_at": None, "last_error": None, "source": None}
    assert await shape(tables) == fresh_shape
    await works(empty_database_url, vault)


async def test_a_looser_table_keeps_its_values_and_gets_the_types(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await tables.execute(LOOSE)
    await tables.execute(
        "INSERT INTO instagram_user_cache VALUES ('1', 'jane', 'Jane', 'https://example.com/p',"
        """ '2026-11-22 10:00', null, '2026-11-22 11:00', '{"id": "1"}', 'a note'),"""
        " ('2', 'john', '', null, null, 3, null, null, null)"
    )
    await tables.execute("SET timezone = 'Asia/Tokyo'")
    await migrate(empty_database_url, vault)
    first, second = await tables.session.fetch("SELECT * FROM instagram_user_cache ORDER BY 1")
    assert (first["username"], first["name"], first["note"]) == ("jane", "Jane", "a note")
    assert first["last_fetched_at"].isoformat() == "2026-11-22T10:00:00+00:00"  # it meant UTC
    assert first["last_failed_at"].isoformat() == "2026-11-22T11:00:00+00:00"
    assert first["raw"] == '{"id": "1"}'
    assert (first["fail_count"], second["fail_count"]) == (0, 3)
    found = await shape(tables)
    assert "jsonb f" in found["column instagram_user_cache.raw"]
    assert "timestamp with time zone" in found["column instagram_user_cache.last_fetched_at"]
    assert "text f" in found["column instagram_user_cache.name"]
    await works(empty_database_url, vault)


async def test_what_jsonb_cannot_hold_is_kept_as_its_text(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await tables.execute(LOOSE)
    await tables.execute(
        r"""INSERT INTO instagram_user_cache (ig_user_id, name, raw)
        VALUES ('1', '', '{"name": "a\u0000b"}'), ('2', '', '{"name": "\ud83d"}')"""
    )
    await migrate(empty_database_url, vault)
    kept = await tables.column("SELECT raw #>> '{}' FROM instagram_user_cache ORDER BY ig_user_id")
    assert kept == [r'{"name": "a\u0000b"}', r'{"name": "\ud83d"}']


async def test_a_table_without_a_key_gets_one(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await tables.execute("CREATE TABLE instagram_user_cache (ig_user_id text, username text)")
    await tables.execute("INSERT INTO instagram_user_cache VALUES ('1', 'jane')")
    await migrate(empty_database_url, vault)
    assert (await tables.cached("1"))["username"] == "jane"
    with pytest.raises(asyncpg.UniqueViolationError):
        await tables.cache("1")
    await works(empty_database_url, vault)


async def test_a_user_with_two_rows_stops_the_migration_and_loses_nothing(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await tables.execute("CREATE TABLE instagram_user_cache (ig_user_id text, username text)")
    await tables.execute("INSERT INTO instagram_user_cache VALUES ('1', 'jane'), ('1', 'john')")
    with pytest.raises(UnavailableError, match="several rows with the same ig_user_id: keep"):
        await migrate(empty_database_url, vault)
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 2


async def test_plain_tokens_are_sealed_where_that_is_asked_for(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await tables.execute(OLD_CONNECTIONS)
    await tables.execute(
        "INSERT INTO instagram_connections VALUES ($1, 'loc_1', 'EAAG-plain-1'),"
        " ($2, 'loc_2', 'EAAG-plain-2')",
        ACCOUNT,
        OTHER_ACCOUNT,
    )
    stored = "SELECT array_agg(access_token ORDER BY ig_account_id) FROM instagram_connections"
    assert await migrate(empty_database_url, vault) == 0
    assert await tables.value(stored) == ["EAAG-plain-1", "EAAG-plain-2"]  # their owner's
    assert await migrate(empty_database_url, vault, seals_plain=True) == 2
    first, second = await tables.session.fetch("SELECT * FROM instagram_connections ORDER BY 1")
    assert vault.open(first["access_token"], ACCOUNT) == "EAAG-plain-1"
    assert vault.open(second["access_token"], OTHER_ACCOUNT) == "EAAG-plain-2"
    assert "EAAG" not in first["access_token"]
    assert (first["location_id"], first["alias_ids"], first["login"], first["token_status"]) == (
        "loc_1",
        [],
        "facebook",
        "active",
    )
    assert first["created_at"] is not None
    assert await migrate(empty_database_url, vault, seals_plain=True) == 0
    await works(empty_database_url, vault)


async def test_a_new_first_key_seals_every_token_anew(
    empty_database_url: str, tables: Tables
) -> None:
    old, both, new = (
        Vault((new_key(1),)),
        Vault((new_key(2), new_key(1))),
        Vault((new_key(2),)),
    )
    await migrate(empty_database_url, old)
    await tables.connect(ACCOUNT, access_token=old.seal("EAAG-1", ACCOUNT))
    await tables.connect(OTHER_ACCOUNT, access_token=new.seal("EAAG-2", OTHER_ACCOUNT))
    assert await migrate(empty_database_url, both) == 1
    rows = await tables.session.fetch(
        "SELECT ig_account_id, access_token FROM instagram_connections"
    )
    opened = {new.open(row["access_token"], row["ig_account_id"]) for row in rows}
    assert opened == {"EAAG-1", "EAAG-2"}


async def test_a_token_under_an_unknown_key_is_left_and_named(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await migrate(empty_database_url, vault)
    foreign = Vault((new_key(9),)).seal("EAAG-lost", ACCOUNT)
    await tables.connect(ACCOUNT, access_token=foreign)
    await tables.connect(OTHER_ACCOUNT, access_token="EAAG-plain")
    with structlog.testing.capture_logs() as lines:
        assert await migrate(empty_database_url, vault, seals_plain=True) == 1
    stored = "SELECT access_token FROM instagram_connections WHERE ig_account_id = $1"
    assert await tables.value(stored, ACCOUNT) == foreign
    (line,) = lines
    assert (line["ig_account_id"], line["log_level"]) == (ACCOUNT, "error")
    assert "EAAG" not in str(lines)


async def test_a_token_replaced_while_it_is_being_sealed_is_not_overwritten(
    empty_database_url: str, vault: Vault, tables: Tables
) -> None:
    await migrate(empty_database_url, vault)
    await tables.connect(ACCOUNT, access_token="EAAG-plain")
    renewed = vault.seal("EAAG-renewed", ACCOUNT)
    async with tables.session.transaction():
        await tables.execute("UPDATE instagram_connections SET access_token = $1", renewed)
        migrating = asyncio.create_task(migrate(empty_database_url, vault, seals_plain=True))
        await tables.until_blocked()
    await migrating
    assert await tables.value("SELECT access_token FROM instagram_connections") == renewed


async def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    vault: Vault,
) -> None:
    with pytest.raises(UnavailableError) as refused:
        await migrate("postgresql://someone:a-password@127.0.0.1:1/db", vault)
    assert "a-password" not in str(refused.value)


async def test_the_schema_may_be_applied_by_hand(tables: Tables) -> None:
    for _ in range(2):
        await tables.execute(SCHEMA.read_text())
    assert await tables.value("SELECT count(*) FROM instagram_user_cache") == 0
