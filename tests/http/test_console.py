"""The console's server side; tests/browser has what people see of it."""

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from sandbox.messages import MessageRoutes
from sandbox.sample_traffic import SAMPLE_ACCOUNT, SENDERS
from service.app import service
from service.http.pages import STATIC
from service.model.freshness import Rules
from tests.http.conftest import APP_SECRET, INBOX_KEY, OPERATOR_KEY, Client, MakeSettings

CONSOLE = STATIC / "console"
VENDOR = CONSOLE / "vendor"
OWN = [file for file in sorted(CONSOLE.iterdir()) if file.suffix in {".html", ".js", ".css"}]
SENDS = "/console/sandbox/messages"


@dataclass(frozen=True)
class Site:
    """A replica's pages; paths without the API's prefix."""

    url: str
    session: aiohttp.ClientSession

    async def call(
        self,
        method: str,
        path: str,
        key: str | None = None,
        **request: Any,  # noqa: ANN401 - aiohttp's arguments
    ) -> tuple[int, aiohttp.ClientResponse, bytes]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self.session.request(
            method, self.url + path, headers=headers, **request
        ) as response:
            return response.status, response, await response.read()

    async def json(self, path: str, key: str | None = None) -> Any:  # noqa: ANN401 - JSON
        status, response, body = await self.call("GET", path, key)
        assert status == 200, body
        return await response.json()


class Tags(HTMLParser):
    """The tags of a page, with their attributes, and the text within scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    @property
    def loaded(self) -> list[str]:
        """What the page loads."""
        wanted = [attrs.get("src") or attrs.get("href") for _, attrs in self.found]
        return [path for path in wanted if path and not path.startswith("#")]


@pytest.fixture
def site(shared_client: Client) -> Site:
    return Site(f"http://127.0.0.1:{shared_client.running.port}", shared_client.session)


@pytest_asyncio.fixture(loop_scope="session")
async def sandbox(site: Site, make_settings: MakeSettings) -> AsyncIterator[Site]:
    """Start a second replica as the sandbox runs it; its messages go to the first one's webhook."""
    messages = MessageRoutes(site.url, APP_SECRET)
    async with service(make_settings(), messages.routes) as running:
        yield Site(f"http://127.0.0.1:{running.port}", site.session)


@pytest.mark.asyncio(loop_scope="session")
async def test_the_page_is_there_for_everybody_and_may_load_from_this_service_only(
    site: Site,
) -> None:
    status, response, body = await site.call("GET", "/console")
    assert status == 200
    assert response.content_type == "text/html"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    policy = dict(
        part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
    }
    assert b"key-for-tests" not in body


@pytest.mark.asyncio(loop_scope="session")
async def test_a_copy_of_the_page_that_is_still_good_is_not_sent_again(site: Site) -> None:
    _, response, _ = await site.call("GET", "/console")
    async with site.session.get(
        f"{site.url}/console", headers={"If-None-Match": response.headers["ETag"]}
    ) as again:
        assert again.status == 304


@pytest.mark.asyncio(loop_scope="session")
async def test_all_that_the_page_loads_is_served(site: Site) -> None:
    _, _, body = await site.call("GET", "/console")
    loaded = Tags(body.decode()).loaded
    assert loaded
    for path in loaded:
        status, _, _ = await site.call("GET", f"/{path}")
        assert status == 200, path


@pytest.mark.parametrize("script", [f for f in OWN if f.suffix == ".js"], ids=lambda f: f.name)
@pytest.mark.asyncio(loop_scope="session")
async def test_all_that_a_script_imports_is_served(site: Site, script: Path) -> None:
    for path in re.findall(r'from "\./([^"]+)"', script.read_text()):
        status, response, _ = await site.call("GET", f"/static/console/{path}")
        assert (status, response.content_type) == (200, "text/javascript"), path


def test_the_page_has_no_inline_script_style_or_handler() -> None:
    page = (CONSOLE / "index.html").read_text()
    for tag, attrs in Tags(page).found:
        assert tag != "style"
        assert tag != "script" or attrs.get("src")
        assert not [name for name in attrs if name == "style" or name.startswith("on")]


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_nothing_names_another_host(file: Path) -> None:
    assert not re.search(r"https?://[a-z]", file.read_text())


def test_what_is_vendored_is_what_was_published_and_comes_with_its_licence() -> None:
    sums = re.findall(r"^([0-9a-f]{64})  (\S+)$", (VENDOR / "README.txt").read_text(), re.MULTILINE)
    listed = {name: sha256 for sha256, name in sums}
    files = [f for f in VENDOR.glob("*/*.*s") if not f.name.endswith(".d.ts")]  # types are ours
    shipped = {f.relative_to(VENDOR).as_posix(): f for f in files}
    assert {name: hashlib.sha256(f.read_bytes()).hexdigest() for name, f in shipped.items()} == (
        listed
    )
    assert all((file.parent / "LICENSE.txt").is_file() for file in shipped.values())
    assert (VENDOR / "preact" / "LICENSE.txt").is_file()


