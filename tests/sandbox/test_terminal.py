from pathlib import Path

from sandbox.terminal import Browser
from tests.until import until

URL = "http://127.0.0.1:8080/"


def test_without_a_screen_no_browser_opens() -> None:
    assert not Browser({"PATH": "/usr/bin"}).open(URL)
    assert not Browser({"BROWSER": "no-such-browser-anywhere"}).open(URL)


async def test_the_browser_that_is_named_gets_the_address(tmp_path: Path) -> None:
    noted, browser = tmp_path / "noted", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {noted}.new && mv {noted}.new {noted}\n')
    browser.chmod(0o700)
    assert Browser({"BROWSER": str(browser)}).open(URL)

    async def has_noted() -> bool:
        return noted.exists()

    await until(has_noted)
    assert noted.read_text() == URL
