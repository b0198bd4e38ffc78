"""A toy inbox at /inbox: the example page of the documentation, and its server."""

import itertools
from collections.abc import Callable, Sequence

from aiohttp import web

from sandbox.environment import PROJECT
from sandbox.messages import MessageRoutes
from sandbox.own_browser import for_own_browser
from sandbox.service_client import ServiceClient
from service.http.pages import content_security_policy
from service.http.problems import json_response

PAGE = PROJECT / "docs" / "inbox-example.html"
GRANT_LASTS_S = 600
_MOST_SHOWN = 30
_TEXTS = (
    "Hi! Do you ship to Graz?",
    "Is the blue one back in stock?",
    "Loved your story today!",
    "Can I change my order?",
    "What time do you open on Saturday?",
    "Do you have this in size 42?",
)
_HEADERS = {
    "Content-Security-Policy": content_security_policy(
        default_src="'none'",
        script_src="'unsafe-inline'",
        style_src="'unsafe-inline'",
        img_src="'self' data:",
        connect_src="'self'",
    ),
    "Referrer-Policy": "no-referrer",
}


class ToyInbox:
    """The server of an inbox: it has the messages, and requests grants with its key.

    The page can make new users write.
    """

    def __init__(self, open_client: Callable[[], ServiceClient], messages: MessageRoutes) -> None:
        self._open_client = open_client
        self._messages = messages
        self._texts = itertools.cycle(_TEXTS)

    def routes(self) -> Sequence[web.RouteDef]:
        """List the routes, for the browser of the user who runs the sandbox."""
        return [
            web.get("/inbox", for_own_browser(self._page)),
            web.get("/inbox/conversations", for_own_browser(self._conversations)),
            web.post("/inbox/grant", for_own_browser(self._grant)),
            web.post("/inbox/strangers", for_own_browser(self._stranger)),
        ]

    async def _page(self, _: web.Request) -> web.StreamResponse:
        return web.Response(
            body=PAGE.read_bytes(), content_type="text/html", charset="utf-8", headers=_HEADERS
        )

    async def _conversations(self, _: web.Request) -> web.Response:
        async with self._open_client() as client:
            people = await client.people(_MOST_SHOWN)
        return json_response([self._conversation(p.ig_user_id, p.last_message_at) for p in people])

    def _conversation(self, ig_user_id: str, last_message_at: object) -> dict[str, object]:
        text = self._messages.texts.get(ig_user_id)
        return {"igUserId": ig_user_id, "text": text, "lastMessageAt": last_message_at}

    async def _grant(self, _: web.Request) -> web.Response:
        async with self._open_client() as client:
            grant = await client.grant(GRANT_LASTS_S)
        return web.Response(body=grant, content_type="application/json")

    async def _stranger(self, _: web.Request) -> web.Response:
        return json_response({"igUserId": await self._messages.write(next(self._texts))})
