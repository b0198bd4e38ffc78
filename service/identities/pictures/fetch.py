"""Fetches a picture, bounded in bytes, time and redirects, and never from a private network."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from service.errors import ServiceError
from service.identities.pictures.addresses import PictureHosts, host_of, is_public, redirected

MOST_BYTES = 1024 * 1024
FETCH_TIMEOUT_S = 5.0
MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity"}


class PictureError(ServiceError):
    """A picture was not fetched; the message gives the reason without the address."""


class Image(msgspec.Struct, frozen=True):
    """An image as its host sent it, and its type from its first bytes."""

    content_type: str
    body: bytes


def image_type(body: bytes) -> str | None:
    """Return an image's media type from its first bytes; None if it is not supported."""
    if body.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if body[:4] == b"RIFF" and body[8:12] == b"WEBP" else None


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only."""

    def __init__(self, resolver: AbstractResolver) -> None:
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve a name; raises OSError if it has no public address."""
        found = await self._resolver.resolve(host, port, family)
        public = [result for result in found if is_public(result["host"])]
        if not public:
            raise OSError("the name has no public address")
        return public

    async def close(self) -> None:
        """Close the underlying resolver."""
        await self._resolver.close()


class PictureFetcher:
    """Fetches pictures from the allowed hosts; created by `open`.

    Domains are reached at public addresses only. An allowed origin can be private, since the
    operator chose it.
    """

    def __init__(
        self,
        hosts: PictureHosts,
        public: aiohttp.ClientSession,
        named: aiohttp.ClientSession,
        timeout_s: float,
    ) -> None:
        self.hosts = hosts
        self._public = public
        self._named = named
        self._timeout_s = timeout_s

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        hosts: PictureHosts,
        resolver: AbstractResolver | None = None,
        timeout_s: float = FETCH_TIMEOUT_S,
    ) -> AsyncIterator[PictureFetcher]:
        """Create a fetcher whose client connections are closed when the block ends."""
        guarded = PublicResolver(resolver or ThreadedResolver())
        async with _session(guarded) as public, _session(None) as named:
            yield cls(hosts, public, named, timeout_s)

    async def fetch(self, url: str) -> Image:
        """Fetch one picture, following redirects within the allowed hosts; raises PictureError."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._follow(url)
        except TimeoutError:
            raise PictureError(f"not done within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise PictureError(type(error).__name__) from None

    async def _follow(self, url: str) -> Image:
        for _ in range(MOST_REDIRECTS + 1):
            if not self.hosts.allows(url):
                raise PictureError(f"its host {host_of(url)} is not among PICTURE_HOSTS")
            session = self._named if self.hosts.is_named_origin(url) else self._public
            async with session.get(
                URL(url, encoded=True), headers=_HEADERS, allow_redirects=False
            ) as response:
                if response.status not in _REDIRECTS:
                    return await _read(response)
                url = redirected(url, response.headers.get("Location", ""))
        raise PictureError(f"more than {MOST_REDIRECTS} redirects")


async def _read(response: aiohttp.ClientResponse) -> Image:
    if response.status != HTTPStatus.OK:
        raise PictureError(f"HTTP {response.status}")
    if _declared_bytes(response.headers) > MOST_BYTES:
        raise PictureError("larger than 1 MiB")
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise PictureError("larger than 1 MiB")
    content_type = image_type(bytes(body[:16]))
    if content_type is None:
        raise PictureError("not a JPEG, PNG, WebP or GIF")
    return Image(content_type, bytes(body))


def _declared_bytes(headers: Mapping[str, str]) -> int:
    declared = headers.get("Content-Length", "")
    return int(declared) if declared.isdecimal() else 0


def _session(resolver: AbstractResolver | None) -> aiohttp.ClientSession:
    """Open a client without cookies, proxies, or decompression, which could multiply the size."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=resolver, limit=4),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )
