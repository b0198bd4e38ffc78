import asyncio
import json
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from service.errors import UnavailableError
from service.http.bodies import read_body
from service.http.heads import REQUEST_ID
from service.http.problems import ProblemError, bad_request, envelope, json_response
from service.http.server import serve
from service.http.tcp_limits import listen
from tests.answers import Answer

SECRET = "hunter2"
MOST_BYTES = 1024


async def _raise(request: web.Request) -> web.Response:
    raise RAISED[request.match_info["what"]]


async def _echo(request: web.Request) -> web.Response:
    return web.Response(body=await read_body(request))


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"X-Request-ID": request[REQUEST_ID]})
    await response.prepare(request)
    await response.write(b"streamed")
    return response


async def _answer(_: web.Request) -> web.Response:
    return json_response({"a": "ä"})


RAISED: dict[str, Exception] = {
    "problem": ProblemError(HTTPStatus.CONFLICT, "Taken.", {"Retry-After": "9"}),
    "bad": bad_request("It is bad."),
    "away": UnavailableError(f"PostgreSQL at {SECRET} does not answer"),
    "bug": ValueError(f"a bug that knows {SECRET}"),
    "gone": web.HTTPGone(text=SECRET),
    "elsewhere": web.HTTPFound("/answer"),
}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    application = web.Application(middlewares=[envelope], client_max_size=MOST_BYTES)
    application.router.add_get("/raise/{what}", _raise)
    application.router.add_post("/echo", _echo)
    application.router.add_get("/stream", _stream)
    application.router.add_get("/answer", _answer)
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    assert runner.server is not None
    listening = await listen(runner.server, "127.0.0.1", 0)
    yield listening.sockets[0].getsockname()[1]
    listening.close()
    await runner.cleanup()


async def ask(port: int, path: str, method: str = "GET", **request: Any) -> Answer:  # noqa: ANN401 - aiohttp's arguments
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, f"http://127.0.0.1:{port}{path}", allow_redirects=False, **request
        ) as response,
    ):
        return await Answer.of(response)


async def say(port: int, request: bytes) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_problem_is_as_rfc_9457_has_it(port: int) -> None:
    answer = await ask(port, "/raise/problem", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (answer.status, answer.headers["Retry-After"]) == (409, "9")
    assert answer.json == {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "Taken.",
        "requestId": "mine-1",
    }


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/raise/problem", "GET", 409),
        ("/raise/bad", "GET", 400),
        ("/raise/away", "GET", 503),
        ("/raise/bug", "GET", 500),
        ("/raise/gone", "GET", 410),
        ("/nowhere", "GET", 404),
        ("/answer", "DELETE", 405),
        ("/answer", "PATCH", 405),
        ("/echo", "POST", 413),
    ],
)
async def test_every_refusal_is_a_problem_with_its_request_id(
    port: int, path: str, method: str, status: int
) -> None:
    answer = await ask(port, path, method, data=b"x" * (MOST_BYTES + 1))
    assert answer.status == answer.json["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json.keys() == {"type", "title", "status", "detail", "requestId"}
    assert answer.headers["X-Request-ID"] == answer.json["requestId"]
    assert SECRET.encode() not in answer.body


async def test_a_method_that_is_not_taken_is_told_which_are(port: int) -> None:
    assert set((await ask(port, "/answer", "PUT")).headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_what_is_away_may_be_asked_again_and_is_logged(port: int) -> None:
    with capture_logs() as told:
        answer = await ask(port, "/raise/away", headers={"X-Request-ID": "mine-2"})
    assert int(answer.headers["Retry-After"]) > 0
    (event,) = told
    assert (event["log_level"], event["request_id"]) == ("warning", "mine-2")


async def test_a_bug_is_logged_with_its_traceback(port: int) -> None:
    with capture_logs() as told:
        await ask(port, "/raise/bug", headers={"X-Request-ID": "mine-3"})
    (event,) = told
    assert (event["log_level"], event["exc_info"]) == ("error", True)
    assert (event["path"], event["request_id"]) == ("/raise/bug", "mine-3")


@pytest.mark.parametrize("path", ["/answer", "/stream", "/raise/elsewhere"])
async def test_every_response_carries_a_request_id(port: int, path: str) -> None:
    answer = await ask(port, path, headers={"X-Request-ID": "mine-4"})
    assert answer.status < 400
    assert answer.headers["X-Request-ID"] == "mine-4"


@pytest.mark.parametrize("given", ["a" * 65, "a b", "a;b", "ä", "<script>", ""])
async def test_an_id_that_could_do_harm_is_replaced(port: int, given: str) -> None:
    answer = await ask(port, "/answer", headers={"X-Request-ID": given})
    assert re.fullmatch(r"[0-9a-f]{16}", answer.headers["X-Request-ID"])


async def test_requests_without_an_id_get_one_each(port: int) -> None:
    ids = {(await ask(port, "/answer")).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


async def test_json_is_utf_8(port: int) -> None:
    answer = await ask(port, "/answer")
    assert (answer.headers["Content-Type"], answer.body) == (
        "application/json",
        '{"a":"ä"}\n'.encode(),
    )


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: a-miracle\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /nowhere/%ff%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
    ],
)
async def test_what_is_hardly_http_is_the_clients_problem(port: int, request_bytes: bytes) -> None:
    head, _, body = (await say(port, request_bytes)).partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1\.[01] 4\d\d ", head)
    assert b"content-type: application/problem+json" in head.lower()
    assert f"x-request-id: {json.loads(body)['requestId']}".encode() in head.lower()


async def test_a_client_that_resets_while_it_is_served_leaves_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    served, gone = asyncio.Event(), asyncio.Event()

    async def lose(request: web.Request) -> web.Response:
        served.set()
        while request.transport is not None:  # noqa: ASYNC110 - aiohttp tells nobody
            await asyncio.sleep(0.01)
        gone.set()
        raise ConnectionResetError

    application = web.Application(middlewares=[envelope])
    application.router.add_get("/", lose)
    with capture_logs() as told:
        async with serve(application, "127.0.0.1", 0, 1.0) as port, asyncio.timeout(30):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await served.wait()
            writer.transport.abort()
            await gone.wait()
    assert [line["event"] for line in told] == ["a client went before its answer"]
    assert caplog.records == []
