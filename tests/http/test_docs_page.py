"""`/docs` and what it loads: from this service alone, whatever network there is."""

import asyncio
import gzip
import re
from asyncio.subprocess import PIPE
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest

from service.http.pages import STATIC, Pages, content_security_policy
from service.http.server import PREFIX
from tests.answers import Answer
from tests.http.conftest import PATIENCE_S, Client
from tests.programs import find_program

VIEWER = "/static/docs/rapidoc-min.js"
BROWSER_STARTS_WITHIN_S = 60


class Loaded(HTMLParser):
    """Notes what a page loads, and every script or style that stands in it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.addresses += [named[n] or "" for n in ("src", "href", "spec-url") if n in named]
        if tag == "style" or (tag == "script" and "src" not in named):
            self.inline.append(tag)
        self.inline += [name for name in named if name == "style" or name.startswith("on")]


async def fetch(client: Client, path: str, **headers: str) -> Answer:
    """Get a page without a key, its body as it came over the wire."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    url = client.url.removesuffix(PREFIX) + path
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(url, headers={"Accept-Encoding": "identity"} | sent) as response,
    ):
        return await Answer.of(response)


@pytest.fixture
def client(shared_client: Client) -> Client:
    """Share one service: nothing that it serves is changed."""
    return shared_client


@pytest.mark.asyncio(loop_scope="session")
async def test_the_page_and_all_it_loads_are_served_here(client: Client) -> None:
    page = await fetch(client, "/docs")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    loaded = Loaded()
    loaded.feed(page.body.decode())
    assert {"openapi.json", VIEWER.removeprefix("/")} <= set(loaded.addresses)
    for address in loaded.addresses:
        assert ":" not in address
        assert not address.startswith("/")
        assert (await fetch(client, f"/{address}")).status == 200
    assert not loaded.inline


@pytest.mark.asyncio(loop_scope="session")
async def test_the_policy_lets_nothing_in_from_elsewhere(client: Client) -> None:
    page = await fetch(client, "/docs")
    directives = dict(
        directive.strip().split(" ", 1)
        for directive in page.headers["Content-Security-Policy"].split(";")
    )
    assert directives["default-src"] == "'self'"
    assert directives["frame-ancestors"] == directives["base-uri"] == "'none'"
    assert "script-src" not in directives
    assert not re.search(r"https?:|\*|unsafe-eval", str(directives))
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"


def test_a_policy_is_strict_but_for_what_is_named() -> None:
    policy = content_security_policy(img_src="'self' data:", default_src="'none'")
    assert policy.startswith("default-src 'none'; ")
    assert "img-src 'self' data:" in policy
    assert "object-src 'none'" in policy


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", VIEWER])
@pytest.mark.asyncio(loop_scope="session")
async def test_a_copy_that_is_good_is_not_sent_again(client: Client, path: str) -> None:
    first = await fetch(client, path)
    assert first.headers["Cache-Control"] == "no-cache"
    again = await fetch(client, path, If_None_Match=f'"other", {first.headers["ETag"]}')
    assert (again.status, again.body) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert (await fetch(client, path, If_None_Match='"other"')).status == 200


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("*", "gzip"),
        ("br", None),
        ("", None),
        ("gzip;q=0", None),
        ("deflate, gzip; q=0.0", None),
    ],
)
@pytest.mark.asyncio(loop_scope="session")
async def test_what_is_large_is_packed_for_who_takes_it(
    client: Client, accepted: str, encoding: str | None
) -> None:
    plain = (STATIC / "docs" / "rapidoc-min.js").read_bytes()
    answer = await fetch(client, VIEWER, Accept_Encoding=accepted)
    assert answer.headers.get("Content-Encoding") == encoding
    assert (gzip.decompress(answer.body) if encoding else answer.body) == plain
    assert answer.headers["ETag"].endswith('-gzip"') == bool(encoding)
    assert answer.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path",
    [
        "/static/docs/nothing.js",
        "/static/docs",
        "/static/docs/",
        "/static//docs/docs.css",
        "/static/../pages.py",
        "/static/%2e%2e/pages.py",
        "/static/docs/..%2f..%2fpages.py",
        "/static/docs/docs.css%00",
        "/static/docs%5cdocs.css",
        "/static/" + "x" * 4000,
        "/docs/",
    ],
)
@pytest.mark.asyncio(loop_scope="session")
async def test_nothing_else_is_served(client: Client, path: str) -> None:
    port = client.running.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"application/problem+json" in answer


def test_a_file_of_no_known_kind_is_not_served(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("not for everybody")
    (tmp_path / "page.html").write_text("for everybody")
    assert Pages(_with_docs(tmp_path)).names == ["docs/index.html", "page.html"]


def _with_docs(folder: Path) -> Path:
    (folder / "docs").mkdir()
    (folder / "docs" / "index.html").touch()
    return folder


def test_vendored_code_has_its_version_and_licences_beside_it_and_no_source_map() -> None:
    folder = STATIC / "docs"
    code = (folder / "rapidoc-min.js").read_text()
    [version] = set(re.findall(r"RapiDoc (\d+\.\d+\.\d+)", code))
    assert f"RapiDoc {version}" in (folder / "README.txt").read_text()
    licences = (folder / "rapidoc-min.js.LICENSE.txt").read_text()
    assert "MIT License" in licences
    assert "BSD-3-Clause" in licences
    assert "sourceMappingURL" not in code
    assert not list(folder.glob("*.map"))


@pytest.mark.timeout(2 * BROWSER_STARTS_WITHIN_S)
@pytest.mark.needs_program("chromium")
@pytest.mark.asyncio(loop_scope="session")
async def test_a_browser_shows_the_document_under_the_policy(
    client: Client, tmp_path: Path
) -> None:
    page, said = await _dump(client.url.removesuffix(PREFIX) + "/docs", tmp_path)
    assert 'aria-busy="false"' in page, said
    assert "Content Security Policy" not in said
    assert "Refused to" not in said


async def _dump(url: str, profile: Path) -> tuple[str, str]:
    """Open a page, no network but loopback; give what became of it and what the console said."""
    browser = await asyncio.create_subprocess_exec(
        find_program("chromium") or "",
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *("--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={profile}"),
        *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr"),
        *("--virtual-time-budget=10000", "--dump-dom", url),
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(BROWSER_STARTS_WITHIN_S):
            page, said = await browser.communicate()
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
    return page.decode(), said.decode(errors="replace")
