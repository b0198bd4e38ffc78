"""The profile call of Meta's Graph API, and what each answer means.

Source: Meta for Developers, "Instagram Platform: User Profile API", "Graph API: Handling errors"
and "Graph API: Rate limits". Errors are told apart by `code` and `error_subcode`, never by the
HTTP status alone and never by the message.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from service.errors import AccountFault, AppFault, GraphError, NobodysFault, UserFault
from service.model import GraphProblem, Profile, bounded_name, ig_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROFILE_FIELDS = "name,username,profile_pic"
MOST_BODY_BYTES = 256 * 1024
LONGEST_MESSAGE = 1000  # characters
POLICY_BLOCK = 368
POLICY_BLOCK_S = 6 * 3600.0
_THROTTLE_CODES = frozenset({4, 17, 32, 341, 613, *range(80000, 80015)})
_APP_THROTTLE_CODES = frozenset({4, 341})
_TOKEN_CODES = frozenset({102, 190})
_PERMISSION_CODES = frozenset({10, *range(200, 300)})
_PASSING_CODES = frozenset({1, 2})
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500
_OK = 200
_LARGEST = 1e308  # a longer integer is no float
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Usage(msgspec.Struct, frozen=True):
    """How much of Meta's limits is used, in percent, and the wait that Meta asks for.

    `app` is None where Meta says nothing of it, as it does after few calls.
    """

    app: float | None = None
    account: float = 0
    regain_s: float | None = None


class GraphClient:
    """Fetches profiles; raises what an answer means as a GraphError.

    `hosts` maps a connection's login to the base URL of its Graph host. `on_usage` hears the
    usage headers of every answer, with the account it was for.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        hosts: Mapping[str, str],
        version: str,
        app_secret: str,
        timeout_s: float,
        on_usage: Callable[[str, Usage], None],
    ) -> None:
        self._session = session
        self._hosts = hosts
        self._version = version
        self._app_secret = app_secret.encode()
        self._timeout_s = timeout_s
        self._on_usage = on_usage

    async def fetch_profile(
        self, ig_user_id: str, ig_account_id: str, login: str, token: str
    ) -> Profile:
        """Fetch one profile within the timeout for the whole call; no redirect is followed."""
        try:
            async with asyncio.timeout(self._timeout_s):
                status, headers, body = await self._get(ig_user_id, login, token)
        except TimeoutError:
            raise NobodysFault(GraphProblem("timeout")) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NobodysFault(_upstream(type(error).__name__)) from None
        usage = read_usage(headers)
        self._on_usage(ig_account_id, usage)
        return read_answer(ig_user_id, status, _redacted(body, token), usage)

    async def _get(
        self, ig_user_id: str, login: str, token: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with self._session.get(
            f"{self._hosts[login]}/{self._version}/{ig_user_id}",
            params={"fields": PROFILE_FIELDS, "appsecret_proof": self._proof(token)},
            headers={"Authorization": f"Bearer {token}"},
            allow_redirects=False,
        ) as response:
            body = await response.content.read(MOST_BODY_BYTES + 1)
            while not response.content.at_eof() and len(body) <= MOST_BODY_BYTES:
                body += await response.content.read(MOST_BODY_BYTES + 1 - len(body))
            return response.status, response.headers, body

    def _proof(self, token: str) -> str:
        """Sign the token with the app secret ("Securing Graph API calls": appsecret_proof)."""
        return hmac.digest(self._app_secret, token.encode(), "sha256").hex()


def _redacted(body: bytes, token: str) -> bytes:
    """Strike a token out, also as JSON writes it: Graph escapes slashes."""
    escaped = json.dumps(token)[1:-1]
    for form in (token, escaped, escaped.replace("/", "\\/")):
        body = body.replace(form.encode(), b"[token]")
    return body


def graph_session(connections: int) -> aiohttp.ClientSession:
    """Open a client that keeps no cookies, reads no proxy and never sends a call twice."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        middlewares=[_send_once],
    )


class _LostConnectionError(aiohttp.ClientError):
    """The connection broke while a call was under way."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hide lost connections from aiohttp, which would repeat the call outside the budget."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostConnectionError(type(error).__name__) from error


def read_answer(ig_user_id: str, status: int, body: bytes, usage: Usage) -> Profile:
    """Turn an answer into a profile, or raise whose fault it is that there is none."""
    answer = _decode(body)
    if answer is None:
        if status == _TOO_MANY_REQUESTS:
            raise AccountFault(GraphProblem("throttled", message="HTTP 429"), usage.regain_s)
        raise NobodysFault(_upstream(f"HTTP {status}, and the body is not a JSON object"))
    if "error" in answer or status != _OK:
        raise read_error(status, answer.get("error"), usage)
    if ig_id(answer.get("id")) != ig_user_id:
        raise NobodysFault(_upstream("the answer is another user's"))
    return Profile(
        username=bounded_name(_text(answer.get("username"))),
        name=bounded_name(_text(answer.get("name"))),
        profile_pic_url=_text(answer.get("profile_pic")),
        raw=_raw(answer),
    )


def _raw(answer: dict[str, Any]) -> str:
    try:
        return json.dumps(_storable(answer), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise NobodysFault(_upstream("the answer is nested too deeply")) from None


def read_error(status: int, error: object, usage: Usage) -> GraphError:
    """Classify an error object by its code and subcode; the rows that throttle always win."""
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    code, subcode = _integer(fields.get("code")), _integer(fields.get("error_subcode"))

    def problem(reason: str) -> GraphProblem:
        return GraphProblem(
            reason,
            code,
            subcode,
            _words(fields.get("message")),
            _words(fields.get("fbtrace_id")),
        )

    upstream = problem("upstream_error")
    if code in _THROTTLE_CODES or status == _TOO_MANY_REQUESTS:
        fault = AppFault if code in _APP_THROTTLE_CODES else AccountFault
        return fault(problem("throttled"), usage.regain_s)
    if fields.get("is_transient") is True or code is None or code in _PASSING_CODES:
        return NobodysFault(upstream)
    if code == 230:
        return UserFault(problem("consent_required"))
    if code in {9010, 803} or (code, subcode) == (100, 33):
        return UserFault(problem("not_found"))
    if code in _TOKEN_CODES:
        return AccountFault(problem("token_invalid"))
    if code in _PERMISSION_CODES:
        return AccountFault(problem("permission"))
    if code == POLICY_BLOCK:
        return AccountFault(problem("throttled"), POLICY_BLOCK_S)
    if code in {100, 2500}:
        return AppFault(problem("bad_request"))
    return NobodysFault(upstream) if status >= _SERVER_ERROR else UserFault(upstream)


def read_usage(headers: Mapping[str, str]) -> Usage:
    """Read Meta's usage headers ("Graph API: Rate limits"); what can't be read counts as none."""
    app = _percent(_json_header(headers, "X-App-Usage")) or None
    business = _json_header(headers, "X-Business-Use-Case-Usage")
    rows = [row for found in business.values() if isinstance(found, list) for row in found]
    rows = [row for row in rows if isinstance(row, dict)]
    minutes = [_number(row.get("estimated_time_to_regain_access")) for row in rows]
    regain_s = max([_retry_after(headers), *(minute * 60 for minute in minutes)], default=0.0)
    return Usage(app, max(map(_percent, rows), default=0.0), min(regain_s, 86_400.0) or None)


def _json_header(headers: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(headers.get(name, "{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _percent(usage: dict[str, Any]) -> float:
    return max(_number(usage.get(key)) for key in ("call_count", "total_time", "total_cputime"))


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return _number(float(headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= _LARGEST else 0.0  # type: ignore[arg-type,operator]


def _decode(body: bytes) -> dict[str, Any] | None:
    if len(body) > MOST_BODY_BYTES:
        return None
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _upstream(message: str) -> GraphProblem:
    return GraphProblem("upstream_error", message=message)


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value) if -(2**31) <= int(value) < 2**31 else None
    except ValueError:
        return None


def _text(value: object) -> str | None:
    return _storable_text(value) if isinstance(value, str) else None


def _words(value: object) -> str | None:
    """Read Meta's text for people, which goes into the table and the log; cut if it is long."""
    text = _text(value)
    return None if text is None else text[:LONGEST_MESSAGE]


def _storable_text(text: str) -> str:
    """Replace what Postgres can't hold: NUL and lone surrogates."""
    return (
        text.replace("\0", _REPLACEMENT)
        .encode("utf-16", "surrogatepass")
        .decode("utf-16", "replace")
    )


def _storable(value: object) -> object:
    """Replace whatever jsonb can't hold, in every depth."""
    if isinstance(value, str):
        return _storable_text(value)
    if isinstance(value, dict):
        return {_storable_text(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
