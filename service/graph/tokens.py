"""Graph calls about access tokens: inspection, the owning account, and renewal.

Source: Meta for Developers, "Graph API: Debug-Token"; "Instagram API with Instagram Login: Get
started" (`/me`) and "Refresh a long-lived token".
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from service.errors import AccountFault, NobodysFault
from service.graph.answers import read_object
from service.graph.calls import GraphCaller, is_sendable, upstream_problem
from service.graph.usage import read_usage
from service.model.calls import GraphProblem, TokenFacts

INSTAGRAM = "instagram"
_LONGEST_USERNAME = 100
_A_CENTURY_S = 100 * 366 * 86_400


class RenewedToken(msgspec.Struct, frozen=True):
    """A token that replaces an old one, and for how many seconds it is valid."""

    token: str
    expires_in_s: float | None

    def __repr__(self) -> str:
        return "RenewedToken(…)"


class TokenCalls:
    """Calls Meta about tokens; raises GraphError.

    With `app_id`, tokens are inspected with the app access token, else with themselves.
    """

    def __init__(self, caller: GraphCaller, app_id: str = "") -> None:
        self._caller = caller
        self._app_id = app_id

    async def inspect(self, login: str, token: str) -> TokenFacts:
        """Call debug_token; raises AccountFault `token_invalid` if the token is dead."""
        asker = self._caller.app_token(self._app_id) if self._app_id else token
        body = await self._get(login, "debug_token", asker, input_token=token)
        found = body.get("data")
        debug: dict[str, Any] = found if isinstance(found, dict) else {}
        if debug.get("is_valid") is not True:
            raise _dead(debug)
        scopes = debug.get("scopes")
        return TokenFacts(
            read_moment(debug.get("expires_at")),
            read_moment(debug.get("data_access_expires_at")),
            tuple(map(str, scopes)) if isinstance(scopes, list) else None,
        )

    async def username(self, ig_account_id: str, login: str, token: str) -> str | None:
        """Fetch the account's username, which also proves that its token works."""
        if login == INSTAGRAM:
            body = await self._get(login, "me", token, fields="id,username")
        else:
            body = await self._get(login, ig_account_id, token, fields="username")
        return _username(body)

    async def try_token(self, login: str, token: str) -> str | None:
        """Call `/me`; raises AccountFault `token_invalid` if the token is dead.

        Returns the account's username if the answer describes an Instagram account.
        """
        fields = "id,username" if login == INSTAGRAM else "id"
        return _username(await self._get(login, "me", token, fields=fields))

    async def renew(self, token: str) -> RenewedToken:
        """Renew an Instagram token. The URL contains the old token, so it is never logged."""
        answer = await self._caller.get_unversioned(
            INSTAGRAM,
            "refresh_access_token",
            {"grant_type": "ig_refresh_token", "access_token": token},
        )
        body = read_object(answer, read_usage(answer.headers))
        renewed, expires_in_s = body.get("access_token"), body.get("expires_in")
        if not isinstance(renewed, str) or not is_sendable(renewed):
            raise NobodysFault(upstream_problem("the answer holds no new token"))
        is_known = isinstance(expires_in_s, int | float) and 0 < expires_in_s < _A_CENTURY_S
        return RenewedToken(renewed, float(expires_in_s) if is_known else None)  # type: ignore[arg-type]

    async def _get(self, login: str, path: str, token: str, **query: str) -> dict[str, Any]:
        answer = await self._caller.get(login, path, token, query)
        return read_object(answer, read_usage(answer.headers))


def _dead(debug: dict[str, Any]) -> AccountFault:
    """Return the fault that debug_token reports for a dead token."""
    error = debug.get("error")
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    code, subcode, message = (fields.get(name) for name in ("code", "subcode", "message"))
    return AccountFault(
        GraphProblem(
            "token_invalid",
            code if isinstance(code, int) else None,
            subcode if isinstance(subcode, int) else None,
            message if isinstance(message, str) else None,
        )
    )


def _username(body: dict[str, Any]) -> str | None:
    found = body.get("username")
    return found[:_LONGEST_USERNAME] if isinstance(found, str) and found else None


def read_moment(unix_seconds: object) -> datetime | None:
    """Parse a time of debug_token; 0 means never."""
    if isinstance(unix_seconds, bool) or not isinstance(unix_seconds, int) or unix_seconds <= 0:
        return None
    try:
        return datetime.fromtimestamp(unix_seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
