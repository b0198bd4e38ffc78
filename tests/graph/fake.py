"""A Graph host whose one answer is set by a test."""

import re
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses
from yarl import URL

from service.errors import GraphError
from service.graph.calls import GraphCaller
from service.graph.client import GraphClient
from service.graph.usage import Usage
from service.model.calls import Profile

USER, ACCOUNT, TOKEN = "5550000000000001", "17841400000000007", "EAAmadeupTOKEN"
APP_SECRET = "a made-up app secret"
HOSTS = {"facebook": "https://graph.example", "instagram": "https://ig.graph.example"}
PROFILE = {"id": USER, "username": "jane.doe", "name": "Jane", "profile_pic": "https://p.example"}
ANY_PROFILE_CALL = re.compile(rf"https://(ig\.)?graph\.example/v18\.0/{USER}\?.*")


class Graph:
    """A client of a Graph host whose one answer is set by a test."""

    def __init__(self, session: aiohttp.ClientSession, answers: aioresponses) -> None:
        self.answers = answers
        self.heard: list[tuple[str, Usage]] = []
        self._session = session

    async def fetch(
        self, login: str = "facebook", token: str = TOKEN, timeout_s: float = 5.0
    ) -> Profile:
        caller = GraphCaller(self._session, HOSTS, "v18.0", APP_SECRET, timeout_s)
        client = GraphClient(caller, lambda *heard: self.heard.append(heard))
        return await client.fetch_profile(USER, ACCOUNT, login, token)

    async def fault(self, token: str = TOKEN, timeout_s: float = 5.0, **answer: Any) -> GraphError:  # noqa: ANN401 - what aioresponses takes
        """Answer once, and return what that means."""
        self.answers.get(ANY_PROFILE_CALL, **answer)
        with pytest.raises(GraphError) as raised:
            await self.fetch(token=token, timeout_s=timeout_s)
        return raised.value

    def calls(self) -> list[tuple[URL, dict[str, Any]]]:
        return [
            (url, dict(call.kwargs))
            for (_, url), calls in self.answers.requests.items()
            for call in calls
        ]


def error_body(code: object, subcode: int | None = None, **more: object) -> dict[str, object]:
    error = {"message": "said by Meta", "type": "OAuthException", "code": code, "fbtrace_id": "Tr1"}
    return {"error": error | ({} if subcode is None else {"error_subcode": subcode}) | more}
