"""The simulator's pages about tokens: their account, debug_token, and renewal.

Source: Meta for Developers, "Instagram API with Instagram Login": Get started, Refresh a long-lived
token.
"""

import math
import secrets

from aiohttp import web

from sandbox.graph.answers import ANSWERS, ErrorAnswer, bad_field
from sandbox.graph.calls import token_sha
from sandbox.graph.profiles import JsonObject
from sandbox.graph.replies import Ask, reply, reply_json
from sandbox.graph.world import GraphWorld, Script

RENEWABLE_AFTER_S = 86_400
LIFETIME_S = 60 * 86_400
_TOKEN_SCOPES: tuple[str, ...] = (
    "instagram_basic",
    "instagram_manage_messages",
    "pages_manage_metadata",
    "pages_read_engagement",
    "pages_show_list",
)
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
    """Renew an Instagram token for 60 days if it is over 24 hours old and has not expired."""
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


async def debug_token(world: GraphWorld, ask: Ask) -> web.StreamResponse:
    """Answer debug_token, whose times are Unix seconds; any token can inspect any other."""
    asked_about = ask.request.query.get("input_token")
    if not asked_about:
        return await reply(
            world, ask, ErrorAnswer(code=100, message="The parameter input_token is required")
        )
    return await reply_json(world, ask, {"data": _describe(world, asked_about)})


def _describe(world: GraphWorld, token: str) -> JsonObject:
    sha, now_s = token_sha(token), world.now().timestamp()
    known = world.token(sha)
    script = world.peek(("token", sha), ("account", known.ig_account_id or "" if known else ""))
    if known is None and world.restrict_tokens:
        return _dead_token(ErrorAnswer(code=190, message="Cannot parse access token"))
    if script and isinstance(script.answer, ErrorAnswer) and script.answer.code in (102, 190):
        return _dead_token(script.answer)
    if world.has_ended(sha):
        return _dead_token(ErrorAnswer(code=190, subcode=463, message="Session has expired"))
    scopes = _granted(script)
    data: JsonObject = {
        "app_id": "138483919580948",
        "type": "PAGE",
        "application": "Sandbox",
        "data_access_expires_at": int(now_s) + 60 * 86_400,
        "expires_at": int(known.ends_at_s) if known and known.ends_at_s < math.inf else 0,
        "is_valid": True,
        "issued_at": int(now_s) - 86_400,
        "scopes": scopes,
        "granular_scopes": [{"scope": scope} for scope in scopes],
    }
    return data | (known.debug if known else {})


def _granted(script: Script | None) -> list[str]:
    missing = script is not None and script.name.startswith("permission")
    return [scope for scope in _TOKEN_SCOPES if not (missing and "messages" in scope)]


def _dead_token(error: ErrorAnswer) -> JsonObject:
    said: JsonObject = {"code": error.code, "message": error.message}
    if error.subcode is not None:
        said["subcode"] = error.subcode
    return {"error": said, "is_valid": False, "scopes": []}
