"""An existing inbox that deliveries are forwarded to: a real HTTP server that keeps what it got."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from tests.until import until


@dataclass
class Post:
    """A request as it arrived."""

    body: bytes
    headers: dict[str, str]


@dataclass
class Receiver:
    """Answers each post with the next of `statuses`, else 200; holds answers while `is_hanging`."""

    posts: list[Post] = field(default_factory=list)
    statuses: deque[int] = field(default_factory=deque)
    at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        self._released = asyncio.Event()
        self._released.set()
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhook"

    def hang(self) -> None:
        """Answer nobody until `release`."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        app = web.Application(client_max_size=4 * 1024 * 1024)
        app.router.add_post("/webhook", self._receive)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        await self.stop()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.posts.append(Post(body, dict(request.headers)))
            await self._released.wait()
        finally:
            self.at_once -= 1
        return web.Response(status=self.statuses.popleft() if self.statuses else 200)

    async def until_posts(self, number: int) -> list[Post]:
        async def has_come() -> bool:
            return len(self.posts) >= number

        await until(has_come)
        return self.posts
