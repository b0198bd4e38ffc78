"""Limits on TCP connections: clients that do not read, and connections from one address."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import structlog
from aiohttp import web

from service.http.addresses import counted_as
from service.http.problems import envelope
from service.http.server import serve
from service.http.tcp_limits import MOST_AN_ADDRESS, TcpLimits
from tests.until import until

LARGE = b"x" * (8 << 20)  # more than the kernel holds between two ends
FAR, FAR_TOO = "1.0.0.7", "1.0.0.8"
asked: Counter[str] = Counter()


async def _large(request: web.Request) -> web.StreamResponse:
    asked[request.path] += 1
    return web.Response(body=LARGE)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    asked.clear()
    application = web.Application(middlewares=[envelope])
    application.add_routes([web.get("/{name:.*}", _large)])
    async with serve(application, "127.0.0.1", 0, 1.0) as listening:
        yield listening


@contextmanager
def deaf_client(port: int, *paths: str) -> Iterator[socket.socket]:
    """Send requests in one packet and read nothing."""
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % p.encode() for p in paths))
        yield deaf


async def _cut_off(logs: list[structlog.typing.EventDict]) -> bool:
    return any("did not read" in line["event"] for line in logs)


async def _has_ended(client: socket.socket) -> bool:
    """Tell whether the server has reset the connection; reads nothing."""
    reset = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return reset != 0


async def test_a_client_that_does_not_read_is_cut_off(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.tcp_limits.UNREAD_WITHIN_S", 0.1)
    with structlog.testing.capture_logs() as logs, deaf_client(port, "/first", "/second") as deaf:
        await until(lambda: _has_ended(deaf))
        await until(lambda: _cut_off(logs))
    assert asked == {"/first": 1}  # no request is answered ahead of what the client reads


async def test_a_slow_client_gets_all_of_its_answers(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    async with asyncio.timeout(60):
        for _ in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in head
            assert await reader.readexactly(len(LARGE)) == LARGE
    writer.close()


async def test_of_many_that_do_not_read_the_oldest_is_cut_off(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.tcp_limits.MOST_UNREAD", 1)
    with deaf_client(port, "/oldest") as oldest:
        await until(lambda: _is_asked("/oldest"))
        with deaf_client(port, "/youngest") as youngest:
            await until(lambda: _has_ended(oldest))
            assert not await _has_ended(youngest)


async def _is_asked(path: str) -> bool:
    return bool(asked[path])


def test_one_address_gets_a_part_of_the_connections() -> None:
    limits = TcpLimits(2 * MOST_AN_ADDRESS)
    for _ in range(MOST_AN_ADDRESS):
        assert limits.refusal(FAR) is None
        limits.add(FAR)
    assert limits.refusal(FAR) == "too many connections from one address: refused"
    assert limits.refusal(FAR_TOO) is None
    limits.remove(FAR)
    assert limits.refusal(FAR) is None


def test_a_proxy_on_a_private_network_gets_three_quarters() -> None:
    limits = TcpLimits(4 * MOST_AN_ADDRESS)
    for _ in range(3 * MOST_AN_ADDRESS):
        assert limits.refusal("10.0.0.1") is None
        limits.add("10.0.0.1")
    assert limits.refusal("10.0.0.1") is not None
    for _ in range(MOST_AN_ADDRESS):
        limits.add("10.0.0.2")
    assert limits.refusal("10.0.0.3") == "too many connections: refused"


async def test_over_the_wire_one_address_leaves_room_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.http.tcp_limits.most_connections", lambda: 4)
    application = web.Application(middlewares=[envelope])
    application.add_routes([web.get("/", _small)])
    async with serve(application, "127.0.0.1", 0, 1.0) as port:
        crowd = [await _status(port, "127.0.0.2") for _ in range(4)]
        other = await _status(port, "127.0.0.3")
        assert [status for status, _ in (*crowd, other)] == [200, 200, 200, 503, 200]
        for _, writer in (*crowd, other):
            writer.close()


async def _small(_: web.Request) -> web.StreamResponse:
    return web.Response(text="x")


async def _status(port: int, source: str) -> tuple[int, asyncio.StreamWriter]:
    """Ask from an address, and leave the connection open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(60):
        return int((await reader.readuntil(b"\r\n")).split()[1]), writer


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        (None, ""),
        ("no address", "no address"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str | None, counted: str) -> None:
    assert counted_as(address) == counted
