"""The console as operators see and use it: a real service, a simulated Graph, a real browser."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta, timezone
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from sandbox.sample_traffic import RESOLVED, SAMPLE_TOKEN
from service.http.pages import STATIC
from tests.browser.conftest import Console, World, minutes_ago
from tests.http.conftest import INBOX_KEY, OPERATOR_KEY

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.needs_program("chromium"),
]

BLANK = "http://blank.test/"
USER = "1254459154682919"
KOLKATA = timezone(timedelta(hours=5, minutes=30))
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
VIEWS = (
    "health",
    "people",
    "people/1254459154682919",
    "accounts",
    "backfill",
    "sandbox",
    "breaking",
)

# Names of what can be operated, as assistive technology is told them.
NAMELESS = """
() => [...document.querySelectorAll("a, button, input, select, progress, meter, dialog, img")]
  .filter((it) => !(it.getAttribute("aria-label") || it.textContent.trim() || it.labels?.length
    || it.getAttribute("aria-labelledby") || it.hasAttribute("alt")))
  .map((it) => it.outerHTML)
"""


# Keys


NO_OPERATORS_KEYS = {
    "a-key-that-nobody-has": "The service does not know this key.",
    INBOX_KEY: "This is an inbox key. The console needs an operator key.",
    "a key with spaces": "no spaces",
    "": "Type an operator key.",
}


async def test_a_key_that_is_no_operators_opens_nothing(console: Console) -> None:
    for key, says in NO_OPERATORS_KEYS.items():
        await console.give_key(key)
        await expect(console.page.get_by_role("alert")).to_contain_text(says)
        await expect(console.page.get_by_role("navigation")).to_have_count(0)
        assert await console.page.evaluate("sessionStorage.length") == 0


async def test_an_address_with_too_many_wrong_keys_is_told_to_wait(console: Console) -> None:
    console.world.is_as_usual = False  # it will refuse this machine's keys for a minute
    await console.give_key("wrong-key-number-1")
    await console.sees("The service does not know this key.")
    await console.page.evaluate(
        "() => Promise.all(Array.from({length: 20}, () =>"
        " fetch('console/context', {headers: {Authorization: 'Bearer wrong'}})))"
    )
    await console.page.keyboard.press("Enter")
    await console.sees("Wait a minute, then try again.")


async def test_a_tab_alone_keeps_the_key_until_it_signs_out(console: Console) -> None:
    await console.sign_in()
    await console.sees("Wrote in the last hour")
    await console.page.reload()
    await console.sees("Wrote in the last hour")
    assert await console.page.evaluate("localStorage.length") == 0
    assert await console.page.evaluate("document.cookie") == ""
    assert OPERATOR_KEY not in console.page.url
    other = await console.page.context.new_page()
    await other.goto(f"{console.world.url}/console")
    await expect(other.get_by_label("Operator key")).to_be_visible()
    await other.close()
    await console.click("Sign out")
    await expect(console.page.get_by_label("Operator key")).to_be_focused()
    assert await console.page.evaluate("sessionStorage.length") == 0


async def test_a_key_that_is_taken_away_ends_the_session_in_words(console: Console) -> None:
    await console.sign_in()
    await console.sees("Wrote in the last hour")
    await console.page.evaluate("sessionStorage.setItem('operator-key', 'a-key-since-removed')")
    await console.sees("The service does not know this key.")
    await expect(console.page.get_by_role("navigation")).to_have_count(0)


# Health


async def test_health_begins_with_what_is_to_do_and_then_shows_the_figures(
    console: Console,
) -> None:
    await console.sign_in()
    await console.sees("No account is connected yet")
    await console.connect()
    await console.open("sandbox")
    await console.click("Send")
    await console.sees("Named within")
    await console.open("health")
    await console.sees("People get their names")
    tile = console.page.locator(".tile", has_text="Wrote in the last hour")
    await expect(tile.locator(".figure")).to_have_text("1")
    await expect(console.page.get_by_role("figure")).to_have_count(3)
    await console.sees("Nothing is paused.")


async def test_a_dead_token_is_told_with_its_cure_and_the_cure_works(console: Console) -> None:
    await console.world.connect()
    await console.sign_in()
    sender = RESOLVED.ig_user_id  # of this user's call alone, or a token check could come first
    console.world.graph.set_answer("token_revoked", user=sender)
    await console.open("sandbox")
    await console.page.get_by_label("From").select_option(sender)
    await console.click("Send")
    await console.sees("Meta refuses the account's token.")
    await console.open("health")
    await console.sees("Get a new token from Meta and store it")
    failures = console.page.get_by_role("row", name=re.compile("token_invalid"))
    await expect(failures).to_contain_text("concerns the account")
    console.world.graph.set_answer(None, user=sender)
    await console.page.get_by_role("link", name="Go to the account").click()
    await console.sees("Token refused")
    await console.click("Replace the token")
    await console.page.get_by_label("Access token").fill(SAMPLE_TOKEN)
    await console.page.keyboard.press("Enter")
    await console.sees("Works")
    await console.open("health")
    await console.sees("People get their names")


async def test_a_service_that_has_gone_is_told_and_what_was_known_stays(console: Console) -> None:
    await console.sign_in()
    await console.sees("live")
    await console.world.stop()
    await console.sees("The service can't be reached.")
    await console.sees("no answer since")
    await expect(console.page.locator(".tile")).to_have_count(5)
    await console.world.start()
    await console.sees("No account is connected yet")


# People


async def test_a_failure_is_told_in_plain_words_and_the_viewers_time(console: Console) -> None:
    failed_at = minutes_ago(2)
    await console.world.add_failed(USER, 3, failed_at)
    await console.world.connect()
    await console.sign_in(f"people/{USER}")
    next_try = failed_at + timedelta(hours=1)
    there = next_try.astimezone(KOLKATA)
    said = console.page.locator(".story p").first
    await expect(said).to_contain_text("Meta says this person has not consented; next try")
    await expect(said).to_contain_text(f"{there:%H:%M}; 3 of 5 tries used.")
    utc = f"{next_try:%Y-%m-%d %H:%M:%S} UTC"
    await expect(said.locator("time")).to_have_attribute("title", utc)
    await console.sees("@user_682919")


async def test_a_person_who_was_given_up_is_told_and_a_refresh_begins_anew(
    console: Console,
) -> None:
    await console.world.add_failed(USER, 5, minutes_ago(60))
    await console.world.connect()
    await console.sign_in(f"people/{USER}")
    await console.sees("5 of 5 tries used, so the service has stopped trying.")
    await console.click("Refresh")
    await console.sees("The name is fresh.")
    await console.sees("0 of 5")


async def test_erasing_asks_first_and_is_spoken(console: Console) -> None:
    await console.world.add_failed(USER, 1, minutes_ago(2))
    await console.sign_in(f"people/{USER}")
    erase = console.page.get_by_role("button", name="Erase …")
    await erase.click()
    await expect(console.page.get_by_role("button", name="Keep")).to_be_focused()
    await console.page.keyboard.press("Escape")
    await expect(erase).to_be_focused()
    assert await _held(console.world) == 1
    await erase.click()
    await console.click("Erase for good")
    await console.sees("Nothing is held about")
    await expect(console.page.locator("#announcer")).to_have_text("Erased.")
    await expect(console.page.locator("#announcer")).to_have_attribute("aria-live", "polite")
    assert await _held(console.world) == 0


async def _held(world: World) -> int:
    return int(await world.db.fetchval("SELECT count(*) FROM instagram_participants"))


# Backfill


async def test_a_backfill_goes_on_until_nothing_remains(console: Console) -> None:
    ids = await console.world.add_strangers(60)
    console.world.graph.set_answer("consent_required", user=ids[0])
    await console.world.connect()
    await console.sign_in("backfill")
    await console.click("Start loc_1")
    await console.sees("60 of 60")
    await console.sees("59 named, 1 failed")
    await console.sees("1 × Meta says this person has not consented")
    await expect(console.page.get_by_role("progressbar")).to_have_js_property("value", 60)
    await console.open("health")
    await console.open("backfill")
    await console.sees("60 of 60")


async def test_a_backfill_can_be_stopped(console: Console) -> None:
    await console.world.add_strangers(3)
    await console.world.connect()
    await console.sign_in()
    console.world.graph.hold()
    await console.open("backfill")
    await console.click("Start loc_1")
    await console.world.graph.wait_for_calls(1)
    await console.click("Stop loc_1")
    await console.sees("Stopped. What was asked for already is still fetched.")
    await expect(console.page.get_by_role("button", name="Start loc_1")).to_be_visible()
    console.world.graph.release()


async def test_a_backfill_that_can_not_get_on_says_why(console: Console) -> None:
    await console.world.add_strangers(3)
    await console.world.connect()
    await console.sign_in()
    console.world.graph.set_answer("token_revoked")
    await console.open("backfill")
    await console.click("Start loc_1")
    await console.sees("Meta refuses the account's token. 3 people stay queued")


# The sandbox


async def test_a_test_message_shows_how_a_stranger_gets_a_name(console: Console) -> None:
    await console.world.connect()
    await console.sign_in()
    await console.page.get_by_role("link", name="Test DM").click()
    await console.click("Send")
    await console.sees("Named within")
    await console.page.get_by_role("link", name="Look up").click()
    await console.sees("The name is fresh.")


# For everybody


async def test_everything_can_be_reached_by_keyboard(console: Console) -> None:
    await console.open()
    await expect(console.page.get_by_label("Operator key")).to_be_focused()
    await console.page.keyboard.type(OPERATOR_KEY)
    await console.page.keyboard.press("Enter")
    await expect(console.page.get_by_role("heading", name="Health")).to_be_focused()
    await console.page.keyboard.press("Shift+Tab")
    await expect(console.page.get_by_role("button", name="Sign out")).to_be_focused()
    for name in ("Break Meta", "Test DM", "Backfill", "Accounts", "People"):
        await console.page.keyboard.press("Shift+Tab")
        await expect(console.page.get_by_role("link", name=name)).to_be_focused()
    await console.page.keyboard.press("Enter")
    await expect(console.page.get_by_role("heading", name="People")).to_be_visible()


async def test_every_view_names_what_can_be_operated_and_fits_a_narrow_screen(
    console: Console,
) -> None:
    await console.page.set_viewport_size({"width": 360, "height": 740})
    await console.world.add_failed(USER, 1, minutes_ago(2))
    await console.world.connect()
    await console.sign_in()
    for view in VIEWS:
        await console.open(view)
        await expect(console.page.locator("main h2")).to_be_visible()
        await _settled(console.page)
        assert await console.page.evaluate(NAMELESS) == [], view
        width = await console.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, view


async def test_text_stands_out_in_both_schemes(console: Console) -> None:
    await console.sign_in()
    await console.sees("No account is connected yet")
    for scheme in SCHEMES:
        await console.page.emulate_media(color_scheme=scheme)
        assert await console.page.evaluate(CONTRASTS) == [], scheme


async def _settled(page: Page) -> None:
    """Wait until the first figures are there."""
    await expect(page.locator(".pulse.good")).to_be_visible()


# WCAG 2.2, 1.4.3: a text's colour against its ground is 4.5 to 1 or better.
CONTRASTS = """
() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (color) => { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); };
  const light = (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = () => {
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((c) => light(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (it) => {
    if (it) { ground(it.parentElement); paint(getComputedStyle(it).backgroundColor); }
  };
  const ratio = (it) => {
    paint("white"); ground(it); const below = luminance();
    paint(getComputedStyle(it).color); const above = luminance();
    return (Math.max(above, below) + 0.05) / (Math.min(above, below) + 0.05);
  };
  const texts = [...document.body.querySelectorAll("*")].filter((it) =>
    it.checkVisibility() && !it.closest(".skip, .unseen, .plot") &&
    [...it.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim()));
  return texts.map((it) => [it.outerHTML.slice(0, 90), ratio(it)]).filter(([, r]) => r < 4.5);
}
"""


# What the page computes


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def blank(chromium: Browser) -> AsyncIterator[Page]:
    """Give a page that imports the console's scripts from their folder; no service."""

    async def answer(route: Route) -> None:
        name = route.request.url.removeprefix(BLANK)
        if name:
            await route.fulfill(path=STATIC / name)
        else:
            await route.fulfill(body="<!doctype html>", content_type="text/html")

    page = await chromium.new_page()
    await page.route("**/*", answer)
    await page.goto(BLANK)
    yield page
    await page.close()


async def test_prometheus_text_is_read_with_its_escapes(blank: Page) -> None:
    text = '# HELP x y\nx_total{a="1",b="q\\"\\\\"} 2\nx_total{a="2",b=""} 3e1\nz +Inf\n'
    script = """async (text) => {
      const { parse, total } = await import("./console/prometheus.js");
      const series = parse(text);
      return [total(series, "x_total"), series.get("x_total")[0].labels, total(series, "z")];
    }"""
    read = await blank.evaluate(script, text)
    assert read == [32, {"a": "1", "b": 'q"\\'}, float("inf")]


async def test_replicas_are_added_up_and_a_restart_is_no_negative_rate(blank: Page) -> None:
    script = """async () => {
      const { Figures } = await import("./console/figures.js");
      const text = (began, received, waiting) => `instagram_contacts_created ${began}\\n` +
        `instagram_contacts_total ${received}\\ninstagram_queue_depth ${waiting}\\n` +
        `instagram_graph_calls_total{outcome="timeout"} ${received / 10}\\n`;
      const figures = new Figures();
      figures.add(text(1, 100, 2), 1000);
      figures.add(text(2, 50, 3), 1002);
      figures.add(text(1, 140, 4), 1004);
      figures.add(text(2, 70, 1), 1006);
      const minute = { at: "2026-11-22T10:58:00Z", received: 60, named: 30, calls: 90,
        failures: { timeout: 4 }, depth: 3 };
      figures.addHistory({ replica: "a", minutes: [minute] }, 1000);
      figures.addHistory({ replica: "b", minutes: [minute] }, 1000);
      figures.addHistory({ replica: "b", minutes: [minute] }, 1002);
      const past = figures.minutes(Date.parse("2026-11-22T11:00:10Z") / 1000);
      const two = [figures.replicas, figures.totals.received, figures.points.at(-1).received,
        figures.points.at(-1).waiting, figures.failures];
      figures.add(text(3, 1, 0), 1008);
      return [...two, figures.points.at(-1).received, figures.points.length, past.length,
        past.at(-2)];
    }"""
    computed = await blank.evaluate(script)
    replicas, received, rate, waiting, failures, after, points, minutes, minute = computed
    assert (replicas, received, rate, waiting, points) == (2, 210, 15, 5, 5)
    assert failures == [{"outcome": "timeout", "count": 21, "lately": 8}]
    assert (minutes, minute["received"], minute["settled"], minute["waiting"]) == (60, 2, 1, 6)
    assert after == 15


async def test_a_picture_comes_from_this_service_by_a_grant(console: Console) -> None:
    picture = console.world.graph.album.body(USER)
    await console.world.db.execute(
        "INSERT INTO instagram_user_cache (ig_user_id, username, profile_pic_url, last_fetched_at)"
        " VALUES ($1, 'jane.doe', 'javascript:alert(1)', now())",
        USER,
    )
    await console.world.db.execute(
        "INSERT INTO instagram_pictures (ig_user_id, sha256, content_type, bytes, copied_at)"
        " VALUES ($1, repeat('a', 64), 'image/png', $2, now())",
        USER,
        picture,
    )
    await console.sign_in(f"people/{USER}")
    shown = console.page.get_by_role("img", name="Profile picture of @jane.doe")
    await expect(shown).to_have_js_property("complete", value=True)
    assert await shown.evaluate("image => image.naturalWidth") > 0
    source = str(await shown.get_attribute("src"))
    assert source.startswith(f"{console.world.url}/api/social/instagram/users/{USER}/picture?")
    assert "grant=v1." in source


async def test_a_reason_that_every_object_inherits_does_not_empty_the_page(
    console: Console,
) -> None:
    reasons = ["__proto__", "constructor", "toString"]
    await console.world.db.execute(
        "INSERT INTO instagram_pauses (scope, until, reason) SELECT 'account:' || ordinal,"
        " now() + interval '1 day', reason"
        " FROM unnest($1::text[]) WITH ORDINALITY listed(reason, ordinal)",
        reasons,
    )
    await console.sign_in()
    for reason in reasons:
        await console.sees(reason)
    await expect(console.page.get_by_role("navigation")).to_be_visible()
