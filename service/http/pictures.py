"""Pictures that do not break: on to Meta's while its address is good, else initials drawn here."""

from __future__ import annotations

import hashlib
import html
import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from service.errors import UnavailableError
from service.http.users import user_id
from service.model import EARLIEST_PICTURE_EXPIRY, is_blank, picture_expiry

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.http.users import UserRoutes
    from service.model import Identity
    from service.queue import TurnQueue
    from service.store.identities import Identities

LONGEST_CACHED = timedelta(hours=1)  # an erased or changed picture is not shown for longer
INITIALS_CACHED = timedelta(seconds=30)
# A whole address and nothing else: no user or port before the path, no backslash (browsers read it
# as a slash) and no character that could leave the header.
_META_PICTURE = re.compile(
    r"https://(?:[a-z0-9-]+\.)*(?:cdninstagram\.com|fbcdn\.net|fbsbx\.com)/[!-\[\]-~]{0,4000}",
    re.ASCII | re.IGNORECASE,
)
_WORDS = re.compile(r"[\s._-]+")
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96">'
    '<rect width="96" height="96" fill="hsl({hue} 40% 40%)"/>'
    '<text x="48" y="50" fill="#fff" font-family="system-ui,sans-serif" font-size="40"'
    ' text-anchor="middle" dominant-baseline="central">{initials}</text></svg>'
)

log = structlog.get_logger()


class PictureRoutes:
    """Answers with pictures; looking at one is a lookup: what is stale is refreshed."""

    def __init__(
        self,
        users: UserRoutes,
        identities: Identities,
        queue: TurnQueue,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._users = users
        self._identities = identities
        self._queue = queue
        self._clock = clock

    async def show(self, request: web.Request) -> web.Response:
        """Send the browser to Meta's picture; where there is no live one, answer with initials."""
        [shown] = await self._users.look_up([user_id(request)])
        url = shown.profile_pic_url or ""
        if not is_metas(url):
            return _drawn(shown)
        until, now = picture_expiry(url), self._clock()
        if until is None or now < until:
            return _sent_on(url, LONGEST_CACHED if until is None else until - now)
        await self._renew(shown, until)
        return _drawn(shown)

    async def _renew(self, shown: Identity, expired_at: datetime) -> None:
        """Queue a refresh where the lookup has not, since the identity outlives its picture.

        So it does in rows of an older database, which knew nothing of a picture's expiry; the
        fetch sets that right, hence once. Answered even where this fails.
        """
        fetched_at = shown.last_fetched_at
        if shown.stale or fetched_at is None or expired_at < fetched_at + EARLIEST_PICTURE_EXPIRY:
            return
        try:
            forced = await self._identities.force([shown.ig_user_id], anew=True)
        except UnavailableError as error:
            log.warning("refresh not queued", users=1, error=str(error))
            return
        for due in forced.hints:
            self._queue.offer(due.ig_account_id, due.ig_user_id, is_live=False)


def is_metas(url: str) -> bool:
    """Tell whether an address is https on one of the hosts that Meta serves pictures from."""
    return _META_PICTURE.fullmatch(url) is not None


def initials(shown: Identity) -> str:
    """The first letters of the first and last word of the name, or the username; else `?`."""
    name = next((name for name in (shown.name, shown.username) if name and not is_blank(name)), "")
    letters = [letter for word in _WORDS.split(name) if (letter := _first_letter(word))]
    return "".join([*letters[:1], *letters[1:][-1:]]).upper() or "?"


def _first_letter(word: str) -> str:
    return next((ch for ch in word if ch.isalnum()), "")


def _sent_on(url: str, left: timedelta) -> web.Response:
    # The address as it is: aiohttp's HTTPFound would quote it anew, and Meta signs it.
    headers = {"Location": url, "Cache-Control": _cached(left), "Referrer-Policy": "no-referrer"}
    return web.Response(status=HTTPStatus.FOUND, headers=headers)


def _drawn(shown: Identity) -> web.Response:
    hue = hashlib.blake2b(shown.ig_user_id.encode(), digest_size=2).digest()
    svg = _SVG.format(hue=int.from_bytes(hue, "big") % 360, initials=html.escape(initials(shown)))
    return web.Response(
        text=svg,
        content_type="image/svg+xml",
        headers={
            "Cache-Control": _cached(INITIALS_CACHED),
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
            "X-Content-Type-Options": "nosniff",
        },
    )


def _cached(left: timedelta) -> str:
    return f"private, max-age={int(min(left, LONGEST_CACHED).total_seconds())}"
