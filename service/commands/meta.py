"""Pages of the Graph API that are not profiles: read with a token, refused in our own terms."""

from __future__ import annotations

import asyncio
import hmac
import json
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from service.errors import AccountFault, NobodysFault
from service.graph.client import Usage, read_error, read_usage
from service.model import GraphProblem
from service.wording import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from service.errors import GraphError
    from service.settings import GraphSettings

MOST_BODY_BYTES = 4 << 20
LIST_TIMEOUT_S = 10.0  # lists take Meta longer than a profile


class Page(msgspec.Struct, frozen=True):
    """An answer: its JSON object, or whose fault it is that there is none.

    `version` is the one that answered, empty if Meta did not say.
    """

    body: dict[str, Any]
    fault: GraphError | None
    version: str
    usage: Usage


class MetaReader:
    """Gets pages; the token goes into a header, no redirect is followed, nothing is logged."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        hosts: Mapping[str, str],
        version: str,
        app_secret: str,
        timeout_s: float = LIST_TIMEOUT_S,
    ) -> None:
        self._session = session
        self._hosts = hosts
        self._app_secret = app_secret.encode()
        self._timeout_s = timeout_s
        self.version = version

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: GraphSettings, timeout_s: float = LIST_TIMEOUT_S
    ) -> AsyncIterator[MetaReader]:
        """Make a reader that keeps no cookies and reads no proxy from the environment."""
        hosts = {
            "facebook": settings.graph_base_url,
            "instagram": settings.instagram_graph_base_url,
        }
        secret = settings.meta_app_secrets[0].get_secret_value()
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield cls(session, hosts, settings.graph_api_version, secret, timeout_s)

    def app_token(self, app_id: str) -> str:
        """Make the app's own access token ("Access tokens": app access tokens)."""
        return f"{app_id}|{self._app_secret.decode()}"

    async def get(self, login: str, path: str, token: str, **query: str) -> Page:
        """Get one page within the timeout; a failure of any kind is the page's fault."""
        try:
            async with asyncio.timeout(self._timeout_s):
                status, headers, body = await self._get(login, path, token, query)
        except TimeoutError:
            return Page({}, NobodysFault(GraphProblem("timeout")), "", Usage())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = GraphProblem("upstream_error", message=type(error).__name__)
            return Page({}, NobodysFault(problem), "", Usage())
        version = headers.get("facebook-api-version", "")
        return read_page(status, body.replace(token.encode(), b"[token]"), version, headers)

    async def _get(
        self, login: str, path: str, token: str, query: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        proof = hmac.digest(self._app_secret, token.encode(), "sha256").hex()
        async with self._session.get(
            f"{self._hosts[login]}/{self.version}/{path}",
            params={**query, "appsecret_proof": proof},
            headers={"Authorization": f"Bearer {token}"},
            allow_redirects=False,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                body += chunk
                if len(body) > MOST_BODY_BYTES:
                    raise ValueError("the answer is too long")
            return response.status, response.headers, bytes(body)


def read_page(status: int, body: bytes, version: str, headers: Mapping[str, str]) -> Page:
    """Tell an answer from an error, and whose error it is."""
    usage = read_usage(headers)
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        return Page({}, _not_json(status, usage), version, usage)
    if "error" in answer or status != HTTPStatus.OK:
        return Page({}, read_error(status, answer.get("error"), usage), version, usage)
    return Page(answer, None, version, usage)


def _not_json(status: int, usage: Usage) -> GraphError:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return AccountFault(GraphProblem("throttled", message="HTTP 429"), usage.regain_s)
    return NobodysFault(GraphProblem("upstream_error", message=f"HTTP {status}"))


def describe_fault(fault: GraphError) -> str:
    """Name a fault the way Meta's support wants it: code, subcode, trace id."""
    problem = fault.problem
    parts = [
        f"code {problem.code}" if problem.code is not None else "",
        f"subcode {problem.subcode}" if problem.subcode is not None else "",
        f"trace {problem.fbtrace_id}" if problem.fbtrace_id else "",
    ]
    known = ", ".join(part for part in parts if part)
    return printable(f"{problem.reason}{f' ({known})' if known else ''}")
