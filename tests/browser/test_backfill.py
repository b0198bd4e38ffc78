"""Backfills in a browser: what they leave is said, and a reload does not lose them."""

import json

import pytest
from playwright.async_api import expect

from sandbox.sample_traffic import SAMPLE_ACCOUNT
from tests.browser.conftest import Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def add_failing(console: Console, waiting: int, stopped: int) -> None:
    """Let people wait after a failure, and others have no retries left."""
    await console.world.db.execute(
        "INSERT INTO instagram_user_cache (ig_user_id, fail_count, last_failed_at, last_error)"
        " SELECT 8800000000000000 + n, CASE WHEN n <= $1 THEN 3 ELSE 5 END, now(), $3::jsonb"
        " FROM generate_series(1, $1::int + $2::int) n",
        waiting,
        stopped,
        json.dumps({"reason": "not_found", "code": 100, "subcode": 33}),
    )
    await console.world.db.execute(
        "INSERT INTO instagram_participants (ig_account_id, ig_user_id, due_at)"
        " SELECT $1, ig_user_id, NULL FROM instagram_user_cache",
        SAMPLE_ACCOUNT,
    )


async def test_a_backfill_says_who_is_left_and_tries_them_when_asked(console: Console) -> None:
    await console.world.connect()
    await add_failing(console, 4, 2)
    await console.sign_in("backfill")
    await console.click("Start loc_1")
    await console.sees("6 people have no fresh name: 4 wait for a retry until")
    await console.sees("2 have stopped.")
    assert console.world.graph.calls == []
    await console.click("Try those of loc_1 now")
    await console.sees("6 named, 0 failed")
    await console.sees("Done: everybody has a fresh name.")


async def test_those_who_fail_again_are_told_of_and_not_tried_twice(console: Console) -> None:
    await console.world.restart(conversation_names=False)  # two such calls a second take long
    await console.world.connect()
    await add_failing(console, 60, 0)
    console.world.graph.set_answer("not_found")
    await console.sign_in("backfill")
    await console.page.get_by_label("People whose fetch has failed too").check()
    await console.click("Start loc_1")
    await console.sees("60 people have no fresh name")
    await console.sees("0 named, 60 failed")
    assert len(console.world.graph.calls) == 60


async def test_a_reload_finds_the_running_backfill(console: Console) -> None:
    await console.world.add_strangers(60)
    await console.world.connect()
    console.world.graph.hold()
    await console.sign_in("backfill")
    await console.click("Start loc_1")
    await console.world.graph.wait_for_calls(1)
    await console.page.reload()
    await expect(console.page.get_by_role("button", name="Stop loc_1")).to_be_visible()
    console.world.graph.release()
    await console.sees("Done: everybody has a fresh name.")
    await console.click("Sign out")
    assert await console.page.evaluate("sessionStorage.length") == 0
