"""The simulator's pages about a token's own account, and the renewal of Instagram tokens.

Source: Meta for Developers, "Instagram API with Instagram Login": Get started, Refresh a long-lived
token.
"""

import secrets
from typing import TYPE_CHECKING

from aiohttp import web

from sandbox.graph.answers import ANSWERS, ErrorAnswer, bad_field
from sandbox.graph.calls import token_sha
from sandbox.graph.replies import Ask, reply, reply_json
from sandbox.graph.world import GraphWorld

if TYPE_CHECKING:
    from sandbox.graph.profiles import JsonObject

RENEWABLE_AFTER_S = 86_400
LIFETIME_S = 60 * 86_400
_FIELDS = {
    "facebook": ("id", "username", "name"),
    "instagram": ("id", "user_id", "username", "name"),
}


async def own_account(world: GraphWorld, ask: Ask) -> web.StreamResponse:
    """Answer `/me` or an account's own page: the account's ids and username."""
    account = ask.ig_account_id or (ask.node if ask.node.isdecimal() else "")
    asked = [field for field in ask.fields.split(",") if field] or ["id"]
    strange = next((field for field in asked if field not in _FIELDS[ask.host]), None)
    if strange is not None:
        return await reply(world, ask, bad_field(strange))
    username = world.profile(account)["username"]
    known: JsonObject = {"id": account, "user_id": account, "username": username, "name": username}
    return await reply_json(world, ask, {field: known[field] for field in {"id", *asked}})


async def refresh(world: GraphWorld, ask: Ask) -> web.StreamResponse:
    """Renew an Instagram token that is over 24 hours old and has not ended: 60 days from now."""
    sha = token_sha(ask.request.query.get("access_token", ""))
    known, now_s = world.token(sha), world.now().timestamp()
    if ask.request.query.get("grant_type") != "ig_refresh_token" or ask.host != "instagram":
        message = "Unsupported request - method type: get"
        return await reply(world, ask, ErrorAnswer(code=100, message=message))
    if known is None or known.login != "instagram" or world.has_ended(sha):
        return await reply(world, ask, ANSWERS["token_expired"])
    if now_s < known.issued_at_s + RENEWABLE_AFTER_S:
        message = "Token must be at least 24 hours old to be refreshed"
        return await reply(world, ask, ErrorAnswer(code=100, message=message))
    token = f"IGAA{secrets.token_hex(24)}"
    world.add_token(
        token,
        ig_account_id=known.ig_account_id,
        login="instagram",
        ends_at_s=now_s + LIFETIME_S,
    )
    world.renewals.append(known.ig_account_id or "")
    if world.renewal_ends_old_token:
        world.end_token(sha)
    body = {"access_token": token, "token_type": "bearer", "expires_in": LIFETIME_S}
    return await reply_json(world, ask, body)
