"""A client of the operator routes, with clear messages for errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote

import aiohttp
import msgspec

from service.commands.output import CommandError
from service.settings import ClientSettings
from service.wording import printable

PREFIX = "/api/social/instagram"
CALL_TIMEOUT_S = 10.0
ERASE_TIMEOUT_S = 60.0
BACKFILL_TIMEOUT_S = 75.0  # the service takes at most 30 s, plus database time
MOST_ANSWER_BYTES = 16 << 20

Shape = TypeVar("Shape")


class BackfilledUser(msgspec.Struct, frozen=True, rename="camel"):
    """The result of a backfill request for one user."""

    ig_user_id: str
    outcome: str
    reason: str | None = None


class BackfillRound(msgspec.Struct, frozen=True, rename="camel"):
    """The report of one backfill request."""

    candidates: int
    remaining: int
    results: list[BackfilledUser]
    waiting: int = 0
    stopped: int = 0
    paused: int = 0
    waiting_until: datetime | None = None
    asked_at: datetime | None = None


class ConnectionLine(msgspec.Struct, frozen=True, rename="camel"):
    """A connection as the service lists it, without its token."""

    ig_account_id: str
    location_id: str
    alias_ids: list[str] = []
    login: str = ""
    token_status: str = ""
    is_plain: bool = False
    paused_until: str | None = None
    pause_reason: str | None = None
    username: str | None = None


class ConnectionList(msgspec.Struct, frozen=True):
    """All connections."""

    connections: list[ConnectionLine]


class StatusQueue(msgspec.Struct, frozen=True, rename="camel"):
    """The queue of the process that answered."""

    depth: int = 0
    oldest_seconds: float = 0
    in_flight: int = 0


class StatusBudget(msgspec.Struct, frozen=True, rename="camel"):
    """The budget over all replicas; `pace` is the share that Meta's usage headers leave."""

    per_second: float = 0
    pace: float = 1


class StatusPause(msgspec.Struct, frozen=True):
    """A pause of the calls of one scope."""

    scope: str
    until: str
    reason: str


class ServiceStatus(msgspec.Struct, frozen=True):
    """The part of `/status` that the commands show."""

    postgres: str = "unknown"
    queue: StatusQueue = StatusQueue()
    budget: StatusBudget = StatusBudget()
    pauses: list[StatusPause] = []


class ApiError(CommandError):
    """A request that the service refused, with the HTTP status and the requested wait."""

    def __init__(self, message: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class UnreachableError(CommandError):
    """The service does not answer, or not in time; `advice` says what to check."""

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(f"{text} {advice}")
        self.text = text
        self.advice = advice


class _Erased(msgspec.Struct):
    erased: int


class OperatorApi:
    """Calls the service with an operator key, which is sent in a header only."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: ClientSettings, url: str | None) -> AsyncIterator[OperatorApi]:
        """Open a client for the service at `url`, by default that of the settings."""
        key = settings.operator_api_keys[0].get_secret_value()
        async with aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"}, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield cls(session, url or settings.url)

    async def backfill(
        self,
        location_id: str,
        days: int,
        *,
        include_failed: bool,
        failed_before: datetime | None = None,
    ) -> BackfillRound:
        """Ask for one backfill round; takes up to 30 s."""
        query = {"locationId": location_id, "days": str(days)}
        if include_failed:
            query["includeFailed"] = "true"
        if failed_before is not None:
            query["failedBefore"] = failed_before.isoformat()
        body = await self._call("POST", "/messages/backfill", BACKFILL_TIMEOUT_S, query=query)
        return self._read(body, BackfillRound)

    async def connections(self) -> tuple[ConnectionList, msgspec.Raw]:
        """List the connections, decoded and as raw JSON."""
        body = await self._call("GET", "/connections")
        return self._read(body, ConnectionList), msgspec.Raw(body)

    async def put_connection(
        self, ig_account_id: str, wanted: Mapping[str, object]
    ) -> ConnectionLine:
        """Create or replace a connection."""
        path = f"/connections/{quote(ig_account_id, safe='')}"
        return self._read(await self._call("PUT", path, body=wanted), ConnectionLine)

    async def delete_connection(self, ig_account_id: str) -> None:
        """Remove a connection; raises ApiError 404 if there is none."""
        await self._call("DELETE", f"/connections/{quote(ig_account_id, safe='')}")

    async def erase(self, ig_user_ids: Sequence[str]) -> int:
        """Erase everything stored about at most 1,000 users; returns their number."""
        body = await self._call(
            "POST", "/users/erase", ERASE_TIMEOUT_S, body={"igUserIds": ig_user_ids}
        )
        return self._read(body, _Erased).erased

    async def status(self) -> ServiceStatus:
        """Read the state of the service."""
        return self._read(await self._call("GET", "/status"), ServiceStatus)

    async def _call(
        self,
        method: str,
        path: str,
        timeout_s: float = CALL_TIMEOUT_S,
        query: Mapping[str, str] | None = None,
        body: object = None,
    ) -> bytes:
        try:
            async with self._session.request(
                method,
                f"{self.url}{PREFIX}{path}",
                params=query,
                data=None if body is None else msgspec.json.encode(body),
                headers={} if body is None else {"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                answer = await _bounded(response)
        except TimeoutError:
            raise _timed_out(self.url, timeout_s) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _unreachable(self.url, error) from None
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise _refusal(self.url, response.status, response.headers, answer)
        return answer

    def _read(self, body: bytes, shape: type[Shape]) -> Shape:
        try:
            return msgspec.json.decode(body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _wrong_server(self.url) from None


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        body += chunk
        if len(body) > MOST_ANSWER_BYTES:
            raise ValueError("the answer is too long")
    return bytes(body)


def _timed_out(url: str, timeout_s: float) -> UnreachableError:
    return UnreachableError(
        f"The service at {url} gave no answer within {timeout_s:g} s.",
        "Its log says what it waits for.",
    )


def _unreachable(url: str, error: Exception) -> UnreachableError:
    return UnreachableError(
        f"The service does not answer at {url} ({type(error).__name__}).",
        "Start it, or correct SERVICE_URL or --url (without them: this machine, at PORT).",
    )


def _wrong_server(url: str) -> UnreachableError:
    return UnreachableError(
        f"The server at {url} is not this service, or another version of it.",
        "Correct SERVICE_URL or --url.",
    )


def _refusal(url: str, status: int, headers: Mapping[str, str], body: bytes) -> CommandError:
    detail = _detail(body)
    messages: dict[int, str] = {
        HTTPStatus.UNAUTHORIZED: (
            f"The service at {url} does not know the key: the first key in OPERATOR_API_KEYS here "
            "must be one of those in OPERATOR_API_KEYS there."
        ),
        HTTPStatus.FORBIDDEN: (
            "The first key in OPERATOR_API_KEYS here is an inbox key to the service at "
            f"{url}: put one of its operator keys there."
        ),
        HTTPStatus.TOO_MANY_REQUESTS: (
            f"The service at {url} got too many wrong keys from this address: correct "
            "OPERATOR_API_KEYS; a valid key works immediately."
        ),
        HTTPStatus.SERVICE_UNAVAILABLE: (
            f"The service at {url} runs, but refuses for now: {detail or 'no reason given.'} "
            "See `doctor`."
        ),
    }
    if detail is None and status not in messages:
        return _wrong_server(url)
    return ApiError(messages.get(status, detail or ""), status, _seconds(headers))


def _detail(body: bytes) -> str | None:
    """Read the detail of a problem (RFC 9457); None if the body is something else."""
    try:
        problem = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return printable(detail) if isinstance(detail, str) else None


def _seconds(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None
