"""API keys: who may use a route, compared in constant time; wrong keys are limited by address."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from service.http.problems import ProblemError
from service.logs import SparingLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.typedefs import Handler

    from service.http.grant_signing import Grants

WRONG_KEYS_A_MINUTE = 20
GRANT_UNTIL = web.RequestKey("grant_until", datetime)
_WINDOW_S = 60.0
_MOST_ADDRESSES = 10_000
_SCHEME = "bearer "


class Keyring:
    """The keys of both roles; an operator's key opens the inbox's routes too."""

    def __init__(
        self,
        inbox_keys: Iterable[str],
        operator_keys: Iterable[str],
        on_wrong: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inbox = [_digest(key) for key in inbox_keys]
        self._operator = [_digest(key) for key in operator_keys]
        self._on_wrong = on_wrong
        self._wrong = _WrongKeys(clock)
        self._log = SparingLog()

    def for_inbox(self, handler: Handler) -> Handler:
        """Guard a handler: inbox and operator keys."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            self._role(request)
            return await handler(request)

        return guarded

    def for_inbox_or_grant(self, grants: Grants, handler: Handler) -> Handler:
        """Guard a handler: inbox and operator keys, or without one a grant in the query."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if "grant" in request.query and not _has_key(request):
                request[GRANT_UNTIL] = _granted_until(request, grants)
            else:
                self._role(request)
            return await handler(request)

        return guarded

    def for_operator(self, handler: Handler) -> Handler:
        """Guard a handler: operator keys; an inbox key is refused with 403."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if self._role(request) != "operator":
                raise ProblemError(HTTPStatus.FORBIDDEN, "This route needs an operator key.")
            return await handler(request)

        return guarded

    def _role(self, request: web.Request) -> str:
        if not _has_key(request):
            raise _unauthorized("Send an API key: Authorization: Bearer KEY.")
        given = _digest(request.headers["Authorization"][len(_SCHEME) :].strip())
        is_operator = _is_among(given, self._operator)
        is_inbox = _is_among(given, self._inbox)
        if is_operator or is_inbox:
            return "operator" if is_operator else "inbox"
        self._refuse(request.remote or "")
        raise _unauthorized("The API key is not valid.")

    def _refuse(self, address: str) -> None:
        """Count a wrong key; raises 429 once an address has sent too many in a minute."""
        self._on_wrong()
        if self._wrong.count(address) > WRONG_KEYS_A_MINUTE:
            self._log.warning("too many wrong keys", address=address)
            raise ProblemError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "Too many wrong keys from this address; wait a minute.",
                {"Retry-After": str(int(_WINDOW_S))},
            )


class _WrongKeys:
    """How many wrong keys each address has sent within the last minute; bounded in memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_address: OrderedDict[str, list[float]] = OrderedDict()

    def count(self, address: str) -> int:
        """Count one more and return how many there are."""
        now = self._clock()
        times = [at for at in self._by_address.pop(address, []) if now - at < _WINDOW_S]
        times = [*times, now][-(WRONG_KEYS_A_MINUTE + 1) :]
        self._by_address[address] = times
        if len(self._by_address) > _MOST_ADDRESSES:
            self._by_address.popitem(last=False)
        return len(times)


def _has_key(request: web.Request) -> bool:
    return request.headers.get("Authorization", "")[: len(_SCHEME)].lower() == _SCHEME


def _granted_until(request: web.Request, grants: Grants) -> datetime:
    """When the request's grant ends.

    A wrong one does not count as a wrong key: a browser comes back with one that has ended.
    """
    until = grants.expiry(request.query["grant"])
    if until is None:
        raise _unauthorized("The grant has ended or is not valid; ask for a new one.")
    return until


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _is_among(given: bytes, keys: list[bytes]) -> bool:
    """Compare with every key, in the same time whichever matches."""
    found = False
    for key in keys:
        found |= hmac.compare_digest(given, key)
    return found


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
