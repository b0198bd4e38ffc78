from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from sandbox.graph.albums import picture_url
from sandbox.graph.simulator import GraphSimulator
from service.http.pictures import initials, is_metas
from service.model import CachedIdentity, Identity, Rules, identity
from tests.http.conftest import ACCOUNT, APP_SECRET, TOKEN, USER, Client, Start

PICTURE = f"/users/{USER}/picture"
META_HOSTS = ("cdninstagram.com", "fbcdn.net", "fbsbx.com")
NEW = """
INSERT INTO instagram_user_cache (ig_user_id, username, name, profile_pic_url, last_fetched_at,
    expires_at) VALUES ($1, $2, $3, $4, now() - $5::interval, $6)
"""
AGE = """
UPDATE instagram_user_cache
SET profile_pic_url = $1, expires_at = $2, last_fetched_at = now() - interval '1 day'
"""
HOUR = timedelta(hours=1)


async def put(
    db: asyncpg.Connection,
    url: str | None,
    *,
    username: str | None = "jane.doe",
    name: str | None = "Jane Doe",
    fetched_ago: timedelta = timedelta(minutes=1),
    expires_at: datetime | None = None,
) -> None:
    await db.execute(NEW, USER, username, name, url, fetched_ago, expires_at)


def url_for(left: timedelta) -> str:
    """Give the address of a picture that expires so much later than now."""
    return picture_url(USER, expires_at=(datetime.now(UTC) + left).timestamp())


def max_age(cache_control: str) -> int:
    scope, age = cache_control.split(", ")
    assert scope == "private"
    return int(age.removeprefix("max-age="))


def text_of(svg: bytes) -> str:
    """Give what the drawing says; fails if it is not well-formed or holds anything else."""
    root = ET.fromstring(svg)  # noqa: S314 - our own
    assert [child.tag.split("}")[1] for child in root] == ["rect", "text"]
    return root[1].text or ""


def shown(name: str | None, username: str | None = None) -> Identity:
    cached = CachedIdentity(USER, username=username, name=name)
    return identity(cached, datetime.now(UTC), Rules())


async def test_a_live_picture_is_metas_own_address_unchanged(
    client: Client, db: asyncpg.Connection
) -> None:
    url = url_for(timedelta(days=3)) + "&efg=a%2Bb%3D%3D&sig=%7e~'()*"
    await put(db, url)
    answer = await client.get(PICTURE)
    assert (answer.status, answer.headers["Location"]) == (302, url)
    assert max_age(answer.headers["Cache-Control"]) == 3600
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Request-ID"]


async def test_a_picture_is_cached_no_longer_than_it_lives(
    client: Client, db: asyncpg.Connection
) -> None:
    await put(db, url_for(timedelta(minutes=2)))
    answer = await client.get(PICTURE)
    assert answer.status == 302
    assert 0 < max_age(answer.headers["Cache-Control"]) <= 120


async def test_a_picture_of_unknown_expiry_is_live(client: Client, db: asyncpg.Connection) -> None:
    await put(db, "https://scontent.cdninstagram.com/v/picture.jpg?oe=never")
    answer = await client.get(PICTURE)
    assert answer.status == 302
    assert max_age(answer.headers["Cache-Control"]) == 3600


@pytest.mark.parametrize(
    ("name", "username", "expected"),
    [
        ("Jane Doe", "x", "JD"),
        ("  jane  van der doe ", None, "JD"),
        ("Jane Jones", None, "JJ"),
        (None, "jane_the.doe", "JD"),
        (" \u200b", "jane", "J"),
        ("<script>alert(1)</script> & Co", None, "SC"),
        ("Ümit Şahin", None, "ÜŞ"),
        ("小明", None, "小"),
        ("😀 <\"&'>", "jane", "?"),
        (None, None, "?"),
    ],
)
async def test_initials_stand_in_where_there_is_no_picture(
    client: Client, db: asyncpg.Connection, name: str | None, username: str | None, expected: str
) -> None:
    await put(db, None, name=name, username=username)
    answer = await client.get(PICTURE)
    assert answer.status == 200
    assert text_of(answer.body) == expected
    assert answer.headers["Content-Type"].split(";")[0] == "image/svg+xml"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert answer.headers["Content-Security-Policy"] == policy
    assert max_age(answer.headers["Cache-Control"]) <= 60


async def test_a_user_never_heard_of_has_a_picture_too(client: Client) -> None:
    answer = await client.get(PICTURE)
    assert (answer.status, text_of(answer.body)) == (200, "?")


@pytest.mark.parametrize("bad", ["abc", "1" * 33, "%D9%A1", "-1"])
async def test_what_is_no_id_is_refused(client: Client, bad: str) -> None:
    assert (await client.get(f"/users/{bad}/picture")).status == 400


async def test_a_picture_needs_a_key_or_a_grant(client: Client) -> None:
    answer = await client.get(PICTURE, key=None)
    assert answer.status == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert (await client.get(f"{PICTURE}?grant={await client.grant()}", key=None)).status == 200


async def test_no_other_route_is_open_to_other_origins(client: Client) -> None:
    answers = [
        await client.get(f"/users/{USER}"),
        await client.call("POST", "/grants"),
        await client.get("/status"),
        await client.get("/no/such/route"),
    ]
    assert all("Access-Control-Allow-Origin" not in answer.headers for answer in answers)


