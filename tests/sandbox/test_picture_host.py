import struct
import zlib
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest

from sandbox.graph.albums import PICTURE_ANSWERS, Album, PictureAnswer
from sandbox.graph.faces import SIDE, face
from sandbox.graph.picture_host import PictureHost
from tests.answers import Answer

USER, OTHER = "5550000000000001", "5550000000000002"
NOW_S = 1_800_000_000.0
HOUR_S = timedelta(hours=1).total_seconds()


@pytest.fixture
async def album() -> AsyncIterator[Album]:
    album = Album(now=lambda: NOW_S)
    async with PictureHost(album):
        yield album


async def get(url: str) -> Answer:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url, allow_redirects=False) as response,
    ):
        return await Answer.of(response)


def test_a_face_is_a_small_png_of_its_own() -> None:
    picture = face(USER)
    assert picture == face(USER) != face(OTHER)
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (SIDE, SIDE)
    start = picture.index(b"IDAT")
    (size,) = struct.unpack(">I", picture[start - 4 : start])
    pixels = zlib.decompress(picture[start + 4 : start + 4 + size])
    assert len(pixels) == SIDE * (SIDE + 1)
    assert len(picture) < 1000


async def test_a_picture_comes_as_from_metas_cdn(album: Album) -> None:
    answer = await get(album.url(USER, NOW_S + HOUR_S))
    assert (answer.status, answer.body) == (200, face(USER))
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    album.set_picture(USER, b"\xff\xd8\xff other")
    assert (await get(album.url(USER, NOW_S + HOUR_S))).body == b"\xff\xd8\xff other"


async def test_an_address_is_new_each_time_and_expires(album: Album) -> None:
    first, second = (album.url(USER, NOW_S + HOUR_S) for _ in range(2))
    assert first != second
    assert (await get(album.url(USER, NOW_S))).status == 403
    assert [call.answer for call in album.calls_for(USER)] == ["expired"]


@pytest.mark.parametrize(
    ("name", "status", "content_type"),
    [
        ("error_500", 500, "text/plain"),
        ("not_found", 404, "text/plain"),
        ("redirect", 302, ""),
        ("redirect_private", 302, ""),
        ("html", 200, "text/html"),
        ("svg", 200, "image/svg+xml"),
        ("mislabelled", 200, "image/jpeg"),
        ("empty", 200, "image/jpeg"),
        ("huge", 200, "image/jpeg"),
    ],
)
async def test_answers_go_wrong_as_they_are_told(
    album: Album, name: PictureAnswer, status: int, content_type: str
) -> None:
    album.set_answer(name, user=USER)
    answer = await get(album.url(USER, NOW_S + HOUR_S))
    assert answer.status == status
    assert answer.headers.get("Content-Type", "").split(";")[0] == content_type
    assert (await get(album.url(OTHER, NOW_S + HOUR_S))).body == face(OTHER)


def test_an_answer_that_does_not_exist_is_refused() -> None:
    assert "slow" in PICTURE_ANSWERS
    with pytest.raises(ValueError, match="no picture answer"):
        Album().set_answer("sideways")  # type: ignore[arg-type]
