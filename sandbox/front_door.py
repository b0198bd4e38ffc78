"""What the sandbox does to the service from outside: connect, send the samples, look them up."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import aiohttp
import msgspec

from sandbox.problems import SandboxError
from sandbox.sample_traffic import (
    SAMPLE_ACCOUNT,
    SAMPLE_LOCATION,
    SAMPLE_TOKEN,
    Sender,
)
from sandbox.samples import signed_headers

PREFIX = "/api/social/instagram"

_CALL_TIMEOUT_S, _SETTLE_TIMEOUT_S, _POLL_S = 15, 20, 0.1
_SHOWN_OF_AN_ANSWER = 500


class Identity(msgspec.Struct, frozen=True, rename="camel"):
    """What a lookup says of a user, as far as the sandbox shows it."""

    ig_user_id: str
    display_name: str
    state: str
    reason: str | None
    picture_url: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a sender; `got` is None where the lookup does not know it at all."""

    sender: Sender
    got: Identity | None

    @property
    def ok(self) -> bool:
        """Tell whether the sender got what it should."""
        if self.got is None:
            return False
        sender, got = self.sender, self.got
        wanted = (sender.display_name, sender.state, sender.reason, sender.has_picture)
        has_picture = got.picture_url is not None
        return (got.display_name, got.state, got.reason, has_picture) == wanted


class FrontDoor:
    """The service's HTTP interface, used with one key of each kind."""

    def __init__(self, url: str, *, inbox_key: str, operator_key: str, app_secret: str) -> None:
        self._url = f"{url}{PREFIX}"
        self._inbox = {"Authorization": f"Bearer {inbox_key}"}
        self._operator = {"Authorization": f"Bearer {operator_key}"}
        self._app_secret = app_secret

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=_CALL_TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def connect_sample_account(self) -> None:
        """Store the connection of the account that the samples are for."""
        body = {"locationId": SAMPLE_LOCATION, "accessToken": SAMPLE_TOKEN, "login": "facebook"}
        path = f"/connections/{SAMPLE_ACCOUNT}"
        await self._call("PUT", path, 200, headers=self._operator, body=json.dumps(body).encode())

    async def forget(self, senders: Sequence[Sender]) -> None:
        """Erase what an earlier run left of the senders, so that this one starts from nothing."""
        for sender in senders:
            path = f"/users/{sender.ig_user_id}"
            await self._call("DELETE", path, 204, headers=self._operator)

    async def deliver(self, body: bytes) -> None:
        """Send a delivery as Meta does, signed."""
        headers = signed_headers(body, self._app_secret)
        await self._call("POST", "/webhook", 200, headers=headers, body=body)

    async def settled(self, senders: Sequence[Sender]) -> list[Finding]:
        """Look the senders up until each has what it should, 20 s at most."""
        findings = await self.look_up(senders)
        try:
            async with asyncio.timeout(_SETTLE_TIMEOUT_S):
                while not all(finding.ok for finding in findings):
                    await asyncio.sleep(_POLL_S)
                    findings = await self.look_up(senders)
        except TimeoutError:
            pass  # what they have got by now is shown, wrong or not
        return findings

    async def look_up(self, senders: Sequence[Sender]) -> list[Finding]:
        """Ask for all senders at once."""
        ids = ",".join(sender.ig_user_id for sender in senders)
        body = await self._call("GET", f"/users?ids={ids}", 200, headers=self._inbox)
        try:
            users = msgspec.json.decode(body, type=dict[str, list[Identity]])["users"]
        except (msgspec.MsgspecError, KeyError) as error:
            raise SandboxError(f"GET /users answered something else: {_text(body)}") from error
        found = {identity.ig_user_id: identity for identity in users}
        return [Finding(sender, found.get(sender.ig_user_id)) for sender in senders]

    async def _call(
        self, method: str, path: str, expected: int, *, headers: dict[str, str], body: bytes = b""
    ) -> bytes:
        """Give the answer's body; raises SandboxError where the status is not `expected`."""
        json_too = {"Content-Type": "application/json"} if body else {}
        try:
            async with self._session.request(
                method, self._url + path, headers=json_too | headers, data=body or None
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SandboxError(_unanswered(method, path, error)) from error
        if response.status != expected:
            got = f"{response.status} instead of {expected}: {_text(answer)}"
            raise SandboxError(f"{method} {PREFIX}{path} answered {got}")
        return answer


def _unanswered(method: str, path: str, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return f"{method} {PREFIX}{path} got no answer ({reason}). The service's log may say why."


def _text(body: bytes) -> str:
    return body[:_SHOWN_OF_AN_ANSWER].decode(errors="replace")
