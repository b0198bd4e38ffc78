import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from service.http.grant_signing import LONGEST_S, Grants
from tests.http.conftest import (
    ENCRYPTION_KEY,
    INBOX_KEY,
    OPERATOR_KEY,
    USER,
    Client,
    EventStream,
    Start,
)

OTHER_KEY = base64.urlsafe_b64encode(b"another encryption key, 32 bytes").decode()
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
PICTURE = f"/users/{USER}/picture"
Clock = Callable[[], datetime]


def grants(*keys: str, after_s: float = 0) -> Grants:
    """Give the grants of a replica whose clock shows so many seconds after NOW."""
    return Grants(keys or (ENCRYPTION_KEY,), lambda: NOW + timedelta(seconds=after_s))


GOOD = grants().issue(600).grant


def test_a_grant_lasts_as_long_as_was_asked_and_no_longer() -> None:
    issued = grants().issue(600)
    assert issued.expires_at == NOW + timedelta(minutes=10)
    assert grants(after_s=599.9).expiry(issued.grant) == issued.expires_at
    assert grants(after_s=600).expiry(issued.grant) is None


def test_a_grant_outlives_a_rotation_of_keys_until_its_key_is_gone() -> None:
    assert grants(OTHER_KEY, ENCRYPTION_KEY).expiry(GOOD) is not None
    assert grants(OTHER_KEY).expiry(GOOD) is None
    assert grants(OTHER_KEY).expiry(grants(OTHER_KEY, ENCRYPTION_KEY).issue(60).grant) is not None


def test_a_grant_is_not_shown_where_it_is_printed() -> None:
    assert GOOD not in repr(grants().issue(600))


def test_a_grant_needs_no_escaping_in_an_address() -> None:
    assert set(GOOD) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@given(at=st.integers(0, len(GOOD) - 1), character=st.characters(exclude_categories=["Cs"]))
def test_no_character_of_a_grant_can_be_changed(at: int, character: str) -> None:
    forged = GOOD[:at] + character + GOOD[at + 1 :]
    assert (grants().expiry(forged) is not None) == (forged == GOOD)


@given(st.integers(0, len(GOOD)), st.text(min_size=1), st.integers(0, len(GOOD)))
def test_nothing_can_be_put_into_a_grant_or_cut_out_of_it(at: int, more: str, cut: int) -> None:
    for forged in (GOOD[:at] + more + GOOD[at:], GOOD[:at] + GOOD[at + cut :]):
        assert (grants().expiry(forged) is not None) == (forged == GOOD)


@given(st.text())
def test_whatever_else_is_no_grant(text: str) -> None:
    assert grants().expiry(text) is None


@given(st.integers(1, LONGEST_S), st.integers(0, 10**15))
def test_the_end_of_a_grant_can_not_be_moved(lifetime_s: int, until_ms: int) -> None:
    issued = grants().issue(lifetime_s).grant
    version, end, signature = issued.split(".")
    forged = f"{version}.{until_ms}.{signature}"
    assert (grants().expiry(forged) is not None) == (str(until_ms) == end)


async def test_a_server_is_given_a_grant_with_its_key(client: Client) -> None:
    asked_at = datetime.now(UTC)
    for key in (INBOX_KEY, OPERATOR_KEY):
        answer = await client.call("POST", "/grants", key)
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.json.keys() == {"grant", "expiresAt"}
        ends_at = datetime.fromisoformat(answer.json["expiresAt"])
        assert timedelta(seconds=599) < ends_at - asked_at < timedelta(seconds=660)


@pytest.mark.parametrize(
    "body",
    [
        *('{"expiresIn": 0}', '{"expiresIn": 3601}', '{"expiresIn": -1}', '{"expiresIn": "600"}'),
        *(
            '{"expiresIn": true}',
            '{"expiresIn": 1.5}',
            '{"expiresIn": null}',
            '{"expiresIn": 1e99}',
            '{"expiresIn": 600, "scope": "operator"}',
        ),
        *("[]", "600", "{", '"\\ud83d"', "[" * 20_000, "\udcff"),
    ],
)
async def test_a_wrong_lifetime_is_refused(client: Client, body: str) -> None:
    answer = await client.call("POST", "/grants", data=body.encode(errors="surrogateescape"))
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("body", ['{"expiresIn": 3600}', '{"expiresIn": 1}', "{}", ""])
async def test_a_lifetime_is_a_second_to_an_hour(client: Client, body: str) -> None:
    assert (await client.call("POST", "/grants", data=body)).status == 200


async def test_a_grant_opens_what_browsers_need_and_nothing_else(client: Client) -> None:
    grant = await client.grant()
    for path in (PICTURE, f"/users/{USER}", "/users"):
        assert (await client.get(f"{path}?ids={USER}&grant={grant}", key=None)).status == 200
        assert (await client.get(f"{path}?ids={USER}&grant={grant}x", key=None)).status == 401
    async with EventStream(f"{client.url}/users/events?grant={grant}&ids={USER}") as stream:
        assert stream.response.status == 200
    for method, path in [
        *(("POST", "/grants"), ("GET", "/status"), ("GET", "/people"), ("POST", "/users/erase")),
        *(("DELETE", f"/users/{USER}"), ("POST", f"/users/{USER}/refresh")),
        *(("GET", "/connections"), ("PUT", "/connections/1"), ("DELETE", "/connections/1")),
        ("POST", "/messages/backfill"),
    ]:
        for key in (None, grant):
            answer = await client.call(method, f"{path}?ids={USER}&grant={grant}", key)
            assert answer.status == 401, path


async def test_a_grant_of_one_replica_is_good_on_another(start: Start) -> None:
    grant = await (await start()).grant()
    other = await start()
    assert (await other.get(f"{PICTURE}?grant={grant}", key=None)).status == 200


@pytest.mark.parametrize("grant", ["", "x", GOOD, "v1.99999999999999." + "A" * 43, "%00", "%F0"])
async def test_a_grant_that_has_ended_or_is_forged_is_refused(client: Client, grant: str) -> None:
    for path in (PICTURE, "/users/events"):
        answer = await client.get(f"{path}?grant={grant}", key=None)
        assert answer.status == 401
        assert answer.json["status"] == 401
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_right_key_opens_whatever_grant_comes_with_it(client: Client) -> None:
    assert (await client.get(f"{PICTURE}?grant=x")).status == 200
    answer = await client.get(f"{PICTURE}?grant={await client.grant()}", key="not-a-key-of-ours")
    assert answer.status == 401


async def test_grants_that_have_ended_do_not_lock_an_address_out(client: Client) -> None:
    for _ in range(30):
        assert (await client.get(f"{PICTURE}?grant={GOOD}", key=None)).status == 401
    assert (await client.get(PICTURE, key="not-a-key-of-ours")).status == 401


async def test_a_grant_is_in_no_log_line(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("service.http.pictures.initials", lambda _: 1 / 0)
    grant = await client.grant()
    with structlog.testing.capture_logs([structlog.processors.dict_tracebacks]) as logs:
        assert (await client.get(f"{PICTURE}?grant={grant}", key=None)).status == 500
        assert (await client.get(f"{PICTURE}?grant={grant}x", key=None)).status == 401
    assert any(line["event"] == "a handler failed" for line in logs)
    assert grant not in repr(logs) + "".join(capsys.readouterr())
