"""What is sent: signed deliveries and lookups, the same for everyone who is measured."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from benchmarks.world import ACCOUNT, PREFIX
from service.sandbox import samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_numbers = itertools.count(1)
_USER, _MID = "1" * 16, "m" * 24


def new_users(count: int) -> list[str]:
    """Make up users whom nobody has seen."""
    return [f"7{number:015}" for number in itertools.islice(_numbers, count)]


def deliveries(users: Sequence[str], app_secret: str, batch: int = 1) -> list[str]:
    """Write signed deliveries of `batch` messages each, a line of a wrk file apiece."""
    item = json.dumps(samples.message(_USER, ACCOUNT), separators=(",", ":"))
    head, _, tail = samples.delivery(samples.entry(ACCOUNT)).decode().partition("[]")
    del head, tail
    lines = []
    for some in itertools.batched(users, batch) if hasattr(itertools, "batched") else _batched(users, batch):
        items = ",".join(item.replace(_USER, user) for user in some)
        body = samples.delivery(samples.entry(ACCOUNT)).decode().replace("[]", f"[{items}]")
        signature = samples.sign(body.encode(), app_secret)
        lines.append(f"POST\t{PREFIX}/webhook\t{signature}\t{body}")
    return lines


def lookups(users: Sequence[str], batch: int = 1) -> list[str]:
    """Write lookups of `batch` users each, a line of a wrk file apiece."""
    if batch == 1:
        return [f"GET\t{PREFIX}/users/{user}\t\t" for user in users]
    return [f"GET\t{PREFIX}/users?ids={','.join(some)}\t\t" for some in _batched(users, batch)]


def write(lines: Iterable[str], path: Path) -> Path:
    """Keep lines in a file."""
    path.write_text("\n".join(lines) + "\n")
    return path


def _batched(users: Sequence[str], size: int) -> list[Sequence[str]]:
    return [users[start : start + size] for start in range(0, len(users), size)]
