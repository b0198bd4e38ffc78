"""A client of the service: connects accounts, sends deliveries, and looks users up."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self, TypeVar

import aiohttp
import msgspec

from sandbox.problems import SandboxError
from sandbox.sample_traffic import SAMPLE_ACCOUNT, SAMPLE_LOCATION, SAMPLE_TOKEN, Sender
from sandbox.samples import signed_headers

PREFIX = "/api/social/instagram"

_CALL_TIMEOUT_S, _SETTLE_TIMEOUT_S, _POLL_S = 15, 20, 0.1
_SHOWN_OF_AN_ANSWER = 500

T = TypeVar("T")


class Identity(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a looked-up identity that the sandbox shows."""

    ig_user_id: str
    display_name: str
    state: str
    reason: str | None
    picture_url: str | None


class WrittenTo(msgspec.Struct, frozen=True, rename="camel"):
    """An account that a person has written to, and the time of the last message."""

    ig_account_id: str
    last_message_at: datetime


class Person(Identity, frozen=True, rename="camel"):
    """A person in the list of people."""

    stale: bool
    is_placeholder: bool
    last_fetched_at: datetime | None
    accounts: list[WrittenTo]

    @property
    def last_message_at(self) -> datetime:
        """The time of the person's last message."""
        return max(account.last_message_at for account in self.accounts)


class Pause(msgspec.Struct, frozen=True):
    """A pause of the calls of one scope."""

    scope: str
    until: datetime
    reason: str


class Answered(msgspec.Struct, frozen=True):
    """The simulator's answer, its effect, and its duration."""

    answer: str
    says: str
    expect: str
    lasts: str


class _People(msgspec.Struct):
    people: list[Person]


class _Status(msgspec.Struct):
    pauses: list[Pause]


class _Answers(msgspec.Struct):
    now: list[object]


class _Sent(msgspec.Struct, rename="camel"):
    ig_user_id: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a sender; `got` is None if the lookup has none."""

    sender: Sender
    got: Identity | None

    @property
    def ok(self) -> bool:
        """Return whether the sender got the expected result."""
        if self.got is None:
            return False
        sender, got = self.sender, self.got
        wanted = (sender.display_name, sender.state, sender.reason, sender.has_picture)
        has_picture = got.picture_url is not None
        return (got.display_name, got.state, got.reason, has_picture) == wanted


class ServiceClient:
    """The service's HTTP interface, used with one key of each kind."""

    def __init__(self, url: str, *, inbox_key: str, operator_key: str, app_secret: str) -> None:
        self._url = url
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
        """Connect the account of the samples."""
        body = {"locationId": SAMPLE_LOCATION, "accessToken": SAMPLE_TOKEN, "login": "facebook"}
        path = f"/connections/{SAMPLE_ACCOUNT}"
        await self._call("PUT", path, 200, headers=self._operator, body=json.dumps(body).encode())

    async def forget(self, senders: Sequence[Sender]) -> None:
        """Erase the senders of an earlier run."""
        for sender in senders:
            path = f"/users/{sender.ig_user_id}"
            await self._call("DELETE", path, 204, headers=self._operator)

    async def deliver(self, body: bytes) -> None:
        """Send a delivery as Meta does, signed."""
        headers = signed_headers(body, self._app_secret)
        await self._call("POST", "/webhook", 200, headers=headers, body=body)

    async def people(self, limit: int) -> list[Person]:
        """List the people who wrote, latest first."""
        body = await self._call("GET", f"/people?limit={limit}", 200, headers=self._operator)
        return _decoded(body, _People).people

    async def pauses(self) -> list[Pause]:
        """List the pauses."""
        body = await self._call("GET", "/status", 200, headers=self._operator)
        return _decoded(body, _Status).pauses

    async def grant(self, lifetime_s: int) -> bytes:
        """Request a grant, as an inbox's server does; returns the body of the answer."""
        body = json.dumps({"expiresIn": lifetime_s}).encode()
        return await self._call("POST", "/grants", 200, headers=self._inbox, body=body)

    async def send_from_stranger(self) -> str:
        """Send a message from a new user by the sandbox's route; returns the user's id."""
        return _decoded(await self._own("POST", "messages", b"{}"), _Sent).ig_user_id

    async def break_meta(self, answer: str) -> Answered:
        """Make the simulator give this answer to every call."""
        body = json.dumps({"answer": answer}).encode()
        return _decoded(await self._own("PUT", "answer", body), Answered)

    async def is_meta_broken(self) -> bool:
        """Return whether the simulator has a scripted answer."""
        return bool(_decoded(await self._own("GET", "answers"), _Answers).now)

    async def mend_meta(self) -> None:
        """Make the simulator answer normally, and store the sample account's token again."""
        await self._own("DELETE", "answer")

    async def end_pauses(self) -> None:
        """Delete every pause."""
        await self._own("DELETE", "pauses")

    async def _own(self, method: str, path: str, body: bytes = b"") -> bytes:
        path = f"/console/sandbox/{path}"
        return await self._call(method, path, 200, headers=self._operator, body=body, prefix="")

    async def settled(self, senders: Sequence[Sender]) -> list[Finding]:
        """Look the senders up until each has the expected result, for at most 20 s."""
        findings = await self.look_up(senders)
        try:
            async with asyncio.timeout(_SETTLE_TIMEOUT_S):
                while not all(finding.ok for finding in findings):
                    await asyncio.sleep(_POLL_S)
                    findings = await self.look_up(senders)
        except TimeoutError:
            pass  # the results are shown as they are
        return findings

    async def look_up(self, senders: Sequence[Sender]) -> list[Finding]:
        """Look up all senders in one request."""
        ids = ",".join(sender.ig_user_id for sender in senders)
        body = await self._call("GET", f"/users?ids={ids}", 200, headers=self._inbox)
        try:
            users = msgspec.json.decode(body, type=dict[str, list[Identity]])["users"]
        except (msgspec.MsgspecError, KeyError) as error:
            raise SandboxError(f"GET /users answered something else: {_text(body)}") from error
        found = {identity.ig_user_id: identity for identity in users}
        return [Finding(sender, found.get(sender.ig_user_id)) for sender in senders]

    async def _call(
        self,
        method: str,
        path: str,
        expected: int,
        *,
        headers: dict[str, str],
        body: bytes = b"",
        prefix: str = PREFIX,
    ) -> bytes:
        """Return the answer's body; raises SandboxError if the status is not `expected`."""
        path = prefix + path
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
            raise SandboxError(f"{method} {path} answered {got}")
        return answer


def _decoded(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError as error:
        raise SandboxError(f"The service answered something else: {_text(body)}") from error


def _unanswered(method: str, path: str, error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return f"{method} {path} got no answer ({reason}). The service's log may say why."


def _text(body: bytes) -> str:
    return body[:_SHOWN_OF_AN_ANSWER].decode(errors="replace")
