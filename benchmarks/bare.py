"""A minimal aiohttp server, as the upper limit. `python -m benchmarks.bare`, at $PORT."""

from __future__ import annotations

import hmac
import os

from aiohttp import web

from tests.system.chaos.rig import PREFIX

IDENTITY = (
    b'{"igUserId":"1254459154682919","displayName":"@jane.doe","username":"jane.doe",'
    b'"name":"Jane Doe","profilePicUrl":"https://scontent.cdninstagram.com/v/t51.2885-19/1.jpg'
    b'?stp=dst-jpg_s206x206&oe=6A5C0E80","state":"resolved","stale":false,'
    b'"lastFetchedAt":"2026-11-22T10:00:00Z","failCount":0,"lastFailedAt":null,"reason":null}'
)


def application(app_secret: bytes) -> web.Application:
    """Check a signature and answer 200; answer a constant identity."""

    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        expected = "sha256=" + hmac.digest(app_secret, body, "sha256").hex()
        if not hmac.compare_digest(expected, request.headers["X-Hub-Signature-256"]):
            return web.Response(status=401)
        return web.Response(text="EVENT_RECEIVED")

    async def one(_: web.Request) -> web.Response:
        return web.Response(body=IDENTITY, content_type="application/json")

    bare = web.Application()
    bare.router.add_post(f"{PREFIX}/webhook", receive)
    bare.router.add_get(f"{PREFIX}/users/{{igUserId}}", one)
    return bare


if __name__ == "__main__":
    web.run_app(
        application(os.environ["APP_SECRET"].encode()),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        access_log=None,
        print=None,
    )
