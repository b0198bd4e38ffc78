"""Writes answers in pieces, each after the client has read the previous one."""

from __future__ import annotations

from aiohttp.http import StreamWriter
from multidict import CIMultiDict

SERVER = "instagram-identity"  # in place of aiohttp's, which names its version and Python's
PIECE_BYTES = 64 * 1024


class PacedWriter(StreamWriter):
    """aiohttp's writer, with one piece of an answer in memory instead of the whole answer."""

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Write the head, with a `Server` header that names no version."""
        headers["Server"] = SERVER
        await super().write_headers(status_line, headers)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Send the rest of the body."""
        sent = 0
        while len(chunk) - sent > PIECE_BYTES:
            await self.write(chunk[sent : sent + PIECE_BYTES])
            await self.drain()
            sent += PIECE_BYTES
        await super().write_eof(chunk[sent:] if sent else chunk)
