"""The routes behind "Break Meta": list the simulator's answers, choose one, and reset it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated

import aiohttp
import asyncpg
import msgspec
from aiohttp import web

from sandbox.graph.meanings import MEANINGS
from sandbox.sample_traffic import SENDERS
from sandbox.service_client import ServiceClient
from service.http.auth import Keyring
from service.http.problems import ProblemError, bad_request, json_response

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_MOST_TIMES = 1000


class Script(msgspec.Struct):
    """A scripted answer of the simulator: for which calls, and how many more."""

    scope: str
    key: str
    answer: str
    remaining: int | None


class _Overview(msgspec.Struct):
    scripts: list[Script]


class _Wanted(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    answer: str
    ig_user_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,32}$")] | None = None
    times: Annotated[int, msgspec.Meta(ge=1, le=_MOST_TIMES)] | None = None


class BreakRoutes:
    """Switches the simulator at `graph_url`, and repairs the effects in the service."""

    def __init__(self, graph_url: str, dsn: str, open_client: Callable[[], ServiceClient]) -> None:
        self._simulator = f"{graph_url.rstrip('/')}/_simulator"
        self._dsn = dsn
        self._open_client = open_client

    def routes(self, keyring: Keyring) -> Sequence[web.RouteDef]:
        """List the routes, which need an operator key."""
        operator = keyring.for_operator
        return [
            web.get("/console/sandbox/answers", operator(self.show)),
            web.put("/console/sandbox/answer", operator(self.choose)),
            web.delete("/console/sandbox/answer", operator(self.mend)),
            web.delete("/console/sandbox/pauses", operator(self.end_pauses)),
        ]

    async def show(self, _: web.Request) -> web.Response:
        """Return all answers with their meanings, and which are active."""
        body = await self._ask("GET", "")
        scripts = msgspec.json.decode(body, type=_Overview).scripts
        now = [script for script in scripts if _about(script) not in _SAMPLES]
        return json_response({"kinds": _KINDS, "now": now})

    async def choose(self, request: web.Request) -> web.Response:
        """Make the simulator give an answer to every call, or about one user."""
        wanted = _wanted(await request.read())
        path = f"/users/{wanted.ig_user_id}" if wanted.ig_user_id else "/answer"
        await self._ask("PUT", path, {"answer": wanted.answer, "times": wanted.times})
        meaning = MEANINGS[wanted.answer]
        outcome = meaning.outcome
        told = {"says": meaning.says, "expect": outcome.expect, "lasts": outcome.lasts}
        return json_response({"answer": wanted.answer} | told)

    async def mend(self, _: web.Request) -> web.Response:
        """Make the simulator answer normally, and store the sample account's token again."""
        await self._ask("DELETE", "/answers")
        async with self._open_client() as client:
            await client.connect_sample_account()
        return json_response({"ok": True})

    async def end_pauses(self, _: web.Request) -> web.Response:
        """Delete all pauses, as an operator can; every replica is notified."""
        async with self._connected() as database, database.transaction():
            await database.execute("DELETE FROM instagram_pauses")
            await database.execute("UPDATE instagram_conversation_limits SET paused_until = NULL")
        return json_response({"ok": True})

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        database = await asyncpg.connect(self._dsn)
        try:
            yield database
        finally:
            await database.close()

    async def _ask(self, method: str, path: str, body: object = None) -> bytes:
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.request(method, self._simulator + path, json=body) as answer,
            ):
                said, status = await answer.read(), answer.status
        except (aiohttp.ClientError, TimeoutError):
            raise ProblemError(
                HTTPStatus.BAD_GATEWAY, "The Graph simulator does not answer."
            ) from None
        if status != HTTPStatus.OK:
            raise ProblemError(HTTPStatus.BAD_GATEWAY, f"The Graph simulator answered {status}.")
        return said


def _wanted(body: bytes) -> _Wanted:
    try:
        wanted = msgspec.json.decode(body, type=_Wanted)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"The body has answer, and perhaps igUserId and times: {error}") from None
    if wanted.answer not in MEANINGS:
        raise bad_request(f"answer is one of {', '.join(MEANINGS)}.")
    return wanted


def _kinds() -> list[dict[str, object]]:
    """Group the answers by their effect."""
    kinds: dict[str, dict[str, object]] = {}
    answers: dict[str, list[dict[str, str]]] = {}
    for meaning in MEANINGS.values():
        outcome = meaning.outcome
        told = {"title": outcome.title, "expect": outcome.expect, "lasts": outcome.lasts}
        kinds.setdefault(outcome.title, told | {"answers": answers.setdefault(outcome.title, [])})
        answers[outcome.title].append({"answer": meaning.answer, "says": meaning.says})
    return list(kinds.values())


def _about(script: Script) -> tuple[str, str, str]:
    return script.scope, script.key, script.answer


_KINDS = _kinds()
_SAMPLES = {("user", sender.ig_user_id, sender.graph_answer) for sender in SENDERS}
