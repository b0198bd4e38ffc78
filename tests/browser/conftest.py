"""A Chromium that watches its pages, and a service with data for the console."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    async_playwright,
    expect,
)
from pydantic import SecretStr

from sandbox.graph.simulator import GraphSimulator
from sandbox.ports import free_port
from sandbox.routes import SandboxRoutes
from sandbox.sample_traffic import SAMPLE_ACCOUNT, SAMPLE_TOKEN
from service.app import Running, service
from service.settings import Settings
from tests.browser.inbox import Inbox
from tests.http.conftest import APP_SECRET, ENCRYPTION_KEY, INBOX_KEY, OPERATOR_KEY
from tests.programs import find_program
from tests.tables import EMPTY_TABLES
from tests.until import until

PATIENCE_MS = 60_000
LOCATION = "loc_1"
CONNECTION = f"/connections/{SAMPLE_ACCOUNT}"
VIEWPORT: ViewportSize = {"width": 1280, "height": 720}

expect.set_options(timeout=PATIENCE_MS)


@dataclass
class World:
    """The sandbox's service with a Graph simulator that knows the sample account.

    The tests of a module share it. One that stops the service or changes its settings gets it
    started again for the next.
    """

    graph: GraphSimulator
    db: asyncpg.Connection
    usual_settings: Settings
    signs_in: bool
    settings: Settings = field(init=False)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    is_as_usual: bool = False
    _running: Running | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.usual_settings.port}"

    async def begin(self) -> None:
        """Forget the test before: its people, accounts and pauses, and what it told Graph."""
        if not self.is_as_usual:
            await self.stop()
            self.settings = self.usual_settings
            await self.start()
            self.is_as_usual = True
        self.graph.reset()
        await self.db.execute("DELETE FROM instagram_participants")
        await until(self._is_idle)
        await self.db.execute(EMPTY_TABLES)
        self.graph.reset()
        self.graph.add_account(SAMPLE_ACCOUNT, SAMPLE_TOKEN)

    async def start(self, *, in_sandbox: bool = True) -> None:
        """Start it as in production, or with the sandbox's routes."""
        sandbox = SandboxRoutes(self.settings, self.url)
        of_sandbox = sandbox.routes if self.signs_in else sandbox.console_routes
        started = service(self.settings, of_sandbox if in_sandbox else None)
        self._running = await self.stack.enter_async_context(started)

    async def stop(self) -> None:
        self.is_as_usual = False
        await self.stack.aclose()

    async def restart(self, **changed: object) -> None:
        """Start it again with other settings."""
        await self.stop()
        self.settings = self.settings.model_copy(update=changed)
        await self.start()

    async def connect(self) -> None:
        """Connect the sample account, as a script does."""
        body = {"locationId": LOCATION, "accessToken": SAMPLE_TOKEN}
        async with aiohttp.ClientSession() as session:
            await Inbox(self.url, session).ask("PUT", CONNECTION, OPERATOR_KEY, body)

    async def end_pauses(self) -> None:
        await self.db.execute("DELETE FROM instagram_pauses")

    async def _is_idle(self) -> bool:
        assert self._running is not None
        return self._running.queue.depth == self._running.queue.in_flight == 0

    async def add_strangers(self, count: int, *, first: int = 1) -> list[str]:
        """Add people who wrote and were not fetched."""
        ids = [str(6_600_000_000_000_000 + first + n) for n in range(count)]
        await self.db.execute(
            "INSERT INTO instagram_participants (ig_account_id, ig_user_id, first_message_at,"
            " last_message_at, due_at) SELECT $1, unnest($2::text[]), now(), now(), NULL",
            SAMPLE_ACCOUNT,
            ids,
        )
        return ids

    async def add_named(self, count: int, account: str = SAMPLE_ACCOUNT, *, first: int = 1) -> None:
        """Add people with names who wrote a second apart: jane.1, john.2, jane.3 …"""
        await self.db.execute(
            "INSERT INTO instagram_user_cache (ig_user_id, username, name, last_fetched_at)"
            " SELECT 7700000000000000 + n, (ARRAY['john.', 'jane.'])[1 + n % 2] || n,"
            " (ARRAY['John', 'Jane'])[1 + n % 2] || ' Doe', now() FROM"
            " generate_series($1::bigint, $1 + $2 - 1) n",
            first,
            count,
        )
        await self.db.execute(
            "INSERT INTO instagram_participants (ig_account_id, ig_user_id, last_message_at,"
            " due_at) SELECT $1, 7700000000000000 + n, now() - n * interval '1 s', NULL FROM"
            " generate_series($2::bigint, $2 + $3 - 1) n",
            account,
            first,
            count,
        )

    async def add_account(self, ig_account_id: str, location: str, username: str) -> None:
        """Connect an account that is not called."""
        await self.db.execute(
            "INSERT INTO instagram_connections (ig_account_id, location_id, access_token, username)"
            " VALUES ($1, $2, 'plain', $3)",
            ig_account_id,
            location,
            username,
        )

    async def add_failed(self, ig_user_id: str, fail_count: int, failed_at: datetime) -> None:
        """Add a person whose fetch failed without consent."""
        await self.db.execute(
            "INSERT INTO instagram_participants (ig_account_id, ig_user_id, first_message_at,"
            " last_message_at, due_at) VALUES ($1, $2, now(), now(),"
            " CASE WHEN $3::integer < 5 THEN $4::timestamptz + interval '1 h' END)",
            SAMPLE_ACCOUNT,
            ig_user_id,
            fail_count,
            failed_at,
        )
        await self.db.execute(
            "INSERT INTO instagram_user_cache (ig_user_id, fail_count, last_failed_at, last_error)"
            """ VALUES ($1, $2, $3, '{"reason": "consent_required", "code": 230}')""",
            ig_user_id,
            fail_count,
            failed_at,
        )


