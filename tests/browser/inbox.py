"""What the developers of an inbox have: a server of their own that holds the key, and the page."""

from pathlib import Path

import aiohttp
from aiohttp import web
from playwright.async_api import Page, expect

from sandbox import samples
from sandbox.sample_traffic import SAMPLE_ACCOUNT
from tests.http.conftest import APP_SECRET, INBOX_KEY
from tests.until import until

EXAMPLE = Path(__file__).parents[2] / "docs" / "inbox-example.html"
API = "/api/social/instagram"
GRANT_LASTS_S = 600


class Inbox:
    """An inbox's server: it writes for people, and asks for grants with its key."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
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


def own_server(inbox: Inbox, users: list[str]) -> web.Application:
    """Serve the page, its conversations, and grants that are made with the key."""

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


async def expect_sides(page: Page, sides: list[int]) -> None:
    """Wait until the pictures have these widths, in their order.

    `image.decode()` would not wait: a browser shows the old picture until the new one has come.
    """
    pictures = page.locator("img")
    await expect(pictures).to_have_count(len(sides))
    for number, side in enumerate(sides):
        await expect(pictures.nth(number)).to_have_js_property("naturalWidth", side)
