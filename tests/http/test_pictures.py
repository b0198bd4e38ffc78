import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.graph.albums import PictureAnswer, picture_url
from sandbox.graph.faces import face
from sandbox.graph.simulator import GraphSimulator
from service.http import pictures
from service.http.pictures import initials
from tests.http.conftest import ACCOUNT, API, APP_SECRET, OTHER, TOKEN, USER, Client, Start
from tests.until import until

PICTURE = f"/users/{USER}/picture"
META_HOSTS = "cdninstagram.com,fbcdn.net,fbsbx.com"
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


def version(body: bytes) -> str:
    """Give the address that the identity shows for these bytes."""
    return f"{API}{PICTURE}?v={hashlib.sha256(body).hexdigest()[:8]}"


@pytest.fixture
async def graph() -> AsyncIterator[GraphSimulator]:
    async with GraphSimulator(app_secret=APP_SECRET) as graph:
        graph.add_account(ACCOUNT, TOKEN)
        yield graph


@pytest.fixture
async def copying(start: Start, graph: GraphSimulator) -> Client:
    """Start a replica that copies the simulator's pictures, and has an account."""
    client = await start(graph_base_url=graph.url, picture_hosts=graph.album.origin)
    await client.connect_account()
    return client


@pytest.fixture
async def linking(start: Start) -> Client:
    """Start a replica that sends browsers to Meta's hosts."""
    return await start(pictures="link", picture_hosts=META_HOSTS)


async def until_shown(client: Client, body: bytes, user: str = USER) -> None:
    """Look the user up until the identity shows a picture of these bytes."""

    async def is_shown() -> bool:
        shown = (await client.get(f"/users/{user}")).json["pictureUrl"]
        return bool(shown == version(body).replace(USER, user))

    await until(is_shown)


