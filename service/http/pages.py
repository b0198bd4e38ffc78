"""Static pages and their files, with an ETag and a strict Content-Security-Policy."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from functools import cached_property
from http import HTTPStatus
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from service.http.heads import has_copy
from service.http.problems import ProblemError

STATIC = Path(__file__).with_name("static")
OPENAPI = Path(__file__).with_name("openapi.json")
_WORTH_PACKING_BYTES = 1024
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
_PACKABLE = frozenset({".css", ".html", ".js", ".json", ".mjs", ".svg", ".txt"})
_STRICT = {
    "default-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "object-src": "'none'",
}
# The API viewer uses inline styles.
_DOCS_POLICY = {"style_src": "'self' 'unsafe-inline'", "img_src": "'self' data:"}


def content_security_policy(**changed: str) -> str:
    """Return a Content-Security-Policy that allows this service only, with some changes.

    Keywords are directives with underscores: `img_src="'self' data:"`.
    """
    named = {name.replace("_", "-"): sources for name, sources in changed.items()}
    return "; ".join(f"{name} {sources}" for name, sources in (_STRICT | named).items())


class Static:
    """A body that is the same for every client, kept in memory."""

    def __init__(self, body: bytes, suffix: str, policy: str) -> None:
        self._body = body
        self._may_pack = suffix in _PACKABLE and len(body) >= _WORTH_PACKING_BYTES
        self._headers = {
            "Content-Type": _MEDIA_TYPES[suffix],
            "Cache-Control": "no-cache",
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        } | ({"Vary": "Accept-Encoding"} if self._may_pack else {})

    async def answer(self, request: web.Request) -> web.Response:
        """Answer with the body, gzipped if the client accepts that; 304 if the client has it."""
        is_packed = self._may_pack and _takes_gzip(request.headers.get("Accept-Encoding", ""))
        tag = f"{self._tag}-gzip" if is_packed else self._tag
        if has_copy(request, tag):
            response = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=self._headers)
        elif is_packed:
            encoding = {"Content-Encoding": "gzip"}
            body = await asyncio.to_thread(lambda: self._packed)
            response = web.Response(body=body, headers=self._headers | encoding)
        else:
            response = web.Response(body=self._body, headers=self._headers)
        response.etag = tag
        return response

    @cached_property
    def _tag(self) -> str:
        return hashlib.sha256(self._body).hexdigest()[:32]

    @cached_property
    def _packed(self) -> bytes:
        return gzip.compress(self._body, mtime=0)


class Pages:
    """Serves the files of a folder, which are read when the service starts.

    A file is served at `/static/` and its path; a page is a file at another address.
    """

    def __init__(self, folder: Path = STATIC) -> None:
        self._folder = folder
        self._files: Mapping[str, Static] = {
            file.relative_to(folder).as_posix(): Static(
                file.read_bytes(), file.suffix, content_security_policy()
            )
            for file in sorted(folder.rglob("*"))
            if file.suffix in _MEDIA_TYPES
        }
        self.docs = self.page("docs/index.html", **_DOCS_POLICY)
        self.openapi = Static(OPENAPI.read_bytes(), ".json", content_security_policy()).answer

    @property
    def names(self) -> list[str]:
        """Return the paths of the served files."""
        return list(self._files)

    def page(self, path: str, *, marked: str = "", **changed_policy: str) -> Handler:
        """Return the handler of a page; `changed_policy` is as in `content_security_policy`.

        `marked` is the name of an attribute that is added to the root element, for the script.
        """
        file = self._folder / path
        policy = content_security_policy(**changed_policy)
        body = file.read_bytes()
        if marked:
            body = body.replace(b"<html ", f"<html {marked} ".encode(), 1)
        return Static(body, file.suffix, policy).answer

    async def file(self, request: web.Request) -> web.StreamResponse:
        """Answer with the file at the path; raises 404 if there is none."""
        found = self._files.get(request.match_info["path"])
        if found is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "There is no such file.")
        return await found.answer(request)


def _takes_gzip(accept_encoding: str) -> bool:
    """Read an Accept-Encoding header; `gzip;q=0` refuses it."""
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False
