"""The simulator's switches over HTTP, under /_simulator; bodies and answers are JSON.

    PUT    /_simulator/answer                {"answer", "times"}: every call
    PUT    /_simulator/users/{igUserId}      {"profile": {...}, "answer", "times"}
    PUT    /_simulator/accounts/{id}         {"tokens", "login", "answer", "times", "subscribed",
                                              "conversations": [["igUserId", "RFC 3339 time"]],
                                              "conversationsAnswer"}
    PUT    /_simulator/threads/{igUserId}    {"igAccountId", "username", "hidesUsername",
                                              "isBusinessFirst", "isListed", "participants"}
    PUT    /_simulator/pictures/{igUserId}   {"answer"}: how the picture host answers
    PUT    /_simulator/tokens                {"token", "igAccountId", "login", "debug", "answer",
                                              "times"}
    PUT    /_simulator/latency               {"ms": 50} or {"ms": [20, 80]}
    PUT    /_simulator/usage                 {"app": 80 or {...}, "business": 80 or {...}}
    PUT    /_simulator/throttle              {"callsPerSecond": 5 or null, "windowSeconds": 1}
    PUT    /_simulator/settings              {"appSecret", "restrictTokens", "held"}
    GET    /_simulator/calls                 ?user= &limit= : the newest, in order of arrival;
                                             ?kind=conversations: of those calls
    DELETE /_simulator/calls
    GET    /_simulator/budget?rate=10        {"overBudget", "calls", "forgotten"}
    DELETE /_simulator/answers               every call is answered normally again
    GET    /_simulator                       the answers' names, what is answered now, counts
    DELETE /_simulator                       resets everything, its people too

An answer is a name, null (normal), or an error of your own: {"status", "code", "message"…}.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec
from aiohttp import web

from sandbox.graph.albums import PictureAnswer
from sandbox.graph.answers import ANSWERS, ErrorAnswer, Host
from sandbox.graph.calls import Call, CallLog
from sandbox.graph.profiles import JsonObject
from sandbox.graph.world import GraphWorld, Thread

_MOST_CALLS = 10_000

T = TypeVar("T")
Unset = msgspec.UnsetType


class Simulator(Protocol):
    """The methods of the server that the switches use."""

    world: GraphWorld
    log: CallLog
    conversations: CallLog
    most_in_flight: int

    def most_over_budget(self, rate_per_s: float) -> float:
        """Return the largest excess of all calls over a budget."""

    def hold(self) -> None:
        """Hold all answers."""

    def release(self) -> None:
        """Release the held answers."""

    def mend(self) -> None:
        """Answer normally."""

    def reset(self) -> None:
        """Reset everything."""


class _Scripted(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    answer: str | ErrorAnswer | Unset | None = msgspec.UNSET
    times: int | None = None


class _User(_Scripted, rename="camel", forbid_unknown_fields=True, kw_only=True):
    profile: JsonObject | Unset | None = msgspec.UNSET


class _Account(_Scripted, rename="camel", forbid_unknown_fields=True, kw_only=True):
    tokens: list[str] = []
    login: Host = "facebook"
    subscribed: bool | None = None
    conversations: list[tuple[str, datetime]] | None = None
    conversations_answer: str | ErrorAnswer | Unset | None = msgspec.UNSET


class _Thread(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    ig_account_id: str
    username: str | None = None
    hides_username: bool = False
    is_business_first: bool = True
    is_listed: bool = True
    participants: list[JsonObject] | None = None


class _Picture(msgspec.Struct, forbid_unknown_fields=True):
    answer: PictureAnswer | None


class _Token(_Scripted, rename="camel", forbid_unknown_fields=True, kw_only=True):
    token: str
    ig_account_id: str | None = None
    login: Host = "facebook"
    debug: JsonObject = {}


class _Latency(msgspec.Struct):
    ms: float | tuple[float, float]


class _Usage(msgspec.Struct):
    app: int | JsonObject | None = None
    business: int | JsonObject | None = None


class _Throttle(msgspec.Struct, rename="camel"):
    calls_per_second: float | None
    window_seconds: float = 1.0


class _Settings(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    app_secret: str | Unset | None = msgspec.UNSET
    restrict_tokens: bool | None = None
    held: bool | None = None


def routes(simulator: Simulator) -> list[web.RouteDef]:
    """List the routes of the switches."""
    switches = _Switches(simulator)
    return [
        web.put("/_simulator/answer", _put(_Scripted, switches.answer)),
        web.put("/_simulator/users/{id}", _put(_User, switches.user)),
        web.put("/_simulator/accounts/{id}", _put(_Account, switches.account)),
        web.put("/_simulator/threads/{id}", _put(_Thread, switches.thread)),
        web.put("/_simulator/pictures/{id}", _put(_Picture, switches.picture)),
        web.put("/_simulator/tokens", _put(_Token, switches.token)),
        web.put("/_simulator/latency", _put(_Latency, switches.latency)),
        web.put("/_simulator/usage", _put(_Usage, switches.usage)),
        web.put("/_simulator/throttle", _put(_Throttle, switches.throttle)),
        web.put("/_simulator/settings", _put(_Settings, switches.settings)),
        web.get("/_simulator/calls", switches.calls),
        web.delete("/_simulator/calls", switches.forget),
        web.get("/_simulator/budget", switches.budget),
        web.get("/_simulator/landed", switches.landed),
        web.delete("/_simulator/answers", switches.mend),
        web.get("/_simulator", switches.overview),
        web.delete("/_simulator", switches.reset),
    ]


def _put(
    shape: type[T], switch: Callable[[T, str], None]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return a handler that decodes its body as `shape`, or answers 400 with the reason."""

    async def handler(request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=shape)
            switch(wanted, request.match_info.get("id", ""))
        except (msgspec.MsgspecError, ValueError) as error:
            return _json({"error": str(error)}, status=400)
        return _json({"ok": True})

    return handler


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/json"
    )


