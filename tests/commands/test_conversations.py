from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.commands.conversations import (
    MOST_PAGES_WITHOUT_NEWS,
    Account,
    Conversations,
    ListedConversation,
    StoppedError,
    TooManyPagesError,
    read_conversation,
)
from service.commands.lines import Participant
from service.commands.meta import MetaReader, Page
from service.graph.calls import GraphCaller

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
OWN, OTHER_OWN, TOKEN = "178414", "555", "a-token"


def row(*ids: str, hours: float = 1) -> dict[str, object]:
    people = [{"id": each, "username": "somebody"} for each in ids]
    at = (NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S+0000")
    return {"id": "t", "participants": {"data": people}, "updated_time": at}


class Meta:
    """A Graph whose answers are given beforehand, by the cursor that asks for them."""

    def __init__(self, **pages: object) -> None:
        self.pages = pages
        self.asked: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        if request.match_info["node"] != "me" and "me" in self.pages:
            return web.json_response({"error": {"code": 100, "message": "nope"}}, status=400)
        found = self.pages[request.query.get("after", "first")]
        if isinstance(found, list) and len(found) > 1 and isinstance(found[0], int):
            code = found.pop(0)
            return web.json_response({"error": {"code": code}}, status=500)
        return web.json_response(found[0] if isinstance(found, list) else found)


def page(rows: Sequence[object], after: str = "") -> dict[str, object]:
    paging = {"cursors": {"after": after}, "next": "https://elsewhere.example/?access_token=x"}
    return {"data": rows, **({"paging": paging} if after else {})}


@asynccontextmanager
async def reading(meta: Meta, days: float = 7) -> AsyncIterator[Conversations]:
    app = web.Application()
    app.router.add_get("/{version}/{node}/conversations", meta.answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        hosts = {"facebook": str(server.make_url("")).rstrip("/")}
        caller = GraphCaller(session, hosts, "v21.0", "s", 10.0)
        reader = MetaReader(caller)

        async def allow() -> None:
            return

        async def on_page(_: Page) -> None:
            return

        account = Account(OWN, "facebook", TOKEN)
        since = NOW - timedelta(days=days)
        yield Conversations(reader, account, frozenset({OWN}), since, NOW, allow, on_page)


async def read(meta: Meta) -> list[Participant]:
    async with reading(meta) as conversations:
        return [p async for found in conversations.pages() for p in found.participants]


async def test_pages_are_followed_by_their_cursor_with_the_token_in_the_header() -> None:
    meta = Meta(first=page([row(OWN, "1")], "c2"), c2=page([row("2", OWN)]))
    assert [p.ig_user_id for p in await read(meta)] == ["1", "2"]
    for request in meta.asked:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert TOKEN not in str(request.url)
        assert request.query["platform"] == "instagram"
        assert request.query["fields"] == "participants,updated_time"
        assert len(request.query["appsecret_proof"]) == 64


async def test_it_stops_at_what_is_too_old() -> None:
    old = row(OWN, "2", hours=24 * 8)
    meta = Meta(first=page([row(OWN, "1"), old], "c2"), c2=page([row(OWN, "3")]))
    assert [p.ig_user_id for p in await read(meta)] == ["1"]
    assert len(meta.asked) == 1


async def test_a_cursor_that_comes_again_ends_the_reading() -> None:
    meta = Meta(first=page([row(OWN, "1")], "c2"), c2=page([row(OWN, "2")], "c2"))
    assert len(await read(meta)) == 2


class Endless(Meta):
    """A Graph with a fresh cursor on every page; `people` gives the row of each page."""

    def __init__(self, people: Callable[[int], str]) -> None:
        super().__init__()
        self._people = people

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        number = len(self.asked)
        return web.json_response(page([row(OWN, self._people(number))], f"c{number}"))


async def test_fresh_cursors_without_end_that_bring_nobody_new_are_left() -> None:
    meta = Endless(lambda number: str(min(number, 30)))
    with pytest.raises(TooManyPagesError) as ended:
        await read(meta)
    assert ended.value.is_repetition
    assert len(meta.asked) == 30 + MOST_PAGES_WITHOUT_NEWS


async def test_fresh_cursors_without_end_that_bring_others_are_left_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.commands.conversations.MOST_PAGES", 40)
    meta = Endless(str)
    with pytest.raises(TooManyPagesError) as ended:
        await read(meta)
    assert (ended.value.is_repetition, len(meta.asked)) == (False, 40)


async def test_a_page_that_is_too_much_is_asked_for_in_smaller_pieces() -> None:
    meta = Meta(first=[1, page([row(OWN, "1")])])
    assert len(await read(meta)) == 1
    assert [request.query["limit"] for request in meta.asked] == ["50", "25"]


async def test_a_failure_that_lasts_ends_the_account() -> None:
    meta = Meta(first=[2, 2, 2, 2, 2, {}])
    with pytest.raises(StoppedError, match="upstream_error"):
        await read(meta)
    assert len(meta.asked) == 4


async def test_where_the_account_has_no_such_edge_the_tokens_page_is_asked() -> None:
    meta = Meta(me={}, first=page([row(OWN, "1")], "c2"), c2=page([row(OWN, "2")]))
    assert len(await read(meta)) == 2
    assert [request.match_info["node"] for request in meta.asked] == [OWN, "me", "me"]


async def test_an_unknown_id_that_is_in_every_conversation_is_the_accounts_own() -> None:
    meta = Meta(first=page([row(OTHER_OWN, "1"), row("2", OTHER_OWN), row("3", OTHER_OWN)]))
    async with reading(meta) as conversations:
        found = [p async for each in conversations.pages() for p in each.participants]
        assert [p.ig_user_id for p in found] == ["1", "2", "3"]
        assert conversations.other_own_ids == {OTHER_OWN}


async def test_of_two_strangers_in_the_only_conversation_neither_is_taken() -> None:
    meta = Meta(first=page([row("1", "2"), row(hours=1), {"x": 1}, 7, row(OWN)]))
    async with reading(meta) as conversations:
        [found] = [each async for each in conversations.pages()]
    assert (found.participants, found.unclear) == ([], 5)


def test_a_conversation_without_readable_parts_is_empty() -> None:
    assert read_conversation(
        {"participants": {"data": [{"id": None}, 5]}, "updated_time": "x"}, NOW
    ) == ListedConversation((), None)
    assert read_conversation({"updated_time": NOW.timestamp()}, NOW) == ListedConversation((), NOW)
