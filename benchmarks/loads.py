"""The two loads: wrk, as fast as it goes (closed loop), and a fixed rate for latency (open loop)."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.world import Target

SCRIPT = Path(__file__).with_name("wrk.lua")


class MissingToolError(Exception):
    """A program that the benchmarks need is not installed; the message says which."""


@dataclass(frozen=True)
class Sample:
    """One run of a closed loop."""

    requests: int
    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    rounds: int

    def asdict(self) -> dict[str, float]:
        """As plain figures."""
        return asdict(self)


async def closed_loop(
    target: Target, file: Path, seconds: int, *, connections: int = 32, key: str = ""
) -> Sample:
    """Send the requests of a file as fast as the answers come; every answer must be a 2xx."""
    if shutil.which("wrk") is None:
        raise MissingToolError("wrk is not installed: apt-get install wrk")
    before = target.cpu_s()
    process = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT)),
        *(target.url, "--", str(file), f"Bearer {key}"),
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await process.communicate())[0].decode()
    used_s = target.cpu_s() - before
    found = json.loads(output.strip().splitlines()[-1])
    if found["bad"] or found["broken"] or not found["requests"]:
        raise RuntimeError(f"{target.name} answered wrongly: {found}")
    return Sample(
        found["requests"],
        found["requests"] / found["seconds"],
        used_s / found["requests"] * 1e6,
        found["p50_ms"],
        found["p99_ms"],
        found["rounds"],
    )
