"""Every statement of the store's SQL files is one that PostgreSQL takes."""

from pathlib import Path

import asyncpg
import pytest

from service.store import queries
from service.store.queries import FOLDER, read_queries

STATEMENTS = [
    (file.stem, name) for file in sorted(FOLDER.glob("*.sql")) for name in read_queries(file.stem)
]


async def test_postgres_prepares_every_statement(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for family, name in STATEMENTS:
            await connection.prepare(read_queries(family)[name])
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("claiming", "claim"),
        ("claiming", "release"),
        ("conversations", "settle"),
        ("receiving", "journal"),
        ("settling", "settle_failed"),
        ("settling", "settle_resolved"),
    ],
)
async def test_a_plan_made_for_a_small_table_does_not_read_a_large_one(
    session: asyncpg.Connection, family: str, name: str
) -> None:
    """A session keeps a statement's plan, and the table can grow before it is analyzed."""
    statement = read_queries(family)[name]
    parameters = (await session.prepare(statement)).get_parameters()
    await session.execute("SET plan_cache_mode = force_generic_plan")
    await session.execute(f"PREPARE kept AS {statement}")
    nulls = ", ".join(["NULL"] * len(parameters))
    plan = [row[0] for row in await session.fetch(f"EXPLAIN EXECUTE kept ({nulls})")]
    assert not [line for line in plan if "Seq Scan on instagram_participants" in line]


def test_a_file_is_read_by_name() -> None:
    assert all(read_queries(family)[name].endswith(";") for family, name in STATEMENTS)


def test_two_statements_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "FOLDER", tmp_path)
    (tmp_path / "twice.sql").write_text("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;\n")
    with pytest.raises(ValueError, match="twice"):
        read_queries("twice")
