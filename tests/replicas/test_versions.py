"""A schema that is ahead of the service, as during a roll or after a roll back."""

from pathlib import Path

from sandbox.ports import free_port
from tests.replicas.conftest import SpawnAll
from tests.replicas.stream import Stream
from tests.service.conftest import ACCOUNT, Database, Spawn, fetch_row, new_user, run_command

# What a later version may do: add columns, tables, indexes and triggers, never take one away.
AHEAD = """
ALTER TABLE instagram_user_cache ADD COLUMN biography text,
    ADD COLUMN followers integer NOT NULL DEFAULT 0;
ALTER TABLE instagram_connections ADD COLUMN scopes text[] NOT NULL DEFAULT '{}';
ALTER TABLE instagram_participants ADD COLUMN channel text NOT NULL DEFAULT 'dm';
ALTER TABLE instagram_pauses ADD COLUMN set_by text;
ALTER TABLE instagram_budget ADD COLUMN burst integer NOT NULL DEFAULT 0;
ALTER TABLE instagram_streaks ADD COLUMN severity text DEFAULT 'low';
CREATE TABLE instagram_labels (ig_user_id text PRIMARY KEY, label text NOT NULL);
CREATE INDEX instagram_cache_followers ON instagram_user_cache (followers);
CREATE FUNCTION instagram_notify_labels() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_notify(''instagram_labels'', ''''); RETURN NULL; END';
CREATE TRIGGER labels_changed AFTER INSERT ON instagram_labels
    FOR EACH STATEMENT EXECUTE FUNCTION instagram_notify_labels();
"""
SHAPE = """
SELECT 'column ' || attrelid::regclass || '.' || attname AS thing,
    concat_ws(' ', format_type(atttypid, atttypmod), attnotnull,
        (SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
            WHERE adrelid = attrelid AND adnum = attnum)) AS said
FROM pg_attribute WHERE attrelid::regclass::text LIKE 'instagram%' AND attnum > 0
UNION ALL SELECT 'trigger ' || tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function ' || proname, prosrc FROM pg_proc WHERE proname LIKE 'instagram%'
UNION ALL SELECT 'constraint ' || conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE conname LIKE 'instagram%'
"""


async def shape_of(db: Database) -> dict[str, str]:
    """Describe everything that stands in the schema."""
    return {row["thing"]: row["said"] for row in await db.fetch(SHAPE)}


async def go_ahead(db: Database) -> None:
    """Change one table at a time: locks on several at once could wait for each other for ever."""
    for statement in AHEAD.strip().split(";\n"):
        await db.execute(statement)


async def test_the_schema_may_be_migrated_ahead_under_load(
    replicas: SpawnAll, spawn: Spawn, db: Database
) -> None:
    shared = {"PORT": str(free_port()), "REUSE_PORT": "true", "GRAPH_CALLS_PER_SECOND": "500"}
    first, second = await replicas(2, **shared)
    async with Stream(first.client.url).flowing() as stream:
        await stream.more()
        await go_ahead(db)
        await stream.more()
        await spawn(**shared, MIGRATE_ON_START="true")  # of today's version, which is behind now
        assert await first.stop() == 0
        await stream.more()
    assert stream.answers == {"200": stream.answers["200"]}
    for user in (stream.acked[0], stream.acked[-1]):
        assert (await second.client.until_state(user, "resolved"))["username"]


async def test_a_service_older_than_the_schema_does_its_work_and_spoils_nothing(
    spawn: Spawn, db: Database
) -> None:
    await go_ahead(db)
    client = (await spawn(MIGRATE_ON_START="true")).client
    await client.connect()
    user = new_user()
    await client.write(user)
    assert (await client.until_state(user, "resolved"))["username"]
    await db.execute("UPDATE instagram_user_cache SET biography = 'hello', followers = 7")
    refreshed = await client.operator("POST", f"/users/{user}/refresh")
    assert (refreshed.status, refreshed.json["state"]) == (200, "resolved")
    row = await fetch_row(db, "SELECT biography, followers FROM instagram_user_cache")
    assert tuple(row) == ("hello", 7)
    assert (await client.connection())["igAccountId"] == ACCOUNT
    assert (await client.operator("DELETE", f"/users/{user}")).status == 204
    assert (await client.identity(user))["state"] == "unknown"


async def test_an_older_migrate_takes_nothing_away(
    environment: dict[str, str], db: Database, tmp_path: Path
) -> None:
    await go_ahead(db)
    before = await shape_of(db)
    assert "column instagram_user_cache.biography" in before
    migrating = await run_command("migrate", environment, tmp_path / "migrate.log")
    assert await migrating.wait() == 0, (tmp_path / "migrate.log").read_text()
    assert await shape_of(db) == before
