"""What the sandbox adds for a browser: signed in at once, Meta broken and mended, a toy inbox."""

import asyncio
import os
from asyncio.subprocess import PIPE

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, expect

from sandbox.environment import PROJECT
from sandbox.service_client import ServiceClient
from tests.browser.conftest import Console, World
from tests.http.conftest import APP_SECRET, INBOX_KEY, OPERATOR_KEY
from tests.until import until

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_program("chromium"),
]
OF_OTHERS = (
    {"Host": "rebound.example"},
    {"X-Forwarded-For": "203.0.113.7"},
    {"Sec-Fetch-Site": "cross-site"},
)


@pytest.fixture(scope="module")
def signs_in() -> bool:
    return True


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox(console: Console) -> Console:
    """Give the console of a sandbox with the sample account connected."""
    await console.world.connect()
    return console


def _client(world: World) -> ServiceClient:
    return ServiceClient(
        world.url, inbox_key=INBOX_KEY, operator_key=OPERATOR_KEY, app_secret=APP_SECRET
    )


async def _answer(console: Console, answer: str) -> None:
    await console.page.get_by_role("button", name=f"Answer {answer}", exact=True).click()


async def test_the_sandbox_opens_signed_in_until_one_signs_out(sandbox: Console) -> None:
    await sandbox.page.goto(f"{sandbox.world.url}/")
    await expect(sandbox.page.get_by_role("heading", name="Health")).to_be_visible()
    await sandbox.click("Sign out")
    await expect(sandbox.page.get_by_label("Operator key")).to_be_focused()


async def test_other_sites_and_tunnels_are_not_signed_in(world: World) -> None:
    async with aiohttp.ClientSession(world.url) as session:
        for path in ("/console/sandbox/key", "/inbox", "/inbox/conversations"):
            async with session.get(path) as own:
                assert own.status == 200
            for headers in OF_OTHERS:
                async with session.get(path, headers=headers) as answer:
                    assert answer.status == 403, (path, headers)
                    assert OPERATOR_KEY not in await answer.text()


@pytest.mark.needs_program("curl")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize(("user", "status"), [(0, "200"), (65_534, "403")])
async def test_other_users_of_the_machine_are_not_signed_in(
    world: World, user: int, status: str
) -> None:
    url = f"{world.url}/console/sandbox/key"
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url), user=user, stdout=PIPE
    )
    assert (await curl.communicate())[0].decode() == status


async def test_production_has_none_of_it(console: Console) -> None:
    await console.world.stop()
    await console.world.start(in_sandbox=False)
    async with aiohttp.ClientSession(console.world.url) as session:
        for path in ("/console/sandbox/key", "/console/sandbox/answers", "/inbox", "/inbox/grant"):
            async with session.get(path) as answer:
                assert answer.status == 404
        async with session.get("/console") as page:
            assert "data-sandbox" not in await page.text()
    await console.sign_in("sandbox")
    await console.sees("Wrote in the last hour")
    await expect(console.page.get_by_role("link", name="Test DM")).to_have_count(0)


async def test_a_broken_meta_pauses_the_service_until_it_is_mended(sandbox: Console) -> None:
    await sandbox.page.goto(f"{sandbox.world.url}/console#breaking")
    await sandbox.sees("Meta is well, and nothing is paused.")
    await _answer(sandbox, "app_throttle")
    await sandbox.sees("until it is mended")
    async with _client(sandbox.world) as client:
        await client.send_from_stranger()
        await sandbox.sees("All calls are paused")
        await sandbox.click("Mend Meta")
        await expect(sandbox.page.get_by_text("until it is mended").nth(0)).to_be_hidden()
        await sandbox.world.end_pauses()
        await sandbox.sees("Meta is well, and nothing is paused.")

        async def is_named() -> bool:
            return all(not person.is_placeholder for person in await client.people(1))

        await until(is_named)


async def test_pauses_can_be_ended_at_once(console: Console) -> None:
    # No account is connected: a call that finds Meta well would end the pause first.
    await console.world.db.execute(
        "INSERT INTO instagram_pauses (scope, until, reason)"
        " VALUES ('app', now() + interval '1 h', 'throttled')"
    )
    await console.page.goto(f"{console.world.url}/console#breaking")
    await console.sees("All calls are paused")
    await console.click("End the pauses now")
    await console.sees("Meta is well, and nothing is paused.")


async def test_an_answer_may_be_for_one_person_and_one_call(sandbox: Console) -> None:
    await sandbox.page.goto(f"{sandbox.world.url}/console#breaking")
    await sandbox.page.get_by_label("Calls about").select_option("9000000000100001")
    await sandbox.page.get_by_label("For how long").select_option("1")
    await _answer(sandbox, "not_found")
    await sandbox.sees("for 1 more")
    [script] = sandbox.world.graph.world.scripts()
    assert script == {
        "scope": "user", "key": "9000000000100001", "answer": "not_found", "remaining": 1
    }  # fmt: skip


async def test_the_list_of_messages_survives_a_change_of_tab(sandbox: Console) -> None:
    await sandbox.page.goto(f"{sandbox.world.url}/console#sandbox")
    await sandbox.click("Send")
    await sandbox.sees("Named within")
    await sandbox.page.get_by_role("link", name="Break Meta").click()
    await expect(sandbox.page.get_by_role("heading", name="Break Meta")).to_be_visible()
    await sandbox.page.get_by_role("link", name="Test DM").click()
    await sandbox.sees("Named within")


async def test_strangers_get_names_and_faces_in_the_toy_inbox(
    sandbox: Console, browsing: BrowserContext
) -> None:
    page = await browsing.new_page()  # whose clock stays changed
    await page.clock.install()
    await page.goto(f"{sandbox.world.url}/inbox")
    await page.get_by_role("button", name="Have a stranger write").click()
    first = page.locator("li").last
    await expect(first.locator("b")).to_contain_text("@")
    await expect(first.locator("b")).not_to_contain_text("@user_")
    await expect(first.locator("img")).to_have_js_property("naturalWidth", 64)
    await page.clock.fast_forward(15_000)
    await expect(page.locator("li")).to_have_count(7)  # six write by themselves
    await page.close()


async def test_the_toy_inbox_is_the_page_of_the_documentation(world: World) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{world.url}/inbox") as page:
        assert await page.read() == (PROJECT / "docs" / "inbox-example.html").read_bytes()
