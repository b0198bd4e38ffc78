"""`python -m benchmarks.pictures`: the cost of copied pictures in rows, bytes and backup time.

Rows are generated: random bytes, which compress as little as a JPEG, 4 to 8 KB each, like Meta's
pictures of 150 x 150 pixels. A backup is the output of `pg_dump`: the table as text, in which bytes
take twice their size. Larger figures are extrapolated proportionally.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import asyncpg
import click

from sandbox.postgres.server import EmbeddedPostgres

SCHEMA = Path(__file__).parents[1] / "schema.sql"
FILL = """
INSERT INTO instagram_pictures (ig_user_id, sha256, content_type, bytes)
SELECT (6000000000000000 + n)::text, encode(sha256(p.bytes), 'hex'), 'image/jpeg', p.bytes
FROM generate_series($1::integer, $2::integer - 1) n, LATERAL (
    SELECT string_agg(sha256(int8send(n * 1000::bigint + part)), '')::bytea AS bytes
    FROM generate_series(1, 128 + n % 128) part) AS p
"""
SIZES = """
SELECT pg_relation_size('instagram_pictures') AS heap,
    pg_total_relation_size('instagram_pictures') AS total,
    sum(octet_length(bytes))::bigint AS content FROM instagram_pictures
"""
STEP = 1000
MILLIONS = (1, 10)


async def _run(rows: int) -> None:
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o711)
        with EmbeddedPostgres(Path(folder) / "postgres", durable=True) as postgres:
            connection = await asyncpg.connect(postgres.dsn())
            try:
                await connection.execute(SCHEMA.read_text())
                await _measure(connection, rows)
            finally:
                await connection.close()


async def _measure(connection: asyncpg.Connection, rows: int) -> None:
    for first in range(0, rows, STEP):
        await connection.execute(FILL, first, min(first + STEP, rows))
    await connection.execute("VACUUM ANALYZE instagram_pictures")
    sizes = await connection.fetchrow(SIZES)
    if sizes is None:
        raise RuntimeError("the table has no size")
    began_s = time.monotonic()
    await connection.execute("COPY instagram_pictures TO PROGRAM 'cat > /dev/null'")
    took_s = time.monotonic() - began_s
    print(
        f"{rows:,} rows: {sizes['content'] / rows:,.0f} bytes of picture a row, "
        f"{sizes['total'] / rows:,.0f} on disk ({sizes['heap'] / rows:,.0f} of them in the heap), "
        f"read as a backup does in {took_s:.2f} s\n"
    )
    print("| pictures | rows | on disk | a backup as text | time of the backup |")
    print("|---|---|---|---|---|")
    for millions in MILLIONS:
        times = millions * 1_000_000 / rows
        print(
            f"| {millions} million | {millions} million | {sizes['total'] * times / 1e9:.1f} GB "
            f"| {2 * sizes['content'] * times / 1e9:.1f} GB | {took_s * times / 60:.0f} min |"
        )


@click.command()
@click.option("--rows", default=50_000, show_default=True, help="How many pictures to generate.")
def main(rows: int) -> None:
    """Print the cost of pictures, measured at a small size and extrapolated."""
    asyncio.run(_run(rows))


if __name__ == "__main__":
    main()
