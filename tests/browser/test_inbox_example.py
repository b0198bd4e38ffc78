"""The example page, on an origin of its own: names and pictures of people in another service's."""

from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Request, expect

from sandbox.graph.faces import SIDE
from sandbox.graph.world import Thread
from sandbox.sample_traffic import SAMPLE_ACCOUNT, SAMPLE_TOKEN
from tests.browser.conftest import LOCATION, World
from tests.browser.inbox import GRANT_LASTS_S, Inbox, expect_sides, own_server
from tests.http.conftest import INBOX_KEY, OPERATOR_KEY
from tests.until import until

PEOPLE, REFUSED, EXPIRED = 20, 4, 3
INITIALS_SIDE = 150  # of an SVG that names no width

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_program("chromium"),
]


async def _refuse(world: World, users: list[str]) -> None:
    for number, user in enumerate(users):
        world.graph.set_answer("consent_required", user=user)
        world.graph.set_thread(user, SAMPLE_ACCOUNT, Thread(username=f"refused.{number}"))


async def _expire(world: World, users: list[str]) -> None:
    """Let the pictures' addresses end; Meta's host refuses them from now on."""
    ended = (datetime.now(UTC) - timedelta(hours=1)).timestamp()
    for user in users:
        await world.db.execute(
            "UPDATE instagram_user_cache SET profile_pic_url = $2 WHERE ig_user_id = $1",
            user,
            world.graph.album.url(user, ended),
        )


async def test_another_origin_shows_names_and_pictures_of_everybody(
    world: World, chromium: Browser
) -> None:
    """20 people: Meta refuses the profiles of 4, the picture addresses of 3 have expired."""
    users = [str(7_700_000_000_000_000 + number) for number in range(PEOPLE)]
    refused, expired = users[:REFUSED], users[REFUSED : REFUSED + EXPIRED]
    await _refuse(world, refused)
    async with aiohttp.ClientSession() as session:
        inbox = Inbox(world.url, session)
        connection = {"locationId": LOCATION, "accessToken": SAMPLE_TOKEN}
        await inbox.ask("PUT", f"/connections/{SAMPLE_ACCOUNT}", OPERATOR_KEY, connection)
        await inbox.write(users)
        await inbox.until_known(users, PEOPLE - REFUSED)
        await _expire(world, expired)
        names = await inbox.ask("GET", f"/users?ids={','.join(users)}", INBOX_KEY)
        found = names["users"]
        assert isinstance(found, list)
        async with TestServer(own_server(inbox, users)) as elsewhere:
            page = await chromium.new_page()
            asked: list[str] = []
            page.on("request", lambda request: asked.append(_origin(request)))
            address = elsewhere.make_url("/inbox.html")
            await page.goto(str(address))
            await expect(page.locator("li")).to_have_count(PEOPLE)
            await expect(page.locator("li b")).to_have_text([user["displayName"] for user in found])
            drawn = [INITIALS_SIDE] * REFUSED
            await expect_sides(page, drawn + [SIDE] * (PEOPLE - REFUSED))
            assert set(asked) == {str(address.origin()), world.url}  # no browser meets Meta
            await page.close()


async def test_the_page_gets_a_new_grant_before_the_old_one_ends(
    world: World, chromium: Browser
) -> None:
    async with aiohttp.ClientSession() as session:
        inbox = Inbox(world.url, session)
        async with TestServer(own_server(inbox, [])) as elsewhere:
            page = await chromium.new_page()
            streams: set[str] = set()
            page.on("request", lambda r: streams.add(r.url) if "/events" in r.url else None)
            await page.clock.install()
            await page.goto(str(elsewhere.make_url("/inbox.html")))
            await page.clock.run_for(100)
            await expect(page.get_by_role("status")).to_have_text("Watching.")
            await page.clock.fast_forward(GRANT_LASTS_S * 700)
            assert len(streams) == 1
            await page.clock.fast_forward(GRANT_LASTS_S * 150)

            async def has_renewed() -> bool:
                return len(streams) == 2

            await until(has_renewed)
            await page.close()


def _origin(request: Request) -> str:
    return "/".join(request.url.split("/")[:3])
