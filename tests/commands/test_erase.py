"""`participants erase`."""

import asyncpg

from tests.commands.world import ACCOUNT, World

WRITE = "INSERT INTO instagram_participants (ig_account_id, ig_user_id) VALUES ($1, $2)"


async def test_the_users_on_stdin_are_erased(world: World) -> None:
    db = await asyncpg.connect(world.dsn)
    for user in ("101", "102", "103"):
        await db.execute(WRITE, ACCOUNT, user)
    async with world.serving():
        ended = await world.run("participants", "erase", stdin=b'"101",102\n\n999\nnot-an-id\n')
    left = await db.fetch("SELECT ig_user_id FROM instagram_participants")
    await db.close()
    assert [row[0] for row in left] == ["103"]
    assert ended.out == "3 users erased.\n"
    assert ended.err == "line 4 has something that is not an id: skipped\n"
    assert ended.code == 1


async def test_nothing_on_stdin_erases_nobody(world: World) -> None:
    ended = await world.run("participants", "erase", stdin=b"")
    assert (ended.code, ended.out) == (0, "0 users erased.\n")