@pytest.mark.parametrize(
    "url",
    [
        "http://scontent.cdninstagram.com/p.jpg",
        "https://example.com/p.jpg",
        "https://cdninstagram.com.example.com/p.jpg",
        "https://notcdninstagram.com/p.jpg",
        "https://example.com/cdninstagram.com/p.jpg",
        "https://example.com#.fbcdn.net/",
        "https://example.com?.fbcdn.net/",
        "https://example.com\\.fbcdn.net/p.jpg",
        "https://example.com\\@fbcdn.net/p.jpg",
        "https://fbcdn.net@example.com/p.jpg",
        "https://user@fbcdn.net/p.jpg",
        "https://fbcdn.net:8443/p.jpg",
        "https://fbcdn.net./p.jpg",
        "https://fbcdn.net",
        "https://fbcdn.net/p.jpg\r\nSet-Cookie: a=b",
        "https://fbcdn.net/p.jpg\n",
        "https://fbcdn.net/\tp.jpg",
        " https://fbcdn.net/p.jpg",
        "https:fbcdn.net/p.jpg",
        "//fbcdn.net/p.jpg",
        "javascript:alert(1)//fbcdn.net/",
        "data:image/png;base64,",
        "https://fbcdn\u3002net/p.jpg",
        "https://\uff46bcdn.net/p.jpg",
        "https://fbcdn.net/" + "p" * 5000,
        "",
    ],
)
async def test_nobody_is_sent_elsewhere(client: Client, db: asyncpg.Connection, url: str) -> None:
    await put(db, url)
    answer = await client.get(PICTURE)
    assert (answer.status, text_of(answer.body)) == (200, "JD")


@pytest.mark.parametrize("host", [*META_HOSTS, *(f"a-1.xx.{host}" for host in META_HOSTS)])
def test_metas_hosts_are_known(host: str) -> None:
    assert is_metas(f"https://{host}/v/t51.2885-19/1_n.jpg?stp=a&oe=6A000000")
    assert is_metas(f"HTTPS://{host.upper()}/")


@given(st.text(max_size=20), st.sampled_from(META_HOSTS), st.text(max_size=20))
@example("evil.example/", "fbcdn.net", "")
@example("x@", "fbcdn.net", "")
@example("", "fbcdn.net", "@evil.example/")
@example("", "fbcdn.net", ".evil.example/")
def test_what_is_let_through_leads_to_meta(before: str, host: str, after: str) -> None:
    url = f"https://{before}{host}{after}"
    if is_metas(url):
        parsed = URL(url, encoded=True)
        assert (parsed.scheme, parsed.user, parsed.port) == ("https", None, 443)
        assert any(f".{parsed.host}".endswith(f".{meta}") for meta in META_HOSTS)
        assert url.isascii()
        assert url.isprintable()


@given(st.text(), st.text())
def test_initials_are_few_and_can_be_seen(name: str, username: str) -> None:
    letters = initials(shown(name, username))
    assert 1 <= len(letters) <= 6  # a letter may have three capitals
    assert letters.isprintable()


async def test_looking_at_an_expired_picture_has_it_fetched_anew(
    start: Start, db: asyncpg.Connection
) -> None:
    async with GraphSimulator(app_secret=APP_SECRET) as graph:
        graph.add_account(ACCOUNT, TOKEN)
        client = await _with_participant(start, graph)
        await db.execute(AGE, url_for(-HOUR), datetime.now(UTC) - HOUR)
        await _is_renewed(client, db)
        assert len(graph.calls_for(USER)) == 2


async def test_in_an_older_databases_row_a_picture_may_expire_before_its_identity(
    start: Start, db: asyncpg.Connection
) -> None:
    async with GraphSimulator(app_secret=APP_SECRET) as graph:
        graph.add_account(ACCOUNT, TOKEN)
        client = await _with_participant(start, graph)
        await db.execute(AGE, url_for(-HOUR), None)
        assert not (await client.get(f"/users/{USER}")).json["stale"]
        await _is_renewed(client, db)
        assert len(graph.calls_for(USER)) == 2


async def test_a_picture_that_never_lasts_is_not_fetched_again_and_again(
    start: Start, db: asyncpg.Connection
) -> None:
    async with GraphSimulator(app_secret=APP_SECRET) as graph:
        graph.add_account(ACCOUNT, TOKEN)
        expired = url_for(-HOUR)
        graph.set_profile(USER, profile_pic=expired)
        client = await _with_participant(start, graph)
        assert (await client.get(f"/users/{USER}")).json["profilePicUrl"] == expired
        for _ in range(3):
            assert (await client.get(PICTURE)).status == 200
        due = "SELECT count(*) FROM instagram_participants WHERE due_at IS NOT NULL OR forced"
        assert await db.fetchval(due) == 0
        assert len(graph.calls_for(USER)) == 1


async def _with_participant(start: Start, graph: GraphSimulator) -> Client:
    """Start a replica that has resolved the user."""
    client = await start(graph_base_url=graph.url)
    await client.connect_account()
    async with client.events(f"?ids={USER}") as stream:
        await client.write(USER)
        assert (await stream.identity())["state"] == "resolved"
    return client


async def _is_renewed(client: Client, db: asyncpg.Connection) -> None:
    """Look at a picture that has expired, see initials, and after the event the picture."""
    before = await db.fetchval("SELECT last_fetched_at FROM instagram_user_cache")
    async with client.events(f"?ids={USER}") as stream:
        answer = await client.get(PICTURE)
        assert answer.status == 200
        assert answer.headers["Content-Type"].split(";")[0] == "image/svg+xml"
        while datetime.fromisoformat((await stream.identity())["lastFetchedAt"]) == before:
            pass  # the change by hand is an event too, and may come late
    assert (await client.get(PICTURE)).status == 302
