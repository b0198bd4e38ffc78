"""GET calls to Meta's Graph API, with a bounded answer from which secrets are removed.

Source: Meta for Developers, "Securing Graph API calls" (appsecret_proof). The proof is sent to
graph.facebook.com only, not to graph.instagram.com.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
import msgspec

from service.errors import AccountFault, NobodysFault
from service.graph.redaction import clean, clean_text
from service.model.calls import GraphProblem
from service.settings import GraphSettings

MOST_BODY_BYTES = 256 * 1024
_PROVEN_LOGIN = "facebook"
_SECRET_PARAMETERS = ("input_token", "access_token")
_SHORTEST_SECRET = 8  # redacting shorter strings would garble names


class Answer(msgspec.Struct, frozen=True):
    """An HTTP answer; `body` is its redacted JSON object, None if it is not one.

    `version` is the API version that answered, empty if Meta did not send it.
    """

    status: int
    body: dict[str, Any] | None
    headers: Mapping[str, str] = {}
    version: str = ""


class GraphCaller:
    """Makes calls; every secret that was sent is redacted from the answer.

    `hosts` maps a connection's login to the base URL of its Graph host.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        hosts: Mapping[str, str],
        version: str,
        app_secret: str,
        timeout_s: float,
        most_body_bytes: int = MOST_BODY_BYTES,
    ) -> None:
        self._session = session
        self._hosts = hosts
        self.version = version
        self._app_secret = app_secret
        self._timeout_s = timeout_s
        self._most_body_bytes = most_body_bytes

    async def get(self, login: str, path: str, token: str, query: Mapping[str, str]) -> Answer:
        """Make one GET call within the timeout; does not follow redirects.

        Raises NobodysFault if there is no answer, AccountFault if the token cannot be sent in a
        header.
        """
        if not is_sendable(token):
            message = "the stored token holds characters that no HTTP header can"
            raise AccountFault(GraphProblem("token_invalid", message=message))
        proof = {"appsecret_proof": self._proof(token)} if login == _PROVEN_LOGIN else {}
        url = f"{self._hosts[login]}/{self.version}/{path}"
        headers = {"Authorization": f"Bearer {token}"}
        return await self._call(url, {**query, **proof}, headers, [token, *proof.values()])

    async def get_unversioned(self, login: str, path: str, query: Mapping[str, str]) -> Answer:
        """Call an endpoint without a version, with the token in the query."""
        return await self._call(f"{self._hosts[login]}/{path}", query, {}, [])

    def app_token(self, app_id: str) -> str:
        """Return the app access token ("Access tokens": app access tokens)."""
        return f"{app_id}|{self._app_secret}"

    async def _call(
        self, url: str, query: Mapping[str, str], headers: Mapping[str, str], sent: list[str]
    ) -> Answer:
        try:
            async with asyncio.timeout(self._timeout_s):
                status, answered, body = await self._get(url, query, headers)
        except TimeoutError:
            raise NobodysFault(GraphProblem("timeout")) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NobodysFault(upstream_problem(type(error).__name__)) from None
        sent += [query.get(name, "") for name in _SECRET_PARAMETERS]
        return self._answer(status, answered, body, sent)

    async def _get(
        self, url: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with self._session.get(
            url, params=query, headers=headers, allow_redirects=False
        ) as response:
            most, body = self._most_body_bytes + 1, bytearray()
            while len(body) < most and not response.content.at_eof():
                body += await response.content.read(most - len(body))
            return response.status, response.headers, bytes(body)

    def _answer(
        self, status: int, headers: Mapping[str, str], body: bytes, sent: Iterable[str]
    ) -> Answer:
        known = {secret for secret in (*sent, self._app_secret) if len(secret) >= _SHORTEST_SECRET}
        secrets = sorted(known, key=len, reverse=True)
        decoded = None if len(body) > self._most_body_bytes else decode(body, secrets)
        version = clean_text(headers.get("facebook-api-version", ""), secrets)
        return Answer(status, decoded, headers, version)

    def _proof(self, token: str) -> str:
        return hmac.digest(self._app_secret.encode(), token.encode(), "sha256").hex()


def graph_caller(
    settings: GraphSettings,
    session: aiohttp.ClientSession,
    timeout_s: float,
    most_body_bytes: int = MOST_BODY_BYTES,
) -> GraphCaller:
    """Create a caller of the configured hosts that signs with the first app secret."""
    hosts = {"facebook": settings.graph_base_url, "instagram": settings.instagram_graph_base_url}
    secret = settings.meta_app_secrets[0].get_secret_value()
    return GraphCaller(
        session, hosts, settings.graph_api_version, secret, timeout_s, most_body_bytes
    )


def is_sendable(token: str) -> bool:
    """Return whether a token can be sent in an HTTP header."""
    return bool(token) and not any(ord(character) < ord(" ") for character in token)


def decode(body: bytes, secrets: Iterable[str] = ()) -> dict[str, Any] | None:
    """Decode a JSON object, redacted and storable; None if the body is not one."""
    try:
        answer = clean(json.loads(body), list(secrets))
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def upstream_problem(message: str) -> GraphProblem:
    """Return the problem of a call that failed in transit or at Meta."""
    return GraphProblem("upstream_error", message=message)


def graph_session(connections: int) -> aiohttp.ClientSession:
    """Open a client that keeps no cookies, ignores proxy variables and never repeats a call."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        middlewares=[_send_once],
    )


class _LostConnectionError(aiohttp.ClientError):
    """The client connection broke during a call."""


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hide a lost connection from aiohttp, which would repeat the call outside the budget."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostConnectionError(type(error).__name__) from error
