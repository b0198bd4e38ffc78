"""The requests: signed deliveries and lookups, which are the same for every server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.world import ACCOUNT, PREFIX
from sandbox import samples

_USER = "1" * 16
_numbers = itertools.count(1)


def new_users(count: int) -> list[str]:
    """Return new users."""
    return [f"7{number:015}" for number in itertools.islice(_numbers, count)]


def deliveries(users: Sequence[str], app_secret: str, batch: int = 1) -> list[str]:
    """Return signed deliveries of `batch` messages each, as lines of a replay."""
    item = json.dumps(samples.message(_USER, ACCOUNT), separators=(",", ":"))
    before, after = samples.delivery(samples.entry(ACCOUNT)).decode().split("[]")
    lines = []
    for some in _batched(users, batch):
        body = f"{before}[{','.join(item.replace(_USER, user) for user in some)}]{after}"
        signature = samples.sign(body.encode(), app_secret)
        lines.append(f"POST\t{PREFIX}/webhook\t{signature}\t{body}")
    return lines


def lookups(users: Sequence[str], batch: int = 1) -> list[str]:
    """Return lookups of `batch` users each, as lines of a replay."""
    if batch == 1:
        return [f"GET\t{PREFIX}/users/{user}\t\t" for user in users]
    return [f"GET\t{PREFIX}/users?ids={','.join(some)}\t\t" for some in _batched(users, batch)]


def write(lines: Iterable[str], path: Path) -> Path:
    """Write lines to a file."""
    path.write_text("\n".join(lines) + "\n")
    return path


def raw_request(line: str, key: str) -> bytes:
    """Return the bytes of the request in a line of a replay."""
    method, path, signature, body = line.split("\t", 3)
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += f"X-Hub-Signature-256: {signature}\r\n"
    return f"{head}\r\n{body}".encode()


def _batched(users: Sequence[str], size: int) -> list[Sequence[str]]:
    return [users[start : start + size] for start in range(0, len(users), size)]
