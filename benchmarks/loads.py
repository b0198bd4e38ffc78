"""The loads: wrk at full speed (closed loop), and a fixed rate for latency (open loop)."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.target import Target

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")  # the kernel counts no less
SCRIPT = Path(__file__).with_name("wrk.lua")
_CONNECTED_AT_FIRST = 64
_POLLS_S = 0.002  # the end of each wait: epoll sleeps whole milliseconds, rounded up
_HEAD_END, _LENGTH = b"\r\n\r\n", b"content-length: "


class BenchmarkError(Exception):
    """A measurement failed or would be meaningless; the message says why."""


@dataclass(frozen=True)
class Sample:
    """One run of a closed loop; `rounds` is how often the replay was repeated."""

    requests: int
    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    rounds: int


@dataclass(frozen=True)
class Latency:
    """One run of an open loop; times start when a request is due, not when it is sent."""

    per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float


async def closed_loop(
    target: Target,
    file: Path,
    seconds: float,
    *,
    connections: int = 64,
    key: str = "",
    most: int = 0,
) -> Sample:
    """Send the requests of a file at full speed; every answer must be a 2xx.

    It lasts whole seconds; with `most` it rests after so many requests.
    """
    if shutil.which("wrk") is None:
        raise BenchmarkError("wrk is not installed: apt-get install wrk")
    with target.alone():
        before = target.cpu_s()
        process = await asyncio.create_subprocess_exec(
            *("wrk", "-t1", f"-c{connections}", f"-d{ceil(seconds)}s", "-s", str(SCRIPT)),
            *(target.url, "--", str(file), f"Bearer {key}", str(most)),
            stdout=asyncio.subprocess.PIPE,
        )
        output = (await process.communicate())[0].decode()
        used_s = max(target.cpu_s() - before, _TICK_S)
    found = json.loads(output.strip().splitlines()[-1])
    if found["bad"] or found["broken"] or not found["requests"]:
        raise BenchmarkError(f"{target.name} did not answer everything with a 2xx: {found}")
    return Sample(
        requests=found["requests"],
        per_s=found["requests"] / found["seconds"],
        cpu_us=used_s / found["requests"] * 1e6,
        p50_ms=found["p50_ms"],
        p99_ms=found["p99_ms"],
        rounds=found["rounds"],
    )


def check_each_once(sample: Sample) -> Sample:
    """Return the sample; raises BenchmarkError if a sender was sent twice, and was not new then."""
    if sample.rounds:
        raise BenchmarkError(f"the service took more than all the new senders: {sample}")
    return sample


async def open_loop(
    target: Target, requests: Sequence[bytes], per_s: float, *, connections: int = 64
) -> Latency:
    """Send each request when it is due, even if earlier ones are unanswered."""
    replay = await _replayed(target, requests, per_s, connections)
    took = sorted(replay.latencies_s)
    return Latency(
        per_s, *(1e3 * took[min(len(took) - 1, int(len(took) * q))] for q in (0.5, 0.99, 0.999))
    )


@dataclass(frozen=True)
class Goodput:
    """One run of an open loop above the limit: what was served, and the times of answers."""

    offered_per_s: float
    served_per_s: float
    served_p50_ms: float
    served_max_ms: float
    refused_p50_ms: float


async def overload(
    target: Target, requests: Sequence[bytes], per_s: float, *, connections: int
) -> Goodput:
    """Send each request when it is due; a 503 is allowed."""
    replay = await _replayed(target, requests, per_s, connections, tolerated=b"503")
    served, refused = sorted(replay.latencies_s), sorted(replay.tolerated_s)
    return Goodput(
        offered_per_s=per_s,
        served_per_s=len(served) / replay.took_s,
        served_p50_ms=1e3 * served[len(served) // 2],
        served_max_ms=1e3 * served[-1],
        refused_p50_ms=1e3 * refused[len(refused) // 2] if refused else 0.0,
    )


async def _replayed(
    target: Target,
    requests: Sequence[bytes],
    per_s: float,
    connections: int,
    tolerated: bytes = b"2",
) -> _Replay:
    host, port = urlsplit(target.url).netloc.split(":")
    loop = asyncio.get_running_loop()
    replay = _Replay(requests, per_s, tolerated)
    transports: list[asyncio.BaseTransport] = []

    async def connect() -> None:
        made = await loop.create_connection(lambda: _Client(replay), host, int(port))
        transports.append(made[0])

    for _ in range(min(connections, _CONNECTED_AT_FIRST)):
        await connect()
    replay.connects = connect
    replay.may_connect = connections - len(transports)
    try:
        with target.alone(), _no_garbage_collection():
            await replay.run()
    finally:
        replay.is_over = True
        for transport in transports:
            transport.close()
    return replay


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Leave garbage where it is: a collection here would count as the server's latency."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class _Replay:
    """A schedule of requests, the clients that send them, and the times of the answers.

    Answers are 2xx, or begin with `tolerated`.
    """

    def __init__(self, requests: Sequence[bytes], per_s: float, tolerated: bytes) -> None:
        self._requests = requests
        self._interval_s = 1 / per_s
        self._start_s = 0.0
        self._tolerated = b"HTTP/1.1 " + tolerated
        self._due: deque[int] = deque()
        self._free: list[_Client] = []
        self._ended = asyncio.Event()
        self._connecting: set[asyncio.Task[None]] = set()
        self.connects: Callable[[], Coroutine[None, None, None]] | None = None
        self.may_connect = 0  # additional clients if many answers are outstanding
        self.is_over = False
        self._broken: BenchmarkError | None = None
        self.latencies_s: list[float] = []
        self.tolerated_s: list[float] = []
        self.took_s = 0.0

    async def run(self) -> None:
        """Send all requests and wait for the answers."""
        loop = asyncio.get_running_loop()
        self._start_s = loop.time() + 0.1
        for number in range(len(self._requests)):
            while (wait_s := self._due_s(number) - loop.time()) > 0:  # noqa: ASYNC110 - no event
                await asyncio.sleep(max(0.0, wait_s - _POLLS_S))
            self._due.append(number)
            self._send()
        async with asyncio.timeout(30):
            await self._ended.wait()
        if self._broken is not None:
            raise self._broken

    def is_free(self, client: _Client) -> None:
        """Add a client that can send."""
        self._free.append(client)
        self._send()

    def is_gone(self, client: _Client) -> None:
        """Remove a client whose idle connection the server has closed."""
        if self.is_over:
            return
        if client not in self._free:
            self._broken = BenchmarkError("a connection was closed before its answer")
            self._ended.set()
            return
        self._free.remove(client)
        self.may_connect += 1

    def answered(self, number: int, head: bytes) -> None:
        """Record an answer."""
        now_s = time.monotonic()  # the clock of asyncio's loop
        if head.startswith(b"HTTP/1.1 2"):
            self.latencies_s.append(now_s - self._due_s(number))
        elif head.startswith(self._tolerated):
            self.tolerated_s.append(now_s - self._due_s(number))
        else:
            self._broken = BenchmarkError(f"answered {head[:60]!r}")
            self._ended.set()
        if len(self.latencies_s) + len(self.tolerated_s) == len(self._requests):
            self.took_s = now_s - self._start_s
            self._ended.set()

    def _due_s(self, number: int) -> float:
        return self._start_s + number * self._interval_s

    def _send(self) -> None:
        while self._due and self._free:
            number = self._due.popleft()
            self._free.pop().send(number, self._requests[number])
        if self._due and self.connects is not None and self.may_connect > 0:
            self.may_connect -= 1
            task = asyncio.create_task(self.connects())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)


class _Client(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self, replay: _Replay) -> None:
        self._replay = replay
        self._answer = b""
        self._number = -1
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.WriteTransport):
            self._transport = transport
        self._replay.is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._replay.is_gone(self)

    def send(self, number: int, request: bytes) -> None:
        """Send a request."""
        self._number = number
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, ended, body = self._answer.partition(_HEAD_END)
        if not ended:
            return
        length = 0
        with suppress(ValueError):
            at = head.lower().index(_LENGTH) + len(_LENGTH)
            length = int(head[at:].partition(b"\r")[0])
        if len(body) < length:
            return
        number, self._number, self._answer = self._number, -1, b""
        if number < 0:
            return  # the server closes an idle connection
        self._replay.answered(number, head)
        self._replay.is_free(self)
