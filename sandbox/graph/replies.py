"""Sends the Graph simulator's answers: headers, bodies, and broken bodies."""

import asyncio
import itertools
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import msgspec
from aiohttp import web

from sandbox.graph.answers import (
    Answer,
    Behaviour,
    ErrorAnswer,
    Host,
    OddBehaviour,
    RawAnswer,
    TwistedProfile,
)
from sandbox.graph.calls import token_sha
from sandbox.graph.profiles import pick_fields
from sandbox.graph.world import GraphWorld, Usage

OLDEST_VERSION, NEWEST_VERSION = (21, 0), (26, 0)

_JSON = "application/json; charset=UTF-8"
_HANG_S = 60
DRIP_S = 0.2
_BODY = b'{"name":"Sample Sender","id":"1"}'
_HUGE = [b'{"name":"', *[b"x" * 65_536] * 512, b'"}']  # a name of 32 MiB
_trace_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to Graph; `token` is empty if it has none."""

    request: web.Request
    host: Host
    version: str
    node: str
    edge: str
    token: str
    token_sha: str
    token_in_url: bool
    ig_account_id: str | None
    proof: str | None
    fields: str

    @classmethod
    def of(cls, request: web.Request, host: Host, world: GraphWorld) -> Self:
        """Read a request; a token in the header takes precedence over one in the URL."""
        path, query = request.match_info, request.query
        scheme, _, header = request.headers.get("Authorization", "").partition(" ")
        token = header if scheme.lower() == "bearer" and header else query.get("access_token", "")
        sha = token_sha(token)
        known = world.token(sha)
        return cls(
            request=request,
            host=host,
            version=path.get("version", ""),
            node=path.get("node", ""),
            edge=path.get("edge", ""),
            token=token,
            token_sha=sha,
            token_in_url="access_token" in query,
            ig_account_id=known.ig_account_id if known else None,
            proof=query.get("appsecret_proof"),
            fields=query.get("fields", ""),
        )


def version_served(version: str) -> str | None:
    """Return the version that answers: the oldest live one if expired, none if in the future.

    See Meta's platform versioning; a path without a version gets the oldest live one too.
    """
    try:
        asked = tuple(int(part) for part in version.removeprefix("v").split("."))
    except ValueError:
        asked = OLDEST_VERSION
    if asked > NEWEST_VERSION:
        return None
    return "v{}.{}".format(*max(asked, OLDEST_VERSION)[:2])


async def reply(world: GraphWorld, ask: Ask, answer: Answer) -> web.StreamResponse:
    """Send an answer."""
    trace_id = f"Sim{next(_trace_numbers):08d}"
    headers = _headers(world, ask, answer, trace_id)
    match answer:
        case ErrorAnswer():
            return _response(answer.status, answer.body(ask.host, trace_id), headers)
        case TwistedProfile():
            profile = pick_fields(world.profile(ask.node), ask.fields)
            return _response(200, answer.twist(profile), headers)
        case RawAnswer():
            headers |= {"Content-Type": answer.content_type} | answer.headers
            return web.Response(status=answer.status, body=answer.body, headers=headers)
        case OddBehaviour():
            return await _misbehave(ask.request, answer.behaviour, headers)


async def reply_json(world: GraphWorld, ask: Ask, body: object) -> web.StreamResponse:
    """Send a page that is not a profile."""
    return await reply(world, ask, RawAnswer(200, msgspec.json.encode(body)))


def _response(status: int, body: bytes, headers: dict[str, str]) -> web.Response:
    return web.Response(status=status, body=body, headers=headers | {"Content-Type": _JSON})


def _headers(world: GraphWorld, ask: Ask, answer: Answer, trace_id: str) -> dict[str, str]:
    version = version_served(ask.version) or "v{}.{}".format(*NEWEST_VERSION)
    headers = {"facebook-api-version": version, "x-fb-trace-id": trace_id}
    throttle = answer.usage if isinstance(answer, ErrorAnswer) else None
    app: Usage = world.usage
    if app is None and world.throttle is not None:
        app = world.throttle.percent
    if app is None and throttle == "app":
        app = 100
    if app is not None:
        headers["X-App-Usage"] = _json(_percents(app))
    business: Usage = world.business_usage
    if business is None and throttle == "business":
        business = 100
    if business is not None:
        regain = answer.regain_minutes if isinstance(answer, ErrorAnswer) else 0
        headers["X-Business-Use-Case-Usage"] = _json(
            _business(business, ask.ig_account_id or "0", regain)
        )
    return headers


def _json(header: object) -> str:
    return msgspec.json.encode(header).decode()


def _percents(usage: Usage) -> Usage:
    if not isinstance(usage, int):
        return usage
    return {"call_count": usage, "total_time": usage // 2, "total_cputime": usage // 2}


def _business(usage: Usage, ig_account_id: str, regain_minutes: int) -> Usage:
    if not isinstance(usage, int):
        return usage
    regain = {"type": "instagram", "estimated_time_to_regain_access": regain_minutes}
    return {ig_account_id: [{**regain, "call_count": usage, "total_cputime": 1, "total_time": 1}]}


async def _misbehave(
    request: web.Request, behaviour: Behaviour, headers: dict[str, str]
) -> web.StreamResponse:
    headers = headers | {"Content-Type": _JSON}
    match behaviour:
        case "timeout":
            await asyncio.sleep(_HANG_S)
            return web.Response(status=504)
        case "reset":
            return reset_connection(request)
        case "redirect":
            return web.Response(status=302, headers={"Location": "/_simulator/landed"})
        case "slow_drip":
            return await send_pieces(request, headers, drops(_BODY), len(_BODY), pause_s=DRIP_S)
        case "huge_body":
            return await send_pieces(request, headers, _HUGE)
        case "half_answer" | "stalled_answer":
            pause_s = _HANG_S if behaviour == "stalled_answer" else 0
            half = [_BODY[: len(_BODY) // 2]]
            return await send_pieces(request, headers, half, len(_BODY), pause_s=pause_s)


def reset_connection(request: web.Request) -> web.Response:
    """Drop the connection with an RST, as a crashed proxy does."""
    if request.transport is not None:
        raw = request.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def send_pieces(
    request: web.Request,
    headers: dict[str, str],
    pieces: Iterable[bytes],
    length: int | None = None,
    *,
    pause_s: float = 0,
) -> web.StreamResponse:
    """Send a body piece by piece, and hang up if it is shorter than its declared `length`."""
    response = web.StreamResponse(headers=headers)
    response.content_length = length
    sent = 0
    with suppress(ConnectionError):  # the client did not wait for the rest
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            sent += len(piece)
            await asyncio.sleep(pause_s)
        if sent < (length or 0) and request.transport is not None:
            request.transport.close()
    return response


def drops(body: bytes) -> list[bytes]:
    """Split a body into single bytes."""
    return [bytes([byte]) for byte in body]
