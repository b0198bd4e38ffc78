"""Behind a real nginx that ends TLS and serves the service under a path: docs/callers.md."""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, expect

from sandbox.graph.faces import SIDE
from sandbox.ports import free_port
from sandbox.sample_traffic import SAMPLE_ACCOUNT, SAMPLE_TOKEN
from tests.browser.conftest import LOCATION, Watched, World
from tests.browser.inbox import Inbox, expect_sides, own_server
from tests.certificates import PrivateAuthority
from tests.clients.guide import section
from tests.http.conftest import OPERATOR_KEY
from tests.nginx import nginx

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_program("chromium", "nginx"),
]
USERS = ["7700000000000001", "7700000000000002"]


@dataclass
class Behind:
    """The service at an address with a path, and a client that trusts its certificate."""

    url: str
    session: aiohttp.ClientSession


@pytest_asyncio.fixture(loop_scope="session")
async def behind(world: World, tmp_path: Path) -> AsyncIterator[Behind]:
    """Start nginx with what the guide shows."""
    port, authority = free_port(), PrivateAuthority()
    for name, text in zip(("cert.pem", "key.pem"), authority.issue("localhost"), strict=True):
        (tmp_path / name).write_text(text)
    [shown] = [text for language, text in section("A browser page") if language == "nginx"]
    location = shown.replace("http://identity:8080", world.url)
    tls = f"ssl_certificate {tmp_path}/cert.pem; ssl_certificate_key {tmp_path}/key.pem;"
    http = f"server {{ listen 127.0.0.1:{port} ssl; {tls} {location} }}"
    trusting = ssl.create_default_context(cadata=authority.certificate)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(nginx(tmp_path, http, port))
        connector = aiohttp.TCPConnector(ssl=trusting)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Behind(f"https://localhost:{port}/identity", session)


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser) -> AsyncIterator[Page]:
    context = await chromium.new_context(ignore_https_errors=True)  # of nobody's authority
    yield await context.new_page()
    await context.close()


async def test_a_page_of_another_origin_shows_names_and_pictures_and_hears_of_new_ones(
    behind: Behind, page: Page
) -> None:
    inbox = Inbox(behind.url, behind.session)
    connection = {"locationId": LOCATION, "accessToken": SAMPLE_TOKEN}
    await inbox.ask("PUT", f"/connections/{SAMPLE_ACCOUNT}", OPERATOR_KEY, connection)
    await inbox.write(USERS[:1])
    await inbox.until_known(USERS[:1], 1)
    async with TestServer(own_server(inbox, USERS)) as elsewhere:
        await page.goto(str(elsewhere.make_url("/inbox.html")))
        await expect(page.get_by_role("status")).to_have_text("Watching.")
        names = page.locator("li b")
        await expect(names).to_have_text([re.compile("^@(?!user_)"), "@user_000002"])
        await inbox.write(USERS[1:])
        await expect(names.nth(1)).not_to_have_text("@user_000002")
        await expect_sides(page, [SIDE, SIDE])


async def test_the_documentation_and_the_console_work_there(behind: Behind, page: Page) -> None:
    watched = Watched(page, behind.url)
    await page.goto(f"{behind.url}/docs")
    await expect(page.locator("rapi-doc")).to_have_attribute("aria-busy", "false")
    called = await page.evaluate("document.querySelector('rapi-doc').selectedServer.computedUrl")
    assert called == behind.url
    await page.goto(f"{behind.url}/")
    await expect(page).to_have_url(f"{behind.url}/console")
    await page.get_by_label("Operator key").fill(OPERATOR_KEY)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("navigation")).to_be_visible()
    assert watched.wrong == []
