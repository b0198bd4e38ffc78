"""The conversation call, which returns the usernames of a thread's participants.

Source: Meta for Developers, "Instagram Messaging: Get conversations". A participant has an
id and usually a username; the business is one of them.
"""

from __future__ import annotations

from typing import Any

from service.graph.answers import read_object
from service.graph.calls import GraphCaller
from service.graph.usage import CONVERSATION_POOLS, Usage, read_usage
from service.model.contacts import ig_id
from service.model.identity import is_blank

LONGEST_USERNAME = 200  # Instagram's own limit is 30


class ConversationClient:
    """Finds usernames in conversations; raises failures as GraphError."""

    def __init__(self, caller: GraphCaller) -> None:
        self._caller = caller

    async def fetch_username(
        self, ig_user_id: str, login: str, token: str
    ) -> tuple[str | None, Usage]:
        """Fetch a user's username, None if the conversation does not show it, and the usage."""
        query = {"platform": "instagram", "user_id": ig_user_id, "fields": "participants"}
        answer = await self._caller.get(login, "me/conversations", token, query)
        usage = read_usage(answer.headers, CONVERSATION_POOLS)
        threads = read_object(answer, usage).get("data")
        people = participants(threads if isinstance(threads, list) else [])
        return people.get(ig_user_id), usage


def participants(threads: list[Any]) -> dict[str, str | None]:
    """Map the id of each participant of some threads to the username, None if not shown."""
    found: dict[str, str | None] = {}
    for thread in threads:
        listed = thread.get("participants") if isinstance(thread, dict) else None
        people = listed.get("data") if isinstance(listed, dict) else None
        for person in people if isinstance(people, list) else []:
            ig_user_id = ig_id(person.get("id")) if isinstance(person, dict) else None
            if ig_user_id is not None:
                found[ig_user_id] = found.get(ig_user_id) or username(person.get("username"))
    return found


def username(value: object) -> str | None:
    """Return a username that can be shown, or None."""
    if not isinstance(value, str) or is_blank(value) or len(value) > LONGEST_USERNAME:
        return None
    return value
