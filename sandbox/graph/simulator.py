"""A server that answers as graph.facebook.com and graph.instagram.com do.

There is one port for each host (`url`, `instagram_url`). `graph_world` is the switchable state,
`control` the same over HTTP, `answers` the errors, `edges` the pages that are
not profiles. On its own: `python -m sandbox.graph.simulator --port 9000`.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Self

import msgspec
from aiohttp import web

from sandbox.graph import control, edges, tokens
from sandbox.graph.answers import ANSWERS, Host, TwistedProfile
from sandbox.graph.calls import Call, CallLog, most_over_budget
from sandbox.graph.picture_host import PictureHost
from sandbox.graph.replies import Ask, reply
from sandbox.graph.rules import profile_refusal, refusal
from sandbox.graph.world import GraphWorld

_PROFILE = TwistedProfile(msgspec.json.encode)
_BACKLOG = 1024

_Page = Callable[[Ask], Awaitable[web.StreamResponse]]


class GraphSimulator:
    """Serves generated people on two loopback ports within an `async with` block.

    `app_secret` turns the check of appsecret_proof on. Port 0 means any free one. `now` gives
    unix seconds; the budget and the throttle go by the monotonic clock. `introduce` makes people
    known, also after a reset.
    """

    def __init__(
        self,
        *,
        app_secret: str | None = None,
        port: int = 0,
        instagram_port: int = 0,
        pictures_port: int = 0,
        host: str = "127.0.0.1",
        now: Callable[[], float] = time.time,
        introduce: Callable[[GraphWorld], None] | None = None,
    ) -> None:
        self.world = GraphWorld(app_secret=app_secret, now=now, introduce=introduce)
        self.log = CallLog()
        self.conversations = CallLog()
        self.token_calls: list[str] = []  # the names of the calls about tokens
        self.in_flight = 0
        self.most_in_flight = 0
        self.url = self.instagram_url = ""
        self._host, self._ports = host, (port, instagram_port)
        self._instagram_port, self._pictures_port = instagram_port, pictures_port
        self._released = asyncio.Event()
        self._released.set()
        self._stack = AsyncExitStack()
        self._share_methods()

    def _share_methods(self) -> None:
        """Forward methods of the world and the log, such as `graph.set_answer(...)`."""
        world, log = self.world, self.log
        self.set_answer, self.set_profile = world.set_answer, world.set_profile
        self.set_latency, self.set_usage = world.set_latency, world.set_usage
        self.set_throttle = world.set_throttle
        self.add_account, self.add_token = world.add_account, world.add_token
        self.set_subscribed = world.set_subscribed
        self.set_conversations, self.set_thread = world.set_conversations, world.set_thread
        self.album = world.album
        self.calls_for, self.wait_for_calls = log.calls_for, log.wait_for_calls

    @property
    def calls(self) -> list[Call]:
        """Return the profile calls, oldest first."""
        return self.log.calls

    def most_over_budget(self, rate_per_s: float) -> float:
        """Return the largest excess of all remembered calls over rate x T + 2."""
        times_s = [call.at_s for log in (self.log, self.conversations) for call in log.calls]
        return most_over_budget(sorted(times_s), rate_per_s)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            sockets = [stack.enter_context(self._listen(port)) for port in self._ports]
            ports = [listening.getsockname()[1] for listening in sockets]
            self.url, self.instagram_url = (f"http://{self._host}:{port}" for port in ports)
            self._instagram_port = ports[1]
            await self._serve(stack, sockets)
            await stack.enter_async_context(
                PictureHost(self.world.album, self._host, self._pictures_port)
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def hold(self) -> None:
        """Accept calls but answer none until `release`."""
        self._released.clear()

    def release(self) -> None:
        """Answer the held calls, and continue normally."""
        self._released.set()

    def reset(self) -> None:
        """Reset everything and forget the calls; the app secret stays."""
        self.world.reset()
        self.log.clear()
        self.conversations.clear()
        self.token_calls.clear()
        self.most_in_flight = self.in_flight
        self.release()

    def mend(self) -> None:
        """Answer every call normally; accounts, tokens, profiles and calls stay."""
        self.world.mend()
        self.release()

    def _listen(self, port: int) -> socket.socket:
        return socket.create_server((self._host, port), backlog=_BACKLOG)

    async def _serve(self, stack: AsyncExitStack, sockets: list[socket.socket]) -> None:
        runner = web.AppRunner(
            self._application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        for listening in sockets:
            await web.SockSite(runner, listening, backlog=_BACKLOG).start()

    def _application(self) -> web.Application:
        profile, edge = self._page(self._profile), self._page(self._edge)
        refresh = self._page(self._refresh)
        debug_token = self._page(self._debug_token)
        app = web.Application()
        app.add_routes(control.routes(self))
        app.add_routes(
            [
                web.get("/debug_token", debug_token),
                web.get("/refresh_access_token", refresh),
                web.get("/{version:v[0-9.]+}/refresh_access_token", refresh),
                web.get("/{version:v[0-9.]+}/debug_token", debug_token),
                web.get("/{version:v[0-9.]+}/{node}", profile),
                web.get("/{version:v[0-9.]+}/{node}/{edge}", edge),
                web.get("/{node}", profile),
                web.get("/{node}/{edge}", edge),
                web.route("*", "/{tail:.*}", self._page(self._nowhere)),
            ]
        )
        return app

    def _page(self, page: _Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Return the handler of a page, which counts its requests in flight."""

        async def handler(request: web.Request) -> web.StreamResponse:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                return await page(Ask.of(request, self._spoken_host(request), self.world))
            finally:
                self.in_flight -= 1

        return handler

    def _spoken_host(self, request: web.Request) -> Host:
        transport = request.transport
        here = transport.get_extra_info("sockname") if transport is not None else None
        return "instagram" if here and here[1] == self._instagram_port else "facebook"

    async def _profile(self, ask: Ask) -> web.StreamResponse:
        if ask.node == "me" or (ask.node in self.world.accounts and ask.fields == "username"):
            return await self._own_account(ask)
        name, answer = profile_refusal(self.world, ask) or ("profile", _PROFILE)
        self.log.append(_call(self.world, ask, name))
        await self._wait()
        return await reply(self.world, ask, answer)

    async def _edge(self, ask: Ask) -> web.StreamResponse:
        stopped = refusal(self.world, ask)
        if ask.edge == "conversations":
            name = "conversations" if stopped is None else stopped[0]
            self.conversations.append(_call(self.world, ask, name))
        await self._wait()
        if stopped is not None:
            return await reply(self.world, ask, stopped[1])
        return await edges.edge(self.world, ask)

    async def _own_account(self, ask: Ask) -> web.StreamResponse:
        self.token_calls.append("account")
        await self._wait()
        stopped = refusal(self.world, ask)
        if stopped is not None:
            return await reply(self.world, ask, stopped[1])
        return await tokens.own_account(self.world, ask)

    async def _refresh(self, ask: Ask) -> web.StreamResponse:
        self.token_calls.append("refresh")
        await self._wait()
        outage = self.world.scripted(("all", ""))
        if outage is not None:
            return await reply(self.world, ask, outage.answer)
        return await tokens.refresh(self.world, ask)

    async def _debug_token(self, ask: Ask) -> web.StreamResponse:
        self.token_calls.append("debug_token")
        await self._wait()
        outage = self.world.scripted(("all", ""))
        if outage is not None:
            return await reply(self.world, ask, outage.answer)
        return await tokens.debug_token(self.world, ask)

    async def _nowhere(self, ask: Ask) -> web.StreamResponse:
        return await reply(self.world, ask, ANSWERS["unknown_path"])

    async def _wait(self) -> None:
        delay_s = self.world.latency_s()
        if delay_s:
            await asyncio.sleep(delay_s)
        if not self._released.is_set():
            await self._released.wait()


