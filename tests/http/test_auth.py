import base64
import itertools
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from service.http.auth import Keyring
from service.http.grant_signing import Grants
from service.http.guesses import Guesses
from service.http.heads import GRANTED
from service.http.problems import ProblemError, envelope

INBOX_KEYS = ("inbox-key-number-one", "inbox-key-number-two")
OPERATOR_KEYS = ("operator-key-number-one", "operator-key-number-two")
GRANT_KEY = base64.urlsafe_b64encode(bytes(32)).decode()
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


class Site:
    """Three site routes, `/inbox`, `/operator` and `/browser`, and a clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.wrong = 0
        self.grants = Grants((GRANT_KEY,), clock=lambda: NOW + timedelta(seconds=self.now_s))
        self.keyring = Keyring(
            INBOX_KEYS, OPERATOR_KEYS, Guesses("keys", self._count, clock=lambda: self.now_s)
        )
        self.origin = ""

    async def ask(
        self, path: str, authorization: str | None = None, **query: str
    ) -> tuple[int, str, dict[str, str]]:
        headers = {} if authorization is None else {"Authorization": authorization}
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.origin + path, headers=headers, params=query) as response,
        ):
            return response.status, await response.text(), dict(response.headers)

    async def status(self, path: str, authorization: str | None = None, **query: str) -> int:
        return (await self.ask(path, authorization, **query))[0]

    def application(self) -> web.Application:
        application = web.Application(middlewares=[envelope])
        browser = self.keyring.for_inbox_or_grant(self.grants, _show_grant)
        application.router.add_get("/inbox", self.keyring.for_inbox(_open))
        application.router.add_get("/operator", self.keyring.for_operator(_open))
        application.router.add_get("/browser", browser)
        return application

    def _count(self) -> None:
        self.wrong += 1


async def _open(_: web.Request) -> web.Response:
    return web.Response(text="open")


async def _show_grant(request: web.Request) -> web.Response:
    granted = request.get(GRANTED)
    return web.Response(text=str(granted and granted.until))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    async with TestServer(made.application()) as server:
        made.origin = str(server.make_url("")).rstrip("/")
        yield made


@pytest.mark.parametrize("key", INBOX_KEYS)
async def test_an_inbox_key_opens_the_inbox_and_nothing_of_the_operators(
    site: Site, key: str
) -> None:
    assert await site.status("/inbox", f"Bearer {key}") == 200
    assert await site.status("/operator", f"Bearer {key}") == 403


@pytest.mark.parametrize("key", OPERATOR_KEYS)
async def test_an_operator_key_opens_both(site: Site, key: str) -> None:
    assert await site.status("/inbox", f"Bearer {key}") == 200
    assert await site.status("/operator", f"Bearer {key}") == 200


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
async def test_the_schemes_case_and_spaces_do_not_matter(site: Site, scheme: str) -> None:
    assert await site.status("/inbox", f"{scheme} {INBOX_KEYS[0]} ") == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        INBOX_KEYS[0],
        f"Basic {INBOX_KEYS[0]}",
        f"Token {OPERATOR_KEYS[0]}",
        "Bearer wrong",
        f"Bearer {INBOX_KEYS[0]}x",
        f"Bearer {INBOX_KEYS[0][:-1]}",
        f"Bearer {INBOX_KEYS[0].upper()}",
        f"Bearer {','.join(INBOX_KEYS)}",
        "Bearer schlüssel-aus-dem-süden",
        "Bearer \udcff\udcfe",
    ],
)
@pytest.mark.parametrize("path", ["/inbox", "/operator", "/browser"])
async def test_anything_else_is_401_and_says_what_is_missing(
    site: Site, path: str, authorization: str | None
) -> None:
    status, body, headers = await site.ask(path, authorization)
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert headers["Content-Type"] == "application/problem+json"
    assert INBOX_KEYS[0] not in body


async def test_a_key_is_not_looked_for_in_the_address(site: Site) -> None:
    assert await site.status("/inbox", key=INBOX_KEYS[0], access_token=INBOX_KEYS[0]) == 401


async def test_after_20_wrong_keys_in_a_minute_wrong_keys_are_429_and_right_ones_pass(
    site: Site,
) -> None:
    assert [await site.status("/inbox", "Bearer wrong") for _ in range(20)] == [401] * 20
    with capture_logs() as told:
        status, _, headers = await site.ask("/operator", "Bearer wrong")
    assert (status, headers["Retry-After"]) == (429, "60")
    assert [event["event"] for event in told] == ["too many wrong keys"]
    assert await site.status("/inbox", f"Bearer {INBOX_KEYS[0]}") == 200
    assert await site.status("/operator", f"Bearer {OPERATOR_KEYS[0]}") == 200
    assert site.wrong == 21


async def test_a_minute_later_wrong_keys_are_401_again(site: Site) -> None:
    for _ in range(21):
        await site.status("/inbox", "Bearer wrong")
    site.now_s = 60.0
    assert await site.status("/inbox", "Bearer wrong") == 401


async def test_wrong_keys_count_within_any_minute_not_by_the_clocks(site: Site) -> None:
    for _ in range(20):
        site.now_s += 3.2
        assert await site.status("/inbox", "Bearer wrong") == 401
    statuses = []
    for _ in range(3):
        site.now_s += 0.1
        statuses.append(await site.status("/inbox", "Bearer wrong"))
    assert statuses == [401, 429, 429]


async def test_a_missing_key_is_no_wrong_key(site: Site) -> None:
    for _ in range(25):
        assert await site.status("/inbox") == 401
    assert site.wrong == 0
    assert await site.status("/inbox", "Bearer wrong") == 401


async def test_an_address_does_not_pay_for_anothers_wrong_keys(site: Site) -> None:
    for _ in range(21):
        await site.status("/inbox", "Bearer wrong")
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(site.origin + "/inbox", headers={"Authorization": "Bearer wrong"}) as response,
    ):
        assert response.status == 401


def test_memory_of_wrong_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.guesses._MOST_ADDRESSES", 3)
    guesses = Guesses("keys", lambda: None)
    for number in itertools.chain(range(100), range(100)):
        guesses.refuse(f"192.0.2.{number}")
    assert len(guesses._times) == 3


async def test_the_addresses_of_one_ipv6_network_are_counted_together() -> None:
    guesses = Guesses("keys", lambda: None, clock=lambda: 0.0)
    for number in range(20):
        guesses.refuse(f"2001:db8:0:1::{number:x}")
    with pytest.raises(ProblemError) as refused:
        guesses.refuse("2001:db8:0:1:ffff::")
    assert refused.value.status == 429
    guesses.refuse("2001:db8:0:2::1")


@pytest.mark.parametrize("path", ["/inbox", "/operator", "/browser"])
async def test_two_authorization_headers_are_refused(site: Site, path: str) -> None:
    twice = [("Authorization", f"Bearer {key}") for key in (OPERATOR_KEYS[0], "wrong")]
    for headers in (twice, twice[::-1]):
        async with (
            aiohttp.ClientSession() as session,
            session.get(site.origin + path, headers=headers) as response,
        ):
            assert response.status == 400


async def test_two_grants_are_refused(site: Site) -> None:
    grant = site.grants.issue(60).grant
    assert await site.status(f"/browser?grant={grant}&grant={grant}") == 401


async def test_a_grant_opens_the_browsers_routes_until_it_ends(site: Site) -> None:
    grant = site.grants.issue(60)
    status, body, _ = await site.ask("/browser", grant=grant.grant)
    assert (status, body) == (200, str(grant.expires_at))
    site.now_s = 60.0
    assert await site.status("/browser", grant=grant.grant) == 401


async def test_a_grant_opens_nothing_else(site: Site) -> None:
    grant = site.grants.issue(60).grant
    assert await site.status("/inbox", grant=grant) == 401
    assert await site.status("/operator", grant=grant) == 401
    assert await site.status("/browser", f"Bearer {grant}") == 401


async def test_a_key_opens_the_browsers_routes_whatever_the_grant(site: Site) -> None:
    for key in (*INBOX_KEYS, *OPERATOR_KEYS):
        assert await site.status("/browser", f"Bearer {key}", grant="ended") == 200


async def test_a_grant_that_has_ended_is_no_wrong_key(site: Site) -> None:
    for _ in range(25):
        assert await site.status("/browser", grant="v1.0.x") == 401
    assert site.wrong == 0


async def test_no_key_is_in_what_prints_of_a_keyring(site: Site) -> None:
    assert "key-number" not in f"{site.keyring!r} {vars(site.keyring)}"
