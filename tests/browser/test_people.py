"""The list of people in a browser: found as one types, by keyboard, and smooth at ten thousand."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Console, minutes_ago

pytestmark = pytest.mark.asyncio(loop_scope="session")

USER = "1254459154682919"


async def test_people_are_searched_as_one_types_and_the_address_keeps_it(console: Console) -> None:
    await console.world.add_named(40)
    await console.sign_in("people")
    rows = console.page.get_by_role("option", name="@j")
    await expect(rows.first).to_contain_text("@jane.1")
    await expect(console.page.get_by_label("Search")).to_be_focused()
    await console.page.keyboard.type("@john.2")
    await expect(rows).to_have_count(6)  # john.2, john.20, john.22 …
    await expect(rows.first).to_contain_text("@john.2")


async def test_the_tile_of_those_without_a_name_opens_them(console: Console) -> None:
    await console.world.add_named(3)
    await console.world.add_failed(USER, 1, minutes_ago(2))
    await console.sign_in()
    await console.page.get_by_role("link", name="Without a name").click()
    await expect(console.page.get_by_role("combobox", name="Name")).to_have_value("false")
    options = console.page.get_by_role("listbox").get_by_role("option")
    await expect(options).to_have_count(1)
    await expect(options).to_contain_text("@user_682919")
    await expect(options).to_contain_text("not connected")


async def test_the_list_is_used_by_keyboard(console: Console) -> None:
    await console.world.add_named(300)
    await console.sign_in("people")
    await expect(console.page.get_by_role("option", name="@jane.1").first).to_be_visible()
    await console.page.keyboard.press("ArrowDown")
    await expect(console.page.get_by_role("listbox")).to_be_focused()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "End"):
        await console.page.keyboard.press(key)
    chosen = console.page.locator('[aria-selected="true"]')
    await expect(chosen).to_be_visible()
    await console.page.keyboard.press("Home")
    await expect(chosen).to_contain_text("@jane.1")
    await console.page.keyboard.press("Enter")
    await expect(console.page.get_by_role("heading", name="@jane.1")).to_be_visible()


async def test_two_thousand_people_are_drawn_a_screen_at_a_time(console: Console) -> None:
    await console.world.add_named(2_000)
    await console.sign_in("people")
    listed = console.page.get_by_role("listbox")
    await expect(listed.get_by_role("option").first).to_be_visible()
    script = """async () => {
      const box = document.querySelector('[role="listbox"]');
      const inner = box.firstElementChild;
      let most = 0;
      while (inner.offsetHeight < 2_000 * 64) {
        const before = inner.offsetHeight;
        box.scrollTop = before;
        while (inner.offsetHeight === before) await new Promise(requestAnimationFrame);
        most = Math.max(most, document.querySelectorAll('[role="option"] b').length);
      }
      box.scrollTop = inner.offsetHeight;
      return most;
    }"""
    assert await console.page.evaluate(script) < 100
    await expect(listed.get_by_text("@john.2000", exact=True)).to_be_attached()


async def test_a_name_is_an_address(console: Console) -> None:
    await console.world.add_named(3)
    await console.sign_in("people/@Jane.1")
    await expect(console.page.get_by_role("heading", name="@jane.1")).to_be_visible()
    await console.sees("not connected")
    await console.open("people/@nobody")
    await console.sees("No known user has the name or id @nobody.")


async def test_somebody_who_has_never_written_is_said_so(console: Console) -> None:
    await console.sign_in(f"people/{USER}")
    await console.sees("Nobody with this id has written yet, so nothing is held.")
    await expect(console.page.get_by_role("button", name="Refresh")).to_be_disabled()


async def test_a_refresh_during_a_pause_says_so_and_until_when(console: Console) -> None:
    await console.world.add_failed(USER, 1, minutes_ago(2))
    await console.world.connect()
    await console.world.db.execute(
        "INSERT INTO instagram_pauses (scope, until, reason)"
        " VALUES ('app', now() + interval '50 min', 'throttled')"
    )
    await console.sign_in(f"people/{USER}")
    await console.click("Refresh")
    await console.sees("Meta was not asked: Meta asks us to call less often.")
    await console.sees("Calls are paused until")
    await expect(console.page.locator("dd", has_text="in 50 minutes")).to_be_visible()


async def test_a_service_that_freezes_is_not_called_live(console: Console) -> None:
    await console.sign_in()
    await console.sees("live")

    async def never(*_: object) -> None:
        """Leave the request without an answer."""

    await console.page.route("**/status", never)
    await console.sees("no answer for")
