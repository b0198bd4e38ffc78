"""The accounts in a browser: many of them, the broken ones first, and what is done about each."""

import pytest
from playwright.async_api import expect

from sandbox.sample_traffic import SAMPLE_ACCOUNT, SAMPLE_TOKEN
from tests.browser.conftest import LOCATION, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_broken_account_stands_first_among_many_and_is_found(console: Console) -> None:
    for number in range(20):
        await console.world.add_account(str(100 + number), f"loc_{number}", f"store.{number:02}")
    await console.world.db.execute(
        "INSERT INTO instagram_pauses (scope, until, reason)"
        " VALUES ('account:113', 'infinity', 'token_invalid')"
    )
    await console.sign_in("accounts")
    await expect(console.page.get_by_role("listitem").first).to_contain_text("@store.13")
    await console.sees("20 accounts, 1 to look at")
    await console.page.get_by_label("Search").fill("@store.07")
    await expect(console.page.get_by_role("listitem")).to_have_count(1)
    await expect(console.page.get_by_role("listitem")).to_contain_text("Not tested yet")


async def test_an_account_is_not_connected_twice(console: Console) -> None:
    await console.world.connect()
    await console.sign_in("accounts")
    await console.click("Connect an account")
    await console.page.get_by_label("Account id").fill(SAMPLE_ACCOUNT)
    await console.page.get_by_label("Location").fill("elsewhere")
    await console.page.get_by_label("Access token").fill("EAAG-another")
    await console.click("Save")
    await console.sees("The account is connected already.")


async def test_an_account_is_edited_and_removed(console: Console) -> None:
    await console.world.connect()
    await console.sign_in("accounts")
    await console.click(f"Edit {SAMPLE_ACCOUNT}")
    await console.page.get_by_label("Location").fill("loc_9")
    await console.page.get_by_label("Other ids").fill("178, 179")
    await console.click("Save")
    await console.sees("178, 179")
    await console.sees("loc_9")
    await console.world.add_named(2)
    await console.click(f"Remove {SAMPLE_ACCOUNT}")
    await console.page.get_by_label("Also erase the people").check()
    await console.page.get_by_role("button", name="Remove", exact=True).click()
    await console.sees("No account is connected yet.")


async def test_an_unconnected_account_becomes_another_id_of_one(console: Console) -> None:
    await console.world.connect()
    await console.sign_in("accounts")
    await console.world.db.execute(
        "INSERT INTO instagram_pauses (scope, until, reason)"
        " VALUES ('account:999', 'infinity', 'no_connection')"
    )
    await console.sees("People write to this account, and nobody has connected it.")
    await console.click("Make 999 another id")
    await expect(console.page.get_by_role("dialog")).to_contain_text(
        f"{SAMPLE_ACCOUNT} ({LOCATION})"
    )
    await console.click("Save")
    await console.sees("Other ids")
    stored = "SELECT alias_ids FROM instagram_connections"
    assert await console.world.db.fetchval(stored) == ["999"]


async def test_a_pause_is_lifted(console: Console) -> None:
    await console.world.connect()
    await console.sign_in("accounts")
    await console.world.db.execute(
        "INSERT INTO instagram_pauses (scope, until, reason)"
        " VALUES ($1, now() + interval '6 h', 'policy_block')",
        f"account:{SAMPLE_ACCOUNT}",
    )
    await console.sees("Blocked by Meta")
    await console.click(f"Lift the pause of {SAMPLE_ACCOUNT}")
    await console.sees("Token accepted")


async def test_the_token_is_not_shown_while_it_is_typed(console: Console) -> None:
    await console.world.connect()
    await console.sign_in("accounts")
    await console.click(f"Replace the token of {SAMPLE_ACCOUNT}")
    field = console.page.get_by_label("Access token")
    await expect(field).to_have_attribute("type", "password")
    await field.fill("two words")
    await console.click("Save")
    await console.sees("accessToken contains a blank or a line end")
    await field.fill(f" {SAMPLE_TOKEN} ")
    await console.click("Save")
    await expect(console.page.get_by_role("dialog")).to_have_count(0)
