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


def test_a_file_is_read_by_name() -> None:
    assert all(read_queries(family)[name].endswith(";") for family, name in STATEMENTS)


def test_two_statements_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "FOLDER", tmp_path)
    (tmp_path / "twice.sql").write_text("-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;\n")
    with pytest.raises(ValueError, match="twice"):
        read_queries("twice")
