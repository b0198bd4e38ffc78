"""`participants import --from-meta`: imports users from the conversations that Meta lists.

Source: Meta for Developers, "Instagram Messaging: Get conversations" (`/{id}/conversations`,
`/me/conversations` for the Page or account of the token; newest first) and "Rate limits" (2 calls
a second an account).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec

from service.commands.lines import Participant, parse_time
from service.commands.meta import MetaReader, Page
from service.errors import GraphError, NobodysFault, UnclearFault
from service.graph.conversation import participants as conversation_participants
from service.model.contacts import ig_id

PAGE_SIZE, SMALLEST_PAGE = 50, 5
TRIES = 3
MOST_PAGES = 10_000  # of an account: half a million conversations, over an hour of calls
MOST_PAGES_WITHOUT_NEWS = 20  # pages in a row without a new user
_REDUCE_THE_DATA = 1  # "Please reduce the amount of data you're asking for" (and others)
_NOT_THIS_NODE = frozenset({100, 803, 2500})


class StoppedError(Exception):
    """Meta refused a page before the end of the conversations; `fault` says why."""

    def __init__(self, fault: GraphError) -> None:
        super().__init__(fault.problem.reason)
        self.fault = fault


class TooManyPagesError(Exception):
    """Reading stopped at a limit; `is_repetition`: the last pages had no new users."""

    def __init__(self, pages: int, *, is_repetition: bool) -> None:
        super().__init__(f"stopped after {pages} pages")
        self.pages = pages
        self.is_repetition = is_repetition


class ListedConversation(msgspec.Struct, frozen=True):
    """A conversation: its members, the time of its last message, and usernames by id."""

    ids: tuple[str, ...]
    updated_at: datetime | None
    usernames: dict[str, str] = {}


class Found(msgspec.Struct):
    """The result of one page: participants, the usernames it shows by user id, and counts."""

    participants: list[Participant]
    usernames: dict[str, str] = {}
    is_last: bool = False
    too_old: int = 0
    unclear: int = 0


class Account(msgspec.Struct, frozen=True):
    """An account to read, with its decrypted token."""

    ig_account_id: str
    login: str
    token: str

    def __repr__(self) -> str:
        return f"Account({self.ig_account_id})"


class Conversations:
    """Pages through one account's conversations, newest first, until they are too old.

    `allow` is awaited before every call, and `on_page` is called with every answer. `own_ids` are
    the known ids of the account; `other_own_ids` collects others that Meta uses for it.
    """

    def __init__(
        self,
        meta: MetaReader,
        account: Account,
        own_ids: frozenset[str],
        since: datetime,
        now: datetime,
        allow: Callable[[], Awaitable[None]],
        on_page: Callable[[Page], Awaitable[None]],
    ) -> None:
        self.other_own_ids: set[str] = set()
        self._meta = meta
        self._account = account
        self._own_ids = own_ids
        self._since = since
        self._now = now
        self._allow = allow
        self._on_page = on_page
        self._node = account.ig_account_id
        self._size = PAGE_SIZE

    async def pages(self) -> AsyncIterator[Found]:
        """Yield pages; raises StoppedError if Meta refuses one, or TooManyPagesError."""
        after, seen = "", {""}
        people: set[str] = set()
        repeated = 0
        for number in range(1, MOST_PAGES + 1):
            body = await self._page(after)
            after = _next_cursor(body)
            found = self._read(body)
            found.is_last = found.is_last or after in seen
            yield found
            if found.is_last:
                return
            seen.add(after)
            known = len(people)
            people.update(each.ig_user_id for each in found.participants)
            repeated = repeated + 1 if len(people) == known else 0
            if repeated >= MOST_PAGES_WITHOUT_NEWS:
                raise TooManyPagesError(number, is_repetition=True)
        raise TooManyPagesError(MOST_PAGES, is_repetition=False)

    async def _page(self, after: str) -> dict[str, Any]:
        """Read one page; repeats it after a passing fault, smaller if Meta asks for that."""
        fault: GraphError | None = None
        for _ in range(TRIES + 1):
            page = await self._call(after)
            fault = page.fault
            if fault is None:
                return page.body
            if self._is_other_node(fault, after):
                self._node = "me"
            elif not isinstance(fault, NobodysFault) and fault.problem.reason != "throttled":
                break
            elif fault.problem.code == _REDUCE_THE_DATA:
                self._size = max(SMALLEST_PAGE, self._size // 2)
        if fault is None:
            raise AssertionError("a call ends with an answer or a fault")
        raise StoppedError(fault)

    async def _call(self, after: str) -> Page:
        await self._allow()
        query = {"after": after} if after else {}
        page = await self._meta.get(
            self._account.login,
            f"{self._node}/conversations",
            self._account.token,
            platform="instagram",
            fields="participants,updated_time",
            limit=str(self._size),
            **query,
        )
        await self._on_page(page)
        return page

    def _is_other_node(self, fault: GraphError, after: str) -> bool:
        """Return whether to ask `me`: with a Facebook login, conversations belong to the Page."""
        is_wrong_node = isinstance(fault, UnclearFault) or fault.problem.reason == "not_found"
        is_untried = self._node != "me" and not after
        return is_wrong_node and is_untried and fault.problem.code in _NOT_THIS_NODE

    def _read(self, body: dict[str, Any]) -> Found:
        rows = data if isinstance(data := body.get("data"), list) else []
        listed = [read_conversation(row, self._now) for row in rows]
        self._learn_own_ids(listed)
        found = Found([])
        for each in listed:
            self._sort(each, found)
        last = listed[-1].updated_at if listed else None
        found.is_last = last is not None and last < self._since
        return found

    def _sort(self, each: ListedConversation, found: Found) -> None:
        others = [i for i in each.ids if i not in self._own_ids and i not in self.other_own_ids]
        if each.updated_at is not None and each.updated_at < self._since:
            found.too_old += 1
        elif each.updated_at is None or not others or len(others) == len(each.ids) > 1:
            found.unclear += 1
        else:
            account, at = self._account.ig_account_id, each.updated_at
            found.participants += [Participant(account, other, at) for other in others]
            shown = each.usernames
            found.usernames.update({user: shown[user] for user in others if user in shown})

    def _learn_own_ids(self, listed: list[ListedConversation]) -> None:
        """Treat an id in several conversations without a known own id as one of the account's.

        A person has one conversation with an account; the account is in all of them.
        """
        known = self._own_ids | self.other_own_ids
        unknown = [t for t in listed if not known & set(t.ids)]
        times = Counter(ig for t in unknown for ig in set(t.ids))
        if times and (most := times.most_common(1)[0])[1] == len(unknown) > 1:
            self.other_own_ids.add(most[0])


def read_conversation(row: object, now: datetime) -> ListedConversation:
    """Read a conversation; parts that cannot be read are left out."""
    fields = row if isinstance(row, dict) else {}
    participants = fields.get("participants")
    people = participants.get("data") if isinstance(participants, dict) else None
    found = [ig_id(p.get("id")) for p in people if isinstance(p, dict)] if people else []
    shown = conversation_participants([row])
    try:
        updated_at = parse_time(fields.get("updated_time"), now)
    except (ValueError, OverflowError, OSError, TypeError):
        updated_at = None
    usernames = {ig_user_id: username for ig_user_id, username in shown.items() if username}
    return ListedConversation(tuple(dict.fromkeys(i for i in found if i)), updated_at, usernames)


def _next_cursor(body: dict[str, Any]) -> str:
    """Read where the next page begins; `paging.next` itself is not followed: it holds a token."""
    paging = body.get("paging")
    if not isinstance(paging, dict) or not paging.get("next"):
        return ""
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    return after if isinstance(after, str) else ""
