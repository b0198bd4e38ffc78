"""Rows written by hand: whatever times they hold, no request fails and nobody else waits."""

import asyncpg
import pytest

from sandbox.graph.simulator import GraphSimulator
from tests.service.conftest import (
    LOCATION,
    OTHER_ACCOUNT,
    OTHER_TOKEN,
    Client,
    Database,
    new_user,
)

TIMES = ["infinity", "-infinity", "20000-01-01", "294276-12-31 23:59:59+00", "4713-01-02 BC"]
TABLES = ("instagram_user_cache", "instagram_participants", "instagram_connections")


async def poison(db: Database, moment: str, user: str, account: str) -> None:
    """Write a time into every column that takes one, of a user and an account."""
    columns = await db.fetch(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE data_type = 'timestamp with time zone' AND table_name = ANY ($1)",
        TABLES,
    )
    assert {row["table_name"] for row in columns} == set(TABLES)
    for table, column in columns:
        key, value = ("ig_account_id", account) if "conn" in table else ("ig_user_id", user)
        await db.execute(
            f"UPDATE {table} SET {column} = '{moment}' WHERE {key} = $1",  # noqa: S608 - of the schema
            value,
        )
    pause = "INSERT INTO instagram_pauses (scope, reason, until) VALUES ($1, 'permission', '{}')"
    await db.execute(pause.format(moment), f"account:{account}")


@pytest.mark.parametrize("moment", TIMES)
async def test_times_beyond_any_calendar_fail_no_request_and_delay_nobody(
    client: Client, graph: GraphSimulator, db: asyncpg.Connection, moment: str
) -> None:
    await client.connect(OTHER_ACCOUNT, OTHER_TOKEN)
    odd, failed, other = new_user(), new_user(), new_user()
    graph.set_answer("not_found", user=failed)
    await client.write(odd, failed)
    await client.until_state(odd, "resolved")
    await client.until_failed(failed)
    for user in (odd, failed):
        await poison(db, moment, user, OTHER_ACCOUNT)
        await db.execute("DELETE FROM instagram_pauses")
    await poison(db, moment, odd, OTHER_ACCOUNT)

    await client.write(odd, failed, other)
    assert (await client.until_state(other, "resolved"))["displayName"]
    answers = [
        await client.inbox(f"/users?ids={odd},{failed},{other}"),
        await client.inbox(f"/users/{odd}/picture"),
        *[await client.operator("GET", path) for path in ("/status", "/connections")],
        await client.operator("POST", f"/messages/backfill?locationId={LOCATION}&days=7"),
        await client.operator("POST", f"/users/{failed}/refresh"),
    ]
    assert [answer.status for answer in answers if answer.status >= 500] == []