class _Switches:
    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._world = simulator.world

    def answer(self, wanted: _Scripted, _id: str) -> None:
        if wanted.answer is not msgspec.UNSET:
            self._world.set_answer(wanted.answer, times=wanted.times)

    def user(self, wanted: _User, ig_user_id: str) -> None:
        if wanted.profile is not msgspec.UNSET:
            self._world.set_profile(ig_user_id, **(wanted.profile or {}))
        if wanted.answer is not msgspec.UNSET:
            self._world.set_answer(wanted.answer, user=ig_user_id, times=wanted.times)

    def account(self, wanted: _Account, ig_account_id: str) -> None:
        self._world.add_account(ig_account_id, *wanted.tokens, login=wanted.login)
        if wanted.subscribed is not None:
            self._world.set_subscribed(ig_account_id, subscribed=wanted.subscribed)
        if wanted.conversations is not None:
            self._world.set_conversations(ig_account_id, wanted.conversations)
        if wanted.answer is not msgspec.UNSET:
            self._world.set_answer(wanted.answer, account=ig_account_id, times=wanted.times)
        if wanted.conversations_answer is not msgspec.UNSET:
            self._world.set_answer(wanted.conversations_answer, conversations=ig_account_id)

    def thread(self, wanted: _Thread, ig_user_id: str) -> None:
        account, fields = wanted.ig_account_id, msgspec.structs.asdict(wanted)
        del fields["ig_account_id"]
        self._world.set_thread(ig_user_id, account, Thread(**fields))

    def picture(self, wanted: _Picture, ig_user_id: str) -> None:
        self._world.album.set_answer(wanted.answer, user=ig_user_id)

    def token(self, wanted: _Token, _id: str) -> None:
        self._world.add_token(
            wanted.token,
            ig_account_id=wanted.ig_account_id,
            login=wanted.login,
            debug=wanted.debug,
        )
        if wanted.answer is not msgspec.UNSET:
            self._world.set_answer(wanted.answer, token=wanted.token, times=wanted.times)

    def latency(self, wanted: _Latency, _id: str) -> None:
        self._world.set_latency(wanted.ms)

    def usage(self, wanted: _Usage, _id: str) -> None:
        self._world.set_usage(wanted.app, wanted.business)

    def throttle(self, wanted: _Throttle, _id: str) -> None:
        self._world.set_throttle(wanted.calls_per_second, wanted.window_seconds)

    def settings(self, wanted: _Settings, _id: str) -> None:
        if wanted.app_secret is not msgspec.UNSET:
            self._world.app_secret = wanted.app_secret
        if wanted.restrict_tokens is not None:
            self._world.restrict_tokens = wanted.restrict_tokens
        if wanted.held is not None:
            (self._simulator.hold if wanted.held else self._simulator.release)()

    async def calls(self, request: web.Request) -> web.Response:
        simulator, user = self._simulator, request.query.get("user")
        is_profile = request.query.get("kind") != "conversations"
        log = simulator.log if is_profile else simulator.conversations
        found = log.calls if user is None else log.calls_for(user)
        limit = request.query.get("limit", "")
        newest = int(limit) if limit.isdecimal() else _MOST_CALLS
        shown: list[Call] = found[-newest:] if newest else []
        return _json({"total": log.total, "forgotten": log.forgotten, "calls": shown})

    async def forget(self, _request: web.Request) -> web.Response:
        self._simulator.log.clear()
        self._simulator.conversations.clear()
        return _json({"ok": True})

    async def budget(self, request: web.Request) -> web.Response:
        log = self._simulator.log
        try:
            rate_per_s = float(request.query["rate"])
        except (KeyError, ValueError):
            return _json({"error": "say which budget: ?rate=10 (calls per second)"}, status=400)
        over = self._simulator.most_over_budget(rate_per_s)
        return _json({"overBudget": over, "calls": log.total, "forgotten": log.forgotten})

    async def landed(self, _request: web.Request) -> web.Response:
        self._world.redirects_followed += 1
        return _json({"name": "Redirects Followed", "id": "1"})

    async def overview(self, _request: web.Request) -> web.Response:
        simulator = self._simulator
        counts = {"calls": simulator.log.total, "mostInFlight": simulator.most_in_flight}
        followed = {"redirectsFollowed": self._world.redirects_followed}
        scripts = self._world.scripts()
        return _json({"answers": list(ANSWERS), "scripts": scripts, **counts, **followed})

    async def mend(self, _request: web.Request) -> web.Response:
        self._simulator.mend()
        return _json({"ok": True})

    async def reset(self, _request: web.Request) -> web.Response:
        self._simulator.reset()
        return _json({"ok": True})
