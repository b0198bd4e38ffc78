"""The simulated picture host: answers of Meta's CDN, and of a broken or hostile one.

Like `cdninstagram.com` it sends `Cross-Origin-Resource-Policy: same-origin`, so that a browser
shows none of its pictures on another site, and 403 after a URL has expired.
"""

import asyncio
import socket
from typing import Self

from aiohttp import web

from sandbox.graph.albums import Album, PictureCall
from sandbox.graph.replies import DRIP_S, drops, reset_connection, send_pieces

_CORP = {"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "max-age=1209600"}
_JPEG = _CORP | {"Content-Type": "image/jpeg"}
_MIB = 1024 * 1024
_HANG_S = 60
_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
_STATUS = {"error_500": 500, "not_found": 404, "expired": 403}
_REDIRECTS = {
    "redirect_loop": "{path}",
    "redirect_out": "https://example.com/picture.jpg",
    "redirect_private": "http://169.254.169.254/latest/meta-data/",
    "redirect_nowhere": "",
}
_WRONG_BODIES = {
    "html": ("text/html", b"<!doctype html><title>Log in</title>"),
    "svg": ("image/svg+xml", _SVG),
    "mislabelled": ("image/jpeg", _SVG),
    "empty": ("image/jpeg", b""),
}


class PictureHost:
    """Serves an album on a loopback port within an `async with` block."""

    def __init__(self, album: Album, host: str = "127.0.0.1", port: int = 0) -> None:
        self._album = album
        self._address = (host, port)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.get("/v/{folder}/{file}", self._show)])
        app.add_routes([web.get("/kept/{id}", self._kept)])
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        listening = socket.create_server(self._address)
        await web.SockSite(self._runner, listening).start()
        self._album.origin = f"http://{self._address[0]}:{listening.getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _show(self, request: web.Request) -> web.StreamResponse:
        ig_user_id = request.match_info["file"].partition("_")[0]
        answer = self._album.answer(ig_user_id, str(request.rel_url))
        headers = dict(request.headers)
        self._album.calls.append(PictureCall(ig_user_id, request.path_qs, headers, answer))
        await self._album.released.wait()
        if answer == "redirect":
            return _redirect(f"/kept/{ig_user_id}")
        if answer in _REDIRECTS:
            return _redirect(_REDIRECTS[answer].format(path=request.path_qs))
        if answer in _STATUS:
            return web.Response(status=_STATUS[answer], text="URL signature expired", headers=_CORP)
        if answer in _WRONG_BODIES:
            content_type, body = _WRONG_BODIES[answer]
            return web.Response(body=body, content_type=content_type, headers=_CORP)
        return await self._send(request, answer, self._album.body(ig_user_id))

    async def _kept(self, request: web.Request) -> web.StreamResponse:
        return await self._send(request, "picture", self._album.body(request.match_info["id"]))

    async def _send(self, request: web.Request, answer: str, body: bytes) -> web.StreamResponse:
        match answer:
            case "hang":
                await asyncio.sleep(_HANG_S)
            case "reset":
                return reset_connection(request)
            case "huge":
                body += b"\0" * (2 * _MIB)
            case "huge_stream":
                return await send_pieces(request, _JPEG, [body, *[b"\0" * _MIB] * 32])
            case "slow":
                return await send_pieces(request, _JPEG, drops(body), len(body), pause_s=DRIP_S)
            case "truncated":
                return await send_pieces(request, _JPEG, [body[: len(body) // 2]], len(body))
        return web.Response(body=body, headers=_JPEG)


def _redirect(location: str) -> web.Response:
    headers = {"Location": location} if location else {}
    return web.Response(status=302, headers=headers)
