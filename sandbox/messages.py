"""The routes behind the console's "Test DM": generated messages for the webhook."""

import secrets
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

import aiohttp
import msgspec
from aiohttp import web

from sandbox import samples
from sandbox.sample_traffic import SAMPLE_ACCOUNT, SENDERS
from service.http.auth import Keyring
from service.http.problems import ProblemError, bad_request, json_response
from service.http.server import PREFIX

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_STRANGER_DIGITS = 16
_MOST_TEXTS = 500


class _Wanted(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    ig_user_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,32}$")] | None = None
    text: Annotated[str, msgspec.Meta(max_length=500)] = "Hello there!"


class MessageRoutes:
    """Signs messages as Meta does and delivers them to the service at `url`.

    `texts` has the last text of each user.
    """

    def __init__(self, url: str, app_secret: str) -> None:
        self._url = url
        self._app_secret = app_secret
        self.texts: dict[str, str] = {}

    def routes(self, keyring: Keyring) -> Sequence[web.RouteDef]:
        """List the routes, which need an operator key."""
        operator = keyring.for_operator
        return [
            web.get("/console/sandbox", operator(self.offer)),
            web.post("/console/sandbox/messages", operator(self.send)),
        ]

    async def offer(self, _: web.Request) -> web.Response:
        """Return the users who can write."""
        people = [{"igUserId": s.ig_user_id, "what": s.what} for s in SENDERS]
        return json_response({"igAccountId": SAMPLE_ACCOUNT, "people": people})

    async def send(self, request: web.Request) -> web.Response:
        """Send a message from a user to the sample account, by default from a new user."""
        wanted = _wanted(await request.read())
        began_s = time.monotonic()
        ig_user_id = await self.write(wanted.text, wanted.ig_user_id)
        ack_ms = round((time.monotonic() - began_s) * 1000)
        return json_response({"igUserId": ig_user_id, "ackMs": ack_ms})

    async def write(self, text: str, ig_user_id: str | None = None) -> str:
        """Deliver a message of a user, by default a new one; returns the user's id."""
        ig_user_id = ig_user_id or _new_stranger()
        message = samples.message(ig_user_id, SAMPLE_ACCOUNT, text)
        self.texts[ig_user_id] = text
        if len(self.texts) > _MOST_TEXTS:
            del self.texts[next(iter(self.texts))]
        await self._deliver(samples.delivery(samples.entry(SAMPLE_ACCOUNT, message)))
        return ig_user_id

    async def _deliver(self, body: bytes) -> None:
        headers = samples.signed_headers(body, self._app_secret)
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.post(f"{self._url}{PREFIX}/webhook", data=body, headers=headers) as answer,
            ):
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        if status != HTTPStatus.OK:
            said = f"answered {status}" if status else "did not answer"
            raise ProblemError(HTTPStatus.BAD_GATEWAY, f"The webhook {said}.")


def _wanted(body: bytes) -> _Wanted:
    try:
        return msgspec.json.decode(body, type=_Wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise bad_request("The body has igUserId (1 to 32 digits) and text, or less.") from None


def _new_stranger() -> str:
    return "8" + "".join(secrets.choice("0123456789") for _ in range(_STRANGER_DIGITS - 1))