@pytest.mark.asyncio(loop_scope="session")
async def test_the_rules_are_for_operators(site: Site) -> None:
    assert (await site.call("GET", "/console/context"))[0] == 401
    assert (await site.call("GET", "/console/context", INBOX_KEY))[0] == 403


@pytest.mark.asyncio(loop_scope="session")
async def test_the_page_explains_by_the_rules_of_this_service(
    make_settings: MakeSettings,
    site: Site,
) -> None:
    rules = Rules()
    waits = [wait.total_seconds() for wait in rules.retry_waits]
    usual = {"maxFailures": rules.max_failures, "retryWaitsSeconds": waits, "sandbox": False}
    assert await site.json("/console/context", OPERATOR_KEY) == usual
    async with service(make_settings(max_failures=3)) as running:
        other = Site(f"http://127.0.0.1:{running.port}", site.session)
        assert (await other.json("/console/context", OPERATOR_KEY))["maxFailures"] == 3


@pytest.mark.asyncio(loop_scope="session")
async def test_production_has_no_route_for_test_messages(site: Site) -> None:
    assert (await site.call("GET", "/console/sandbox", OPERATOR_KEY))[0] == 404
    assert (await site.call("POST", SENDS, OPERATOR_KEY, json={}))[0] == 404


@pytest.mark.asyncio(loop_scope="session")
async def test_the_sandbox_tells_the_page_what_it_has_to_offer(sandbox: Site) -> None:
    assert (await sandbox.json("/console/context", OPERATOR_KEY))["sandbox"] is True
    offer = await sandbox.json("/console/sandbox", OPERATOR_KEY)
    assert [person["igUserId"] for person in offer["people"]] == [s.ig_user_id for s in SENDERS]


@pytest.mark.parametrize(("key", "status"), [(None, 401), (INBOX_KEY, 403)])
@pytest.mark.asyncio(loop_scope="session")
async def test_only_operators_send_test_messages(
    sandbox: Site, key: str | None, status: int
) -> None:
    assert (await sandbox.call("GET", "/console/sandbox", key))[0] == status
    assert (await sandbox.call("POST", SENDS, key, json={}))[0] == status


@pytest.mark.parametrize("wanted", [{}, {"igUserId": "77", "text": "Hi"}])
@pytest.mark.asyncio(loop_scope="session")
async def test_a_test_message_goes_through_the_service(
    sandbox: Site, database_of_the_module: str, wanted: dict[str, str]
) -> None:
    status, response, _ = await sandbox.call("POST", SENDS, OPERATOR_KEY, json=wanted)
    sent = await response.json()
    assert status == 200
    assert sent["igUserId"] == wanted.get("igUserId", sent["igUserId"])
    assert sent["ackMs"] >= 0
    db = await asyncpg.connect(database_of_the_module)
    query = "SELECT ig_account_id FROM instagram_participants WHERE ig_user_id = $1"
    assert await db.fetchval(query, sent["igUserId"]) == SAMPLE_ACCOUNT
    await db.close()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"igUserId": "x"}', b'{"who": "1"}', b"\xff"])
@pytest.mark.asyncio(loop_scope="session")
async def test_a_test_message_that_makes_no_sense_is_refused(sandbox: Site, body: bytes) -> None:
    assert (await sandbox.call("POST", SENDS, OPERATOR_KEY, data=body))[0] == 400


@pytest.mark.asyncio(loop_scope="session")
async def test_a_webhook_that_does_not_answer_is_told(
    site: Site,
    make_settings: MakeSettings,
) -> None:
    messages = MessageRoutes("http://127.0.0.1:9", APP_SECRET)
    async with service(make_settings(), messages.routes) as running:
        other = Site(f"http://127.0.0.1:{running.port}", site.session)
        status, response, _ = await other.call("POST", SENDS, OPERATOR_KEY, json={})
        assert (status, (await response.json())["detail"]) == (502, "The webhook did not answer.")


@pytest.mark.asyncio(loop_scope="session")
async def test_a_webhook_that_refuses_is_told(
    site: Site,
    make_settings: MakeSettings,
) -> None:
    async with service(make_settings(), MessageRoutes(site.url, "another").routes) as running:
        other = Site(f"http://127.0.0.1:{running.port}", site.session)
        status, response, _ = await other.call("POST", SENDS, OPERATOR_KEY, json={})
        assert (status, (await response.json())["detail"]) == (502, "The webhook answered 401.")
