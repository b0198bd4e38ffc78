import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from sandbox.graph.albums import Album, PictureAnswer
from sandbox.graph.faces import face
from sandbox.graph.picture_host import PictureHost
from service.identities.pictures.addresses import PictureHosts
from service.identities.pictures.fetch import (
    MOST_BYTES,
    Image,
    PictureError,
    PictureFetcher,
    PublicResolver,
    image_type,
)

USER = "5550000000000001"
NEVER_S = 4_000_000_000.0


class Names(AbstractResolver):
    """Resolves every name to these addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(
                hostname=host,
                host=ip,
                port=port,
                family=family,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for ip in self.addresses
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def album() -> AsyncIterator[Album]:
    album = Album()
    async with PictureHost(album):
        yield album


@pytest.fixture
async def fetcher(album: Album) -> AsyncIterator[PictureFetcher]:
    async with PictureFetcher.open(PictureHosts([album.origin])) as fetcher:
        yield fetcher


async def test_a_picture_is_fetched_with_its_type(album: Album, fetcher: PictureFetcher) -> None:
    assert await fetcher.fetch(album.url(USER, NEVER_S)) == Image("image/png", face(USER))
    [call] = album.calls
    assert "Authorization" not in call.headers
    assert "Cookie" not in call.headers
    assert call.headers["Accept-Encoding"] == "identity"


async def test_the_address_is_asked_for_as_it_stands(album: Album, fetcher: PictureFetcher) -> None:
    url = album.url(USER, NEVER_S) + "&efg=a%2Bb%3D%3D&sig=%7e~'()*"
    await fetcher.fetch(url)
    assert f"{album.origin}{album.calls[0].path}" == url


async def test_redirects_are_followed_within_the_hosts(
    album: Album, fetcher: PictureFetcher
) -> None:
    album.set_answer("redirect")
    assert (await fetcher.fetch(album.url(USER, NEVER_S))).body == face(USER)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("error_500", "HTTP 500"),
        ("not_found", "HTTP 404"),
        ("redirect_loop", "redirects"),
        ("redirect_out", "PICTURE_HOSTS"),
        ("redirect_private", "PICTURE_HOSTS"),
        ("redirect_nowhere", "redirects"),
        ("html", "not a JPEG"),
        ("svg", "not a JPEG"),
        ("mislabelled", "not a JPEG"),
        ("empty", "not a JPEG"),
        ("huge", "1 MiB"),
        ("huge_stream", "1 MiB"),
        ("truncated", "ClientPayloadError"),
        ("reset", "Error"),
    ],
)
async def test_what_is_no_picture_is_refused(
    album: Album, fetcher: PictureFetcher, answer: PictureAnswer, why: str
) -> None:
    album.set_answer(answer)
    with pytest.raises(PictureError, match=why):
        await fetcher.fetch(album.url(USER, NEVER_S))


async def test_an_expired_address_is_refused(album: Album, fetcher: PictureFetcher) -> None:
    with pytest.raises(PictureError, match="HTTP 403"):
        await fetcher.fetch(album.url(USER, 1_000_000_000))


@pytest.mark.parametrize("answer", ["slow", "hang"])
async def test_the_time_is_bounded(album: Album, answer: PictureAnswer) -> None:
    album.set_answer(answer)
    hosts = PictureHosts([album.origin])
    async with PictureFetcher.open(hosts, timeout_s=0.3) as fetcher:
        with pytest.raises(PictureError, match=r"within 0\.3 s"):
            await fetcher.fetch(album.url(USER, NEVER_S))


async def test_a_picture_of_the_whole_megabyte_is_taken(
    album: Album, fetcher: PictureFetcher
) -> None:
    body = b"\xff\xd8\xff" + b"\0" * (MOST_BYTES - 3)
    album.set_picture(USER, body)
    assert (await fetcher.fetch(album.url(USER, NEVER_S))).body == body
    album.set_picture(USER, body + b"\0")
    with pytest.raises(PictureError, match="1 MiB"):
        await fetcher.fetch(album.url(USER, NEVER_S))


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_to_a_private_network_is_not_connected_to(
    album: Album, address: str
) -> None:
    names = Names(address)
    hosts = PictureHosts(["cdninstagram.com", album.origin])
    async with PictureFetcher.open(hosts, names) as fetcher:
        with pytest.raises(PictureError, match="ClientConnectorDNSError"):
            await fetcher.fetch("https://scontent.cdninstagram.com/p.jpg")
    assert names.asked == ["scontent.cdninstagram.com"]


async def test_private_addresses_are_left_out_between_public_ones() -> None:
    resolver = PublicResolver(Names("10.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "2a03:2880::1"))
    assert [found["host"] for found in await resolver.resolve("p.test")] == [
        "8.8.8.8",
        "2a03:2880::1",
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"<svg xmlns=", None),
        (b"BM", None),
        (b"", None),
    ],
)
def test_the_type_is_read_from_the_first_bytes(body: bytes, expected: str | None) -> None:
    assert image_type(body) == expected
