"""Serves pictures that do not expire: stored copies, else drawn initials."""

from __future__ import annotations

import hashlib
import html
import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Protocol

import structlog
from aiohttp import web

from service.errors import UnavailableError
from service.http.heads import has_copy
from service.http.users import user_id
from service.identities.lookups import Lookups
from service.identities.pictures.addresses import PictureHosts
from service.identities.pictures.copies import Pictures
from service.model.freshness import (
    EARLIEST_PICTURE_EXPIRY,
    CachedIdentity,
    PictureMode,
    Rules,
    is_fresh,
    may_be_tried,
    picture_expiry,
)
from service.model.identity import is_blank
from service.queue import TurnQueue
from service.store.identities import Identities
from service.store.pictures import StoredPicture

LONGEST_CACHED = timedelta(hours=1)  # so long an erased or changed picture can be shown
INITIALS_CACHED = timedelta(seconds=30)
COPIED_WITHIN_S = 2.0
_WORDS = re.compile(r"[\s._-]+")
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96">'
    '<rect width="96" height="96" fill="hsl({hue} 40% 40%)"/>'
    '<text x="48" y="50" fill="#fff" font-family="system-ui,sans-serif" font-size="40"'
    ' text-anchor="middle" dominant-baseline="central">{initials}</text></svg>'
)
_HEADERS = {"Cross-Origin-Resource-Policy": "cross-origin", "X-Content-Type-Options": "nosniff"}

log = structlog.get_logger()


class PictureSource(Protocol):
    """Answers with pictures of one kind."""

    async def answer(self, request: web.Request, cached: CachedIdentity) -> web.Response | None:
        """Answer with the picture; None if there is none."""


class PictureRoutes:
    """Answers with pictures; a request is also a lookup, which refreshes an expired identity."""

    def __init__(
        self,
        lookups: Lookups,
        identities: Identities,
        queue: TurnQueue,
        rules: Rules,
        source: PictureSource | None,
    ) -> None:
        self._lookups = lookups
        self._identities = identities
        self._queue = queue
        self._rules = rules
        self._source = source

    async def show(self, request: web.Request) -> web.Response:
        """Answer with the picture, or with initials if there is none."""
        [cached] = await self._lookups.read_cached([user_id(request)])
        shown = None if self._source is None else await self._source.answer(request, cached)
        if shown is not None:
            return shown
        until = picture_expiry(cached.profile_pic_url)
        if self._source is not None and until is not None and until <= datetime.now(UTC):
            await self._renew(cached, until)
        return _drawn(cached)

    async def _renew(self, cached: CachedIdentity, expired_at: datetime) -> None:
        """Queue a refresh if only the picture has expired, and the lookup has queued none.

        This happens in rows of an older version, which did not store the expiry of pictures; one
        fetch corrects the row. Users whose retries wait or have stopped are not queued. The
        request is answered even if this fails.
        """
        fetched_at = cached.last_fetched_at
        if not is_fresh(cached, cached.read_at, self._rules) or fetched_at is None:
            return
        if not may_be_tried(cached, cached.read_at, self._rules):
            return
        if expired_at < fetched_at + EARLIEST_PICTURE_EXPIRY:
            return
        try:
            forced = await self._identities.force([cached.ig_user_id], include_fresh=True)
        except UnavailableError as error:
            log.warning("refresh not queued", users=1, error=str(error))
            return
        for due in forced.hints:
            self._queue.offer(due.ig_account_id, due.ig_user_id, is_live=False)


class CopiedPictures:
    """The stored copies; a live picture that is not copied yet is copied first, within 2 s."""

    def __init__(self, pictures: Pictures, identities: Identities) -> None:
        self._pictures = pictures
        self._identities = identities

    async def answer(self, request: web.Request, cached: CachedIdentity) -> web.Response | None:
        """Answer with the copy, or 304 if the browser has it."""
        url = cached.profile_pic_url
        if url is not None and self._pictures.lacks(cached):
            await self._pictures.copy(cached.ig_user_id, url, COPIED_WITHIN_S)
            [cached] = await self._identities.look_up([cached.ig_user_id])
        if cached.picture_sha256 is None:
            return None
        if has_copy(request, cached.picture_sha256):
            return _not_modified(request, cached.picture_sha256)
        picture = await self._pictures.stored.read(cached.ig_user_id)
        return None if picture is None else _copied(request, picture)


class LinkedPictures:
    """Redirects to Meta's addresses while they are valid."""

    def __init__(self, hosts: PictureHosts) -> None:
        self._hosts = hosts

    async def answer(self, _: web.Request, cached: CachedIdentity) -> web.Response | None:
        """Redirect to Meta's picture, if its address is allowed and has not expired."""
        url = cached.profile_pic_url or ""
        if not self._hosts.allows(url):
            return None
        until, now = picture_expiry(url), datetime.now(UTC)
        if until is not None and until <= now:
            return None
        return _sent_on(url, LONGEST_CACHED if until is None else until - now)


def picture_source(
    mode: PictureMode, pictures: Pictures, identities: Identities
) -> PictureSource | None:
    """Return the source of pictures for a mode; None if only initials are shown."""
    match mode:
        case "copy":
            return CopiedPictures(pictures, identities)
        case "link":
            return LinkedPictures(pictures.hosts)
        case "off":
            return None


def initials(username: str | None, name: str | None) -> str:
    """Return the first letters of the first and last word of the name or username, else `?`."""
    known = next((text for text in (name, username) if text and not is_blank(text)), "")
    letters = [letter for word in _WORDS.split(known) if (letter := _first_letter(word))]
    return "".join([*letters[:1], *letters[1:][-1:]]).upper() or "?"


def _first_letter(word: str) -> str:
    return next((ch for ch in word if ch.isalnum()), "")


def _not_modified(request: web.Request, sha256: str) -> web.Response:
    return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=_validated(request, sha256))


def _copied(request: web.Request, picture: StoredPicture) -> web.Response:
    return web.Response(
        body=picture.body,
        content_type=picture.content_type,
        headers=_validated(request, picture.sha256)
        | {"Content-Security-Policy": "default-src 'none'; sandbox"},
    )


def _validated(request: web.Request, sha256: str) -> dict[str, str]:
    """Return the headers of a copy; only a URL with its version is cached without validation."""
    is_named = request.query.get("v") == sha256[:8]
    cached = _cached(LONGEST_CACHED) if is_named else "private, no-cache"
    return _HEADERS | {"ETag": f'"{sha256}"', "Cache-Control": cached}


def _sent_on(url: str, left: timedelta) -> web.Response:
    # aiohttp's HTTPFound would quote the URL again, which breaks Meta's signature.
    headers = {"Location": url, "Cache-Control": _cached(left), "Referrer-Policy": "no-referrer"}
    return web.Response(status=HTTPStatus.FOUND, headers=_HEADERS | headers)


def _drawn(cached: CachedIdentity) -> web.Response:
    hue = hashlib.blake2b(cached.ig_user_id.encode(), digest_size=2).digest()
    letters = html.escape(initials(cached.username, cached.name))
    return web.Response(
        text=_SVG.format(hue=int.from_bytes(hue, "big") % 360, initials=letters),
        content_type="image/svg+xml",
        headers=_HEADERS
        | {
            "Cache-Control": _cached(INITIALS_CACHED),
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        },
    )


def _cached(left: timedelta) -> str:
    return f"private, max-age={int(min(left, LONGEST_CACHED).total_seconds())}"
