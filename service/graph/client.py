"""The profile call of Meta's Graph API ("Instagram Platform: User Profile API")."""

from __future__ import annotations

from collections.abc import Callable

from service.graph.answers import PROFILE_FIELDS, read_profile
from service.graph.calls import GraphCaller
from service.graph.usage import Usage, read_usage
from service.model.calls import Profile


class GraphClient:
    """Fetches profiles; raises failures as GraphError.

    `on_usage` gets the account and the usage headers of every answer.
    """

    def __init__(self, caller: GraphCaller, on_usage: Callable[[str, Usage], None]) -> None:
        self._caller = caller
        self._on_usage = on_usage

    async def fetch_profile(
        self, ig_user_id: str, ig_account_id: str, login: str, token: str
    ) -> Profile:
        """Fetch one profile."""
        query = {"fields": ",".join(PROFILE_FIELDS)}
        answer = await self._caller.get(login, ig_user_id, token, query)
        usage = read_usage(answer.headers)
        self._on_usage(ig_account_id, usage)
        return read_profile(ig_user_id, answer, usage)
