"""Authorization by API keys and grants; keys are compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from service.http.grant_signing import Grants
from service.http.guesses import Guesses
from service.http.heads import GRANTED, Granted
from service.http.problems import ProblemError, bad_request

_SCHEME = "bearer "


class Keyring:
    """The keys of both roles; an operator key is valid on the inbox's routes too."""

    def __init__(
        self,
        inbox_keys: Iterable[str],
        operator_keys: Iterable[str],
        guesses: Guesses,
    ) -> None:
        self._inbox = [_digest(key) for key in inbox_keys]
        self._operator = [_digest(key) for key in operator_keys]
        self._guesses = guesses

    def for_inbox(self, handler: Handler) -> Handler:
        """Guard a handler: inbox and operator keys."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            self._role(request)
            return await handler(request)

        return guarded

    def for_inbox_or_grant(self, grants: Grants, handler: Handler) -> Handler:
        """Guard a handler: inbox and operator keys, or without one a grant in the query."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if "grant" in request.query and _key(request) is None:
                request[GRANTED] = _granted(request, grants)
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
        key = _key(request)
        if key is None:
            raise _unauthorized("Send an API key: Authorization: Bearer KEY.")
        given = _digest(key)
        is_operator = _is_among(given, self._operator)
        is_inbox = _is_among(given, self._inbox)
        if is_operator or is_inbox:
            return "operator" if is_operator else "inbox"
        self._guesses.refuse(request.remote)
        raise _unauthorized("The API key is not valid.")


def _key(request: web.Request) -> str | None:
    """Return the request's key; raises 400 for several, since a proxy may have checked another.

    `Bearer` is matched case-insensitively.
    """
    given = request.headers.getall("Authorization", [])
    if len(given) > 1:
        raise bad_request("Send one Authorization header.")
    if not given or given[0][: len(_SCHEME)].lower() != _SCHEME:
        return None
    return given[0][len(_SCHEME) :].strip()


def _granted(request: web.Request, grants: Grants) -> Granted:
    """Return the request's grant; raises 401 if it is invalid.

    That does not count as a wrong key: browsers retry with an expired grant.
    """
    given = request.query.getall("grant")
    until = grants.expiry(given[0]) if len(given) == 1 else None
    if until is None:
        raise _unauthorized("The grant has expired or is not valid; request a new one.")
    return Granted(given[0], until)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _is_among(given: bytes, keys: list[bytes]) -> bool:
    """Compare with every key, so that the time does not depend on which one matches."""
    found = False
    for key in keys:
        found |= hmac.compare_digest(given, key)
    return found


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})
