"""The example page, on an origin of its own: names and pictures of people in another service's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, Request, expect

from sandbox import samples
from sandbox.graph.faces import SIDE
from sandbox.graph.world import Thread
from sandbox.sample_traffic import SAMPLE_ACCOUNT, SAMPLE_TOKEN
from tests.browser.conftest import LOCATION, World
from tests.http.conftest import APP_SECRET, INBOX_KEY, OPERATOR_KEY
from tests.until import until

EXAMPLE = Path(__file__).parents[2] / "docs" / "inbox-example.html"
API = "/api/social/instagram"
GRANT_LASTS_S = 600
PEOPLE, REFUSED, EXPIRED = 20, 4, 3
INITIALS_SIDE = 150  # of an SVG that names no width

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Inbox:
    """An inbox's server: it writes for people, and asks for grants with its key."""

    def __init__(self, world: World, session: aiohttp.ClientSession) -> None:
        self.url = world.url
        self._session = session

    async def ask(self, method: str, path: str, key: str, body: object = None) -> dict[str, object]:
        headers = {"Authorization": f"Bearer {key}"}
        async with self._session.request(
            method, f"{self.url}{API}{path}", headers=headers, json=body
        ) as answer:
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())

    async def write(self, users: list[str]) -> None:
        items = [samples.message(user, SAMPLE_ACCOUNT) for user in users]
        body = samples.delivery(samples.entry(SAMPLE_ACCOUNT, *items))
        headers = samples.signed_headers(body, APP_SECRET)
        url = f"{self.url}{API}/webhook"
        async with self._session.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200

    async def until_known(self, users: list[str], pictures: int) -> None:
        """Wait until everybody has a name, and so many have a picture."""

        async def are_known() -> bool:
            found = (await self.ask("GET", f"/users?ids={','.join(users)}", INBOX_KEY))["users"]
            assert isinstance(found, list)
            shown = sum(each["pictureUrl"] is not None for each in found)
            return shown == pictures and not any(each["isPlaceholder"] for each in found)

        await until(are_known)


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
        inbox = Inbox(world, session)
        connection = {"locationId": LOCATION, "accessToken": SAMPLE_TOKEN}
        await inbox.ask("PUT", f"/connections/{SAMPLE_ACCOUNT}", OPERATOR_KEY, connection)
        await inbox.write(users)
        await inbox.until_known(users, PEOPLE - REFUSED)
        await _expire(world, expired)
        names = await inbox.ask("GET", f"/users?ids={','.join(users)}", INBOX_KEY)
        found = names["users"]
        assert isinstance(found, list)
        async with TestServer(_own_server(inbox, users)) as elsewhere:
            page = await chromium.new_page()
            asked: list[str] = []
            page.on("request", lambda request: asked.append(_origin(request)))
            address = elsewhere.make_url("/inbox.html")
            await page.goto(str(address))
            await expect(page.locator("li")).to_have_count(PEOPLE)
            await expect(page.locator("li b")).to_have_text([user["displayName"] for user in found])
            sides = await _sides_of_pictures(page)
            assert sides == [INITIALS_SIDE] * REFUSED + [SIDE] * (PEOPLE - REFUSED)
            assert set(asked) == {str(address.origin()), world.url}  # no browser meets Meta
            await page.close()


async def test_the_page_gets_a_new_grant_before_the_old_one_ends(
    world: World, chromium: Browser
) -> None:
    async with aiohttp.ClientSession() as session:
        inbox = Inbox(world, session)
        async with TestServer(_own_server(inbox, [])) as elsewhere:
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


def _own_server(inbox: Inbox, users: list[str]) -> web.Application:
    """What a front-end developer's own server has: the page, its conversations, its key."""

    async def page(_: web.Request) -> web.Response:
        copied = EXAMPLE.read_text()
        assert copied.count('const service = "";') == 1
        copied = copied.replace('const service = "";', f'const service = "{inbox.url}";')
        return web.Response(text=copied, content_type="text/html")

    async def grant(_: web.Request) -> web.Response:
        lasts = {"expiresIn": GRANT_LASTS_S}
        return web.json_response(await inbox.ask("POST", "/grants", INBOX_KEY, lasts))

    async def conversations(_: web.Request) -> web.Response:
        return web.json_response([{"igUserId": user, "text": "Hello!"} for user in users])

    async def stranger(_: web.Request) -> web.Response:
        return web.json_response({})

    site = web.Application()
    site.router.add_get("/inbox.html", page)
    site.router.add_post("/inbox/grant", grant)
    site.router.add_get("/inbox/conversations", conversations)
    site.router.add_post("/inbox/strangers", stranger)
    return site


def _origin(request: Request) -> str:
    return "/".join(request.url.split("/")[:3])


async def _sides_of_pictures(page: Page) -> list[int]:
    """Wait until every picture is drawn, and give their widths; a broken one has none."""
    drawn = "Promise.all([...document.images].map((image) => image.decode()))"
    await page.evaluate(drawn)
    return list(await page.evaluate("[...document.images].map((image) => image.naturalWidth)"))