def _call(world: GraphWorld, ask: Ask, answer: str) -> Call:
    problem = world.proof_problem(ask.token, ask.proof)
    proof = "unchecked" if world.app_secret is None else (problem or "right")
    return Call(
        at_s=time.monotonic(),
        received_at=time.time(),
        ig_user_id=ask.request.query.get("user_id", "") if ask.edge else ask.node,
        ig_account_id=ask.ig_account_id,
        token_sha=ask.token_sha,
        answer="throttled" if answer == "app_throttle" and world.throttle else answer,
        host=ask.host,
        version=ask.version,
        fields=ask.fields,
        proof=proof.removeprefix("proof_"),
        token_in_url=ask.token_in_url,
        user_agent=ask.request.headers.get("User-Agent", ""),
    )


async def _run(arguments: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with GraphSimulator(
        app_secret=arguments.app_secret,
        port=arguments.port,
        instagram_port=arguments.instagram_port,
        pictures_port=arguments.pictures_port,
        host=arguments.host,
    ) as graph:
        urls = {
            "url": graph.url,
            "instagramUrl": graph.instagram_url,
            "picturesUrl": graph.album.origin,
        }
        print(json.dumps(urls), flush=True)  # noqa: T201 - the one line that callers wait for
        await stopped.wait()


def main() -> None:
    """Serve until SIGINT or SIGTERM; the first line on stdout is JSON with the URLs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="as graph.facebook.com; 0: any free")
    parser.add_argument("--instagram-port", type=int, default=0, help="as graph.instagram.com")
    parser.add_argument("--pictures-port", type=int, default=0, help="as cdninstagram.com")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--app-secret", help="check appsecret_proof by this secret")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
