"""Every error is a problem, every response carries its request's id."""

import asyncio

import pytest

from tests.service.conftest import API, Client, new_user


async def raw(client: Client, request: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Send bytes and read all that comes back: the status line, the headers, the body."""
    host, port = client.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = dict(line.decode().split(": ", 1) for line in lines)
    return status, {name.lower(): value for name, value in headers.items()}, body


async def test_a_route_that_is_not_there_is_404(client: Client) -> None:
    for path in ("/nowhere", API, f"{API}/", f"{API}/users/1/", f"{API}/users/1/2/3", "//"):
        (await client.operator("GET", path.removeprefix(API))).assert_problem(404)
        (await client.call("POST", path)).assert_problem(404)


async def test_a_method_that_a_route_does_not_take_is_405_with_those_it_takes(
    client: Client,
) -> None:
    allowed = {
        f"{API}/webhook": {"GET", "HEAD", "POST"},
        "/": {"GET", "HEAD"},
        f"{API}/users": {"GET", "HEAD", "OPTIONS"},
        f"{API}/users/1/refresh": {"POST"},
        f"{API}/connections/1": {"PUT", "PATCH", "DELETE"},
        "/healthz": {"GET", "HEAD"},
    }
    for path, methods in allowed.items():
        answer = await client.call("TRACE", path)
        answer.assert_problem(405)
        assert set(answer.headers["Allow"].split(",")) == methods, path


async def test_a_request_keeps_the_id_it_came_with(client: Client) -> None:
    headers = {"X-Request-ID": "a-Request.of_8"}
    for path in ("/healthz", "/nowhere", f"{API}/users/1"):
        answer = await client.call("GET", path, headers=headers)
        assert answer.headers["X-Request-ID"] == "a-Request.of_8"


async def test_an_id_that_is_not_safe_is_replaced(client: Client) -> None:
    for given in ("", "a b", "<script>", "x" * 200, 'a"b', "é"):
        answer = await client.call("GET", "/healthz", headers={"X-Request-ID": given})
        assert answer.headers["X-Request-ID"] not in {given, ""}


async def test_requests_without_an_id_get_one_each(client: Client) -> None:
    answers = [await client.call("GET", "/healthz") for _ in range(5)]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 5


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n",
    ],
    ids=lambda request: repr(request[:50]),
)
async def test_what_is_not_http_is_answered_with_a_problem(
    client: Client, request_bytes: bytes
) -> None:
    status, headers, body = await raw(client, request_bytes)
    assert status.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), status
    assert headers["content-type"].startswith("application/problem+json")
    assert headers["x-request-id"] in body.decode()


async def test_an_expectation_that_nobody_knows_is_a_problem(client: Client) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nConnection: close\r\n\r\n"
    status, headers, _ = await raw(client, request)
    assert status.startswith(b"HTTP/1.1 417"), status
    assert headers["content-type"].startswith("application/problem+json")
    assert headers["x-request-id"]


async def test_a_problem_of_the_webhook_tells_no_secret(client: Client) -> None:
    answer = await client.call("POST", f"{API}/webhook", data=b'{"object":"instagram"}')
    assert "sha256" not in answer.assert_problem(401)["detail"].lower().replace("-", "").replace(
        "xhubsignature256", ""
    )


async def test_a_head_request_has_no_body(client: Client) -> None:
    answer = await client.call("HEAD", "/healthz")
    assert (answer.status, answer.body) == (200, b"")


async def test_whatever_an_id_is_nothing_is_a_500(client: Client) -> None:
    odd = ("%00", "%FF%FE", "..%2F..", "'; DROP TABLE x;--", "%F0%9F%98%80", "1%2Cx", "a" * 3000)
    for value in odd:
        for path in (f"/users/{value}", f"/users?ids={value}"):
            answer = await client.inbox(path)
            assert answer.status in {400, 404}, (path, answer.status)
            answer.assert_problem(answer.status)
    assert (await client.identity(new_user()))["state"] == "unknown"
