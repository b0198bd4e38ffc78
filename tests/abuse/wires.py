"""Connections that behave as no library would."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from tests.system.chaos.processes import HOST, Service
from tests.system.chaos.rig import PREFIX

CLOSED_WITHIN_S = 90.0


class Wire:
    """One raw connection to a service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, service: Service) -> "Wire":
        return await cls.at(service.port)

    @classmethod
    async def at(cls, port: int) -> "Wire":
        return cls(*await asyncio.open_connection(HOST, port))

    async def send(self, *pieces: bytes) -> None:
        """Send the pieces, each in a packet of its own; stops when the other end is gone."""
        with suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
                await asyncio.sleep(0.01)

    async def all_that_comes(self) -> bytes:
        """Read until the other end closes; a reset counts as a close."""
        received = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(CLOSED_WITHIN_S):
                while data := await self.reader.read(65536):
                    received += data
        await self.close()
        return received

    async def close(self) -> None:
        """Close this end."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """Read one response and leave the connection open."""
        async with asyncio.timeout(CLOSED_WITHIN_S):
            status, headers = parse_head(await self.reader.readuntil(b"\r\n\r\n"))
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return status, headers, body


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in pairs}


def responses(received: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Split what came over a connection into its responses."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status, headers = parse_head(head)
        length = int(headers.get("content-length", 0))
        found.append((status, headers, rest[:length]))
        received = rest[length:]
    return found


def head(method: str, path: str, *lines: str) -> bytes:
    """Write the head of a request."""
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *lines, "", "")).encode("latin-1")


# The form of a signature, which is all that can be told before the body has come.
UNPROVEN = "X-Hub-Signature-256: sha256=" + "0" * 64


def post(body: bytes, *lines: str) -> bytes:
    """Write a whole delivery."""
    return head("POST", f"{PREFIX}/webhook", f"Content-Length: {len(body)}", *lines) + body


def is_problem(status: int, headers: dict[str, str], body: bytes) -> bool:
    """Tell whether a response is a problem as the contract has it, with its request id."""
    if headers.get("content-type") != "application/problem+json":
        return False
    problem = msgspec.json.decode(body)
    return bool(
        problem["status"] == status
        and problem.keys() == {"type", "title", "status", "detail", "requestId"}
        and problem["requestId"] == headers["x-request-id"]
    )


def chunked(pieces: Iterable[bytes]) -> bytes:
    """Write a body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
