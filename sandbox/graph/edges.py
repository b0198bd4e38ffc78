"""The simulator's pages of accounts that are not profiles: subscribed_apps, conversations."""

import base64
import binascii
import re
from datetime import datetime

from aiohttp import web

from sandbox.graph.answers import ANSWERS, bad_field
from sandbox.graph.profiles import JsonObject
from sandbox.graph.replies import Ask, reply, reply_json
from sandbox.graph.world import Account, GraphWorld

_PAGE_SIZE, _MOST_PAGE_SIZE = 25, 100
_CONVERSATION_FIELDS = ("id", "link", "participants", "updated_time", "message_count")


async def edge(world: GraphWorld, ask: Ask) -> web.StreamResponse:
    """Answer a call to an edge of a node."""
    if ask.edge == "subscribed_apps":
        return await reply_json(world, ask, {"data": _subscribed_apps(_account(world, ask))})
    if ask.edge == "conversations":
        return await _conversations(world, ask)
    return await reply(world, ask, ANSWERS["unknown_path"])


def _account(world: GraphWorld, ask: Ask) -> Account:
    """Find the account of a page or account id, or of "me"."""
    return world.accounts.get(ask.node) or world.accounts.get(ask.ig_account_id or "") or Account()


def _subscribed_apps(account: Account) -> list[JsonObject]:
    if not account.subscribed:
        return []
    fields = ["messages", "messaging_postbacks", "message_reactions", "messaging_referral"]
    return [{"id": "138483919580948", "name": "Sandbox", "subscribed_fields": fields}]


async def _conversations(world: GraphWorld, ask: Ask) -> web.StreamResponse:
    fields = [f for f in re.sub(r"\{.*?\}", "", ask.fields).split(",") if f] or ["id"]
    strange = next((f for f in fields if f not in _CONVERSATION_FIELDS), None)
    if strange is not None:
        return await reply(world, ask, bad_field(strange))
    query = ask.request.query
    account = _account(world, ask) if query.get("platform") == "instagram" else Account()
    listed = _listed(world, account, query.get("user_id"))
    start = _position(query.get("after"))
    limit = max(1, min(_MOST_PAGE_SIZE, _number(query.get("limit"), _PAGE_SIZE)))
    rows = [_conversation(world, ask, *talk) for talk in listed[start : start + limit]]
    data = [_only(row, fields) for row in rows]
    page: JsonObject = {"data": data}
    if data:
        page["paging"] = _paging(ask, start, start + len(data), len(listed))
    return await reply_json(world, ask, page)


def _listed(
    world: GraphWorld, account: Account, ig_user_id: str | None
) -> list[tuple[str, datetime]]:
    """Return the conversations that Graph lists: with one user if it is given, else with all."""
    return [
        (user, updated_at)
        for user, updated_at in account.conversations
        if (ig_user_id is None or user == ig_user_id) and world.thread(user).is_listed
    ]


def _conversation(world: GraphWorld, ask: Ask, user: str, updated_at: datetime) -> JsonObject:
    return {
        "id": f"aWdfZAG06{user}",
        "link": f"/direct/t/{user}",
        "participants": {"data": _participants(world, ask.ig_account_id or ask.node, user)},
        "updated_time": updated_at.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "message_count": 1,
    }


def _participants(world: GraphWorld, ig_account_id: str, user: str) -> list[JsonObject]:
    thread = world.thread(user)
    if thread.participants is not None:
        return thread.participants
    business: JsonObject = {"username": world.profile(ig_account_id)["username"]}
    username = thread.username or world.profile(user)["username"]
    person: JsonObject = {} if thread.hides_username else {"username": username}
    people = [business | {"id": ig_account_id}, person | {"id": user}]
    return people if thread.is_business_first else people[::-1]


def _only(row: JsonObject, fields: list[str]) -> JsonObject:
    return {key: value for key, value in row.items() if key in fields or key == "id"}


def _paging(ask: Ask, start: int, end: int, total: int) -> JsonObject:
    """Return the cursors; `next` has the token in its query, as Meta's does."""
    paging: JsonObject = {"cursors": {"before": _cursor(start), "after": _cursor(end)}}
    if end < total:
        url = ask.request.url.update_query(after=_cursor(end), access_token=ask.token)
        paging["next"] = str(url)
    return paging


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"at:{position}".encode()).decode()


def _position(cursor: str | None) -> int:
    try:
        text = base64.urlsafe_b64decode((cursor or "").encode()).decode()
    except (binascii.Error, UnicodeDecodeError):
        return 0
    return _number(text.removeprefix("at:"), 0)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isdecimal() else default
