import asyncio
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import pytest
from aiohttp import web

from service.http.answers import Answer
from service.http.problems import envelope
from service.http.server import serve

BODY = b'{"a":"b"}'
JSON = "application/json"


class Sent(NamedTuple):
    """What came over the wire: the first line, the headers, the rest."""

    status: bytes
    headers: dict[bytes, bytes]
    body: bytes


async def _answer(_: web.Request) -> web.StreamResponse:
    return Answer(BODY, JSON)


async def _special(_: web.Request) -> web.StreamResponse:
    response = Answer(BODY, JSON)
    response.headers["X-Special"] = "yes"
    return response


async def _closing(_: web.Request) -> web.StreamResponse:
    response = Answer(BODY, JSON)
    response.force_close()
    return response


@pytest.fixture
async def port() -> AsyncIterator[int]:
    application = web.Application(middlewares=[envelope])
    application.add_routes(
        [web.get("/", _answer), web.get("/special", _special), web.get("/closing", _closing)]
    )
    async with serve(application, "127.0.0.1", 0, 1.0) as listening:
        yield listening


async def _send(port: int, request: str) -> bytes:
    """Send bytes and read until the server closes the connection."""
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request.encode())
        received = await reader.read()
        writer.close()
        return received


async def _send_and_stay(port: int, request: str) -> bytes:
    """Send bytes and read one answer."""
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request.encode())
        received = await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(len(BODY))
        writer.close()
        return received


def _read(received: bytes) -> Sent:
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    return Sent(status, headers, body)


def _ask(path: str = "/", method: str = "GET", version: str = "1.1", more: str = "") -> str:
    return f"{method} {path} HTTP/{version}\r\nHost: here\r\nX-Request-ID: mine\r\n{more}\r\n"


async def test_an_answer_has_every_header_that_aiohttps_own_have(port: int) -> None:
    sent = _read(await _send_and_stay(port, _ask()))
    assert sent.status == b"HTTP/1.1 200 OK"
    assert sent.headers[b"Content-Type"] == JSON.encode()
    assert sent.headers[b"X-Request-ID"] == b"mine"
    assert sent.headers[b"Content-Length"] == str(len(BODY)).encode()
    assert parsedate_to_datetime(sent.headers[b"Date"].decode()).tzinfo is not None
    assert sent.body == BODY


async def test_a_connection_serves_one_answer_after_the_other(port: int) -> None:
    received = await _send(port, _ask() * 2 + _ask(more="Connection: close\r\n"))
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert received.count(BODY) == 3


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(_ask(more="Connection: close\r\n"), id="connection-close"),
        pytest.param(_ask("/closing"), id="force-close"),
    ],
)
async def test_an_answer_says_so_when_the_connection_is_closed(port: int, request_: str) -> None:
    sent = _read(await _send(port, request_))
    assert sent.headers[b"Connection"] == b"close"
    assert (sent.headers[b"X-Request-ID"], sent.body) == (b"mine", BODY)


async def test_http_1_0_is_answered_in_kind_and_closed(port: int) -> None:
    sent = _read(await _send(port, _ask(version="1.0")))
    assert sent.status == b"HTTP/1.0 200 OK"
    assert sent.headers[b"Content-Length"] == str(len(BODY)).encode()
    assert sent.body == BODY


async def test_http_1_0_may_ask_for_the_connection_to_stay(port: int) -> None:
    more = "Connection: keep-alive\r\n"
    sent = _read(await _send_and_stay(port, _ask(version="1.0", more=more)))
    assert sent.headers[b"Connection"] == b"keep-alive"


async def test_head_has_the_headers_of_get_and_no_body(port: int) -> None:
    sent = _read(await _send(port, _ask(method="HEAD", more="Connection: close\r\n")))
    assert sent.headers[b"Content-Length"] == str(len(BODY)).encode()
    assert sent.headers[b"Content-Type"] == JSON.encode()
    assert sent.body == b""


async def test_headers_of_its_own_are_kept(port: int) -> None:
    sent = _read(await _send(port, _ask("/special", more="Connection: close\r\n")))
    assert sent.headers[b"X-Special"] == b"yes"
    assert sent.headers[b"Content-Type"] == JSON.encode()
    assert sent.body == BODY