@pytest.fixture(scope="module")
def signs_in() -> bool:
    """Tell whether the module's service hands out its key, as the sandbox does."""
    return False


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world_of_the_module(
    database_of_the_module: str,
    signs_in: bool,  # noqa: FBT001 - a fixture
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        graph = await stack.enter_async_context(GraphSimulator(app_secret=APP_SECRET))
        db = await asyncpg.connect(database_of_the_module)
        stack.push_async_callback(db.close)
        world = World(graph, db, _settings(database_of_the_module, graph), signs_in)
        stack.push_async_callback(world.stop)
        yield world


@pytest_asyncio.fixture(loop_scope="session")
async def world(world_of_the_module: World) -> World:
    """Give the module's world, with a running service and empty tables."""
    await world_of_the_module.begin()
    return world_of_the_module


def _settings(database_url: str, graph: GraphSimulator) -> Settings:
    values: dict[str, Any] = {
        "_env_file": None,
        "database_url": database_url,
        "meta_app_secrets": APP_SECRET,
        "meta_verify_token": "a-verify-token-for-tests",
        "inbox_api_keys": INBOX_KEY,
        "operator_api_keys": OPERATOR_KEY,
        "token_encryption_keys": ENCRYPTION_KEY,
        "graph_base_url": graph.url,
        "instagram_graph_base_url": graph.instagram_url,
        "graph_calls_per_second": 500,
        "graph_timeout_seconds": 30,
        "picture_hosts": graph.album.origin,
        "intake_url": SecretStr(""),
        "migrate_on_start": False,
        "host": "127.0.0.1",
        "port": free_port(),
        "shutdown_timeout_seconds": 1,
    }
    return Settings(**values)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Start Debian's Chromium; as root without its sandbox."""
    async with async_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(
            executable_path=find_program("chromium"), args=arguments
        )
        yield browser
        await browser.close()


class Watched:
    """A page and its errors: exceptions, violations of the policy, requests to other hosts."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.wrong: list[str] = []
        self._url = url
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._note_message)
        page.on("request", self._note_request)

    def _note_message(self, message: ConsoleMessage) -> None:
        is_of_network = message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning") and not is_of_network:
            self.wrong.append(message.text)

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((self._url, "data:")):
            self.wrong.append(f"asked another host: {request.url}")


class Console:
    """The console in a browser."""

    def __init__(self, page: Page, world: World) -> None:
        self.page = page
        self.world = world

    async def open(self, view: str = "") -> None:
        await self.page.goto(f"{self.world.url}/console#{view}")

    async def give_key(self, key: str) -> None:
        await self.open()
        await self.page.get_by_label("Operator key").fill(key)
        await self.page.keyboard.press("Enter")

    async def sign_in(self, view: str = "health") -> None:
        """Open a view as a tab that has the key already does."""
        await self.page.evaluate("key => sessionStorage.setItem('operator-key', key)", OPERATOR_KEY)
        await self.open(view)
        await expect(self.page.get_by_role("navigation")).to_be_visible()

    async def sees(self, text: str) -> None:
        await expect(self.page.get_by_text(text).first).to_be_visible()

    async def click(self, name: str) -> None:
        await self.page.get_by_role("button", name=name).click()

    async def connect(self) -> None:
        """Store the sample account's token, as an operator does."""
        await self.open("accounts")
        await self.click("Connect an account")
        await self.page.get_by_label("Account id").fill(SAMPLE_ACCOUNT)
        await self.page.get_by_label("Location").fill(LOCATION)
        await self.page.get_by_label("Access token").fill(SAMPLE_TOKEN)
        await self.click("Save")
        await self.sees("Token accepted")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browsing(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """Share a cache, in a time zone with a half-hour offset; the console stores only in its tab."""
    context = await chromium.new_context(
        timezone_id="Asia/Kolkata", locale="en-US", viewport=VIEWPORT, reduced_motion="reduce"
    )
    yield context
    await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tab(browsing: BrowserContext, world_of_the_module: World) -> AsyncIterator[Watched]:
    """Open one tab for the console: a new one for each test would take twice the time."""
    page = await browsing.new_page()
    yield Watched(page, world_of_the_module.url)
    await page.close()


@pytest_asyncio.fixture(loop_scope="session")
async def console(tab: Watched, world: World) -> AsyncIterator[Console]:
    """Give the console in a tab that knows nothing yet; fails after an error in the page."""
    await tab.page.goto(f"{world.url}/healthz")
    await tab.page.evaluate("sessionStorage.clear()")
    tab.wrong.clear()
    yield Console(tab.page, world)
    await tab.page.unroute_all()
    await tab.page.set_viewport_size(VIEWPORT)
    await tab.page.emulate_media(color_scheme="light")
    await tab.page.goto("about:blank")
    assert tab.wrong == []


def minutes_ago(minutes: float) -> datetime:
    """Return a time before now."""
    return datetime.now(UTC) - timedelta(minutes=minutes)