class TestCopies:
    async def test_a_picture_is_copied_as_its_profile_comes(
        self, copying: Client, graph: GraphSimulator
    ) -> None:
        await copying.write(USER)
        await until_shown(copying, face(USER))
        answer = await copying.get(f"{PICTURE}?v={hashlib.sha256(face(USER)).hexdigest()[:8]}")
        assert (answer.status, answer.body) == (200, face(USER))
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert max_age(answer.headers["Cache-Control"]) == 3600
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert len(graph.album.calls) == 1

    async def test_it_is_served_long_after_metas_address_has_expired(
        self, copying: Client, db: asyncpg.Connection, graph: GraphSimulator
    ) -> None:
        await copying.write(USER)
        await until_shown(copying, face(USER))
        await db.execute(AGE, url_for(-HOUR), datetime.now(UTC) + HOUR)
        graph.album.set_answer("not_found")
        assert (await copying.get(PICTURE)).body == face(USER)

    async def test_a_browser_that_has_it_is_told_so(self, copying: Client) -> None:
        await copying.write(USER)
        await until_shown(copying, face(USER))
        answer = await copying.get(PICTURE)
        assert answer.headers["Cache-Control"] == "private, no-cache"
        tag = answer.headers["ETag"]
        again = await copying.get(PICTURE, headers={"If-None-Match": f'"other", W/{tag}'})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
        assert again.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert (await copying.get(PICTURE, headers={"If-None-Match": '"other"'})).status == 200

    async def test_the_same_bytes_are_stored_once_whatever_their_address(
        self, copying: Client, db: asyncpg.Connection, graph: GraphSimulator
    ) -> None:
        async with copying.events(f"?ids={USER}") as stream:
            await copying.write(USER)
            while not (await stream.identity())["pictureUrl"]:
                pass
            before = await db.fetchval("SELECT copied_at FROM instagram_pictures")
            await copying.refresh(USER)

            async def is_copied_again() -> bool:
                now = await db.fetchval("SELECT copied_at FROM instagram_pictures")
                return bool(now > before)

            await until(is_copied_again)
            assert len({call.path for call in graph.album.calls}) == 2
            assert (await stream.identity())["pictureUrl"] == version(face(USER))
            graph.album.set_picture(USER, face(OTHER))
            await copying.refresh(USER)
            while (shown := (await stream.identity())["pictureUrl"]) == version(face(USER)):
                pass
        assert shown == version(face(OTHER))
        assert await db.fetchval("SELECT count(*) FROM instagram_pictures") == 1

    async def test_a_live_picture_that_is_not_copied_yet_is_copied_once(
        self, copying: Client, db: asyncpg.Connection, graph: GraphSimulator
    ) -> None:
        expires_at = (datetime.now(UTC) + HOUR).timestamp()
        await put(db, graph.album.url(USER, expires_at))
        answers = await asyncio.gather(*(copying.get(PICTURE) for _ in range(20)))
        assert {answer.body for answer in answers} == {face(USER)}
        assert len(graph.album.calls) == 1

    async def test_looking_a_user_up_has_a_live_picture_copied(
        self, copying: Client, db: asyncpg.Connection, graph: GraphSimulator
    ) -> None:
        expires_at = (datetime.now(UTC) + HOUR).timestamp()
        await put(db, graph.album.url(USER, expires_at))
        assert (await copying.get(f"/users/{USER}")).json["pictureUrl"] is None
        await until_shown(copying, face(USER))

    async def test_a_slow_picture_does_not_hold_the_browser_up(
        self,
        copying: Client,
        db: asyncpg.Connection,
        graph: GraphSimulator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(pictures, "COPIED_WITHIN_S", 0.1)
        graph.album.set_answer("hang")
        await put(db, graph.album.url(USER, (datetime.now(UTC) + HOUR).timestamp()))
        async with asyncio.timeout(60):
            answer = await copying.get(PICTURE)
        assert text_of(answer.body) == "JD"

    @pytest.mark.parametrize("wrong", ["error_500", "redirect_private", "mislabelled", "huge"])
    async def test_a_failed_copy_keeps_the_last_good_one_and_is_tried_again(
        self, copying: Client, graph: GraphSimulator, wrong: PictureAnswer
    ) -> None:
        await copying.write(USER)
        await until_shown(copying, face(USER))
        graph.album.set_answer(wrong)
        graph.album.set_picture(USER, face(OTHER))
        await copying.refresh(USER)
        assert (await copying.get(PICTURE)).body == face(USER)
        graph.album.set_answer(None)
        assert (await copying.get(PICTURE)).body == face(OTHER)

    async def test_a_picture_that_meta_no_longer_names_goes(
        self, copying: Client, db: asyncpg.Connection, graph: GraphSimulator
    ) -> None:
        await copying.write(USER)
        await until_shown(copying, face(USER))
        graph.set_profile(USER, profile_pic=None)
        assert (await copying.refresh(USER)).json["pictureUrl"] is None
        assert await db.fetchval("SELECT count(*) FROM instagram_pictures") == 0

    @pytest.mark.parametrize(
        "erase",
        [
            "",
            "DELETE FROM instagram_user_cache",
            "TRUNCATE instagram_user_cache",
        ],
    )
    async def test_erasure_removes_it(
        self, copying: Client, db: asyncpg.Connection, erase: str
    ) -> None:
        await copying.write(USER)
        await until_shown(copying, face(USER))
        if erase:
            await db.execute(erase)
        else:
            assert (await copying.delete(USER)).status == 204
        assert await db.fetchval("SELECT count(*) FROM instagram_pictures") == 0
        assert (await copying.get(PICTURE)).headers["Content-Type"].startswith("image/svg+xml")

    @pytest.mark.parametrize("statement", ["DELETE FROM", "TRUNCATE"])
    async def test_a_copy_in_flight_does_not_bring_it_back(
        self, copying: Client, db: asyncpg.Connection, graph: GraphSimulator, statement: str
    ) -> None:
        async def has_arrived() -> bool:
            return bool(graph.album.calls)

        await put(db, graph.album.url(USER, (datetime.now(UTC) + HOUR).timestamp()))
        graph.album.hold()
        looking = asyncio.create_task(copying.get(PICTURE))
        await until(has_arrived)
        await db.execute(f"{statement} instagram_user_cache")
        graph.album.release()
        assert (await looking).headers["Content-Type"].startswith("image/svg+xml")
        await copying.until_metric('instagram_picture_copies_total{outcome="outdated"}', 1)
        assert await db.fetchval("SELECT count(*) FROM instagram_pictures") == 0


class TestLinks:
    async def test_a_live_picture_is_metas_own_address_unchanged(
        self, linking: Client, db: asyncpg.Connection
    ) -> None:
        url = url_for(timedelta(days=3)) + "&efg=a%2Bb%3D%3D&sig=%7e~'()*"
        await put(db, url)
        answer = await linking.get(PICTURE)
        assert (answer.status, answer.headers["Location"]) == (302, url)
        assert max_age(answer.headers["Cache-Control"]) == 3600
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["X-Request-ID"]

    async def test_a_picture_is_cached_no_longer_than_it_lives(
        self, linking: Client, db: asyncpg.Connection
    ) -> None:
        await put(db, url_for(timedelta(minutes=2)))
        answer = await linking.get(PICTURE)
        assert answer.status == 302
        assert 0 < max_age(answer.headers["Cache-Control"]) <= 120

    async def test_a_picture_of_unknown_expiry_is_live(
        self, linking: Client, db: asyncpg.Connection
    ) -> None:
        await put(db, "https://scontent.cdninstagram.com/v/picture.jpg?oe=never")
        answer = await linking.get(PICTURE)
        assert answer.status == 302
        assert max_age(answer.headers["Cache-Control"]) == 3600

    async def test_only_metas_hosts_are_linked_to(
        self, linking: Client, db: asyncpg.Connection
    ) -> None:
        await put(db, "https://example.com/p.jpg")
        answer = await linking.get(PICTURE)
        assert (answer.status, text_of(answer.body)) == (200, "JD")

    async def test_the_identity_names_a_live_picture_alone(
        self, linking: Client, db: asyncpg.Connection
    ) -> None:
        await put(db, url_for(HOUR))
        assert (await linking.get(f"/users/{USER}")).json["pictureUrl"] == f"{API}{PICTURE}"
        await db.execute(AGE, url_for(-HOUR), None)

        async def is_unnamed() -> bool:
            return (await linking.get(f"/users/{USER}")).json["pictureUrl"] is None

        await until(is_unnamed)


async def test_pictures_may_be_off(start: Start, db: asyncpg.Connection) -> None:
    client = await start(pictures="off")
    await put(db, url_for(HOUR))
    answer = await client.get(PICTURE)
    assert (answer.status, text_of(answer.body)) == (200, "JD")
    assert (await client.get(f"/users/{USER}")).json["pictureUrl"] is None


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


@given(st.text(), st.text())
def test_initials_are_few_and_can_be_seen(name: str, username: str) -> None:
    letters = initials(username, name)
    assert 1 <= len(letters) <= 6  # a letter may have three capitals
    assert letters.isprintable()


async def test_looking_at_an_expired_picture_has_it_fetched_anew(
    start: Start, db: asyncpg.Connection, graph: GraphSimulator
) -> None:
    client = await _with_participant(start, graph)
    await db.execute(AGE, url_for(-HOUR), datetime.now(UTC) - HOUR)
    await _is_renewed(client, db)
    assert len(graph.calls_for(USER)) == 2


async def test_in_an_older_databases_row_a_picture_may_expire_before_its_identity(
    start: Start, db: asyncpg.Connection, graph: GraphSimulator
) -> None:
    client = await _with_participant(start, graph)
    await db.execute(AGE, url_for(-HOUR), None)
    assert not (await client.get(f"/users/{USER}")).json["stale"]
    await _is_renewed(client, db)
    assert len(graph.calls_for(USER)) == 2


async def test_a_picture_that_never_lasts_is_not_fetched_again_and_again(
    start: Start, db: asyncpg.Connection, graph: GraphSimulator
) -> None:
    expired = url_for(-HOUR)
    graph.set_profile(USER, profile_pic=expired)
    client = await _with_participant(start, graph)
    assert (await client.get(f"/users/{USER}")).json["profilePicUrl"] == expired
    for _ in range(3):
        assert (await client.get(PICTURE)).status == 200
    due = "SELECT count(*) FROM instagram_participants WHERE due_at IS NOT NULL OR forced"
    assert await db.fetchval(due) == 0
    assert len(graph.calls_for(USER)) == 1


@pytest.mark.parametrize("fail_count", [1, 5])
async def test_a_user_whose_retries_wait_or_stopped_is_not_fetched_for_a_picture(
    start: Start, db: asyncpg.Connection, graph: GraphSimulator, fail_count: int
) -> None:
    client = await _with_participant(start, graph)
    await db.execute(AGE, url_for(-HOUR), None)
    await db.execute(
        "UPDATE instagram_user_cache SET fail_count = $1, last_failed_at = now()", fail_count
    )
    for _ in range(10):
        assert (await client.get(PICTURE)).status == 200
    due = "SELECT count(*) FROM instagram_participants WHERE due_at IS NOT NULL OR forced"
    assert await db.fetchval(due) == 0
    assert len(graph.calls_for(USER)) == 1


async def _with_participant(start: Start, graph: GraphSimulator) -> Client:
    """Start a replica that has resolved the user."""
    hosts = f"{META_HOSTS},{graph.album.origin}"
    client = await start(graph_base_url=graph.url, pictures="link", picture_hosts=hosts)
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
