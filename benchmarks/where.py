"""Profiles requests: `python -m benchmarks.where` samples the service under load.

py-spy samples the stack of the service's event loop 500 times a second while wrk loads it. Each
sample counts for the first part of the code below that matches the stack. py-spy needs root, or
permission to trace (`kernel.yama.ptrace_scope = 0`).
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from benchmarks import payloads
from benchmarks.loads import BenchmarkError, Sample, check_each_once, closed_loop
from benchmarks.receiving import DEFAULT_BUDGET
from benchmarks.world import Ours, World, world

_SECONDS = 6
_PER_S = 500
_USERS = 10_000
_MOST_PER_S = 16_000
# The first match counts; a name with a colon matches the innermost frame only.
_PARTS = (
    ("waiting for work", (":selectors.py",)),
    ("resolving at the same time", ("service/resolving/", "service/graph/", "store/claims.py")),
    ("system calls: read and write", (":selector_events.py",)),
    ("PostgreSQL: coalescer, asyncpg", ("coalescer.py", "database.py", "asyncpg/")),
    ("signature", ("verify_signature", "claimed_signature")),
    ("participants out of JSON", ("receiving/webhook.py", "receiving/typed.py", "tolerant.py")),
    ("memory of stored participants, queue", ("arrivals.py", "known.py", "service/queue.py")),
    ("metrics", ("tallies.py", "prometheus_client/")),
    ("identities, and JSON of them", ("service/identities/", "store/identities.py")),
    ("answer", ("http/answers.py",)),
    ("the key", (":http/auth.py", "_digest", "_is_among")),
    ("our part of HTTP", (":service/http/",)),
    ("aiohttp", ("aiohttp/",)),
    ("asyncio", ("asyncio/",)),
)
_OTHER_THREAD = "Thread._bootstrap"  # the log writer, which mostly waits


async def main() -> None:
    """Print a table for each of three kinds of requests."""
    async with world() as made, made.service(**DEFAULT_BUDGET) as ours:
        users = payloads.new_users(_USERS)
        await ours.make_known(users)
        secret = made.keys.app_secret
        new = payloads.deliveries(payloads.new_users(_SECONDS * _MOST_PER_S), secret)
        loads = {
            "A lookup of one": payloads.lookups(users),
            "An ack of a known sender": payloads.deliveries(users, secret),
            "An ack of a new sender": new,
        }
        for what, lines in loads.items():
            file = payloads.write(lines, made.folder / "where")
            if lines is not new:
                await closed_loop(ours.target, file, 2, key=made.keys.inbox)
            sample, looks = await _watch(made, ours, file)
            if lines is new:
                check_each_once(sample)
            _tell(what, sample, looks)


async def _watch(made: World, ours: Ours, file: Path) -> tuple[Sample, Counter[str]]:
    stacks = made.folder / "stacks"
    spy = await asyncio.create_subprocess_exec(
        *(
            Path(sys.executable).with_name("py-spy"),
            "record",
            "--format",
            "raw",
            "--output",
            str(stacks),
        ),
        *("--pid", str(ours.service.pid), "--rate", str(_PER_S), "--duration", str(_SECONDS)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    sample = await closed_loop(ours.target, file, _SECONDS, key=made.keys.inbox)
    said = (await spy.communicate())[1].decode()
    if spy.returncode:
        raise BenchmarkError(f"py-spy could not look: {said.strip()[-300:]}")
    looks: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if _OTHER_THREAD not in stack:
            looks[_part(stack)] += int(count)
    return sample, looks


def _part(stack: str) -> str:
    innermost = stack.rpartition(";")[2]
    for part, marks in _PARTS:
        for mark in marks:
            if mark.removeprefix(":") in (innermost if mark.startswith(":") else stack):
                return part
    return "the rest"


def _tell(what: str, sample: Sample, looks: Counter[str]) -> None:
    busy = looks.total() - looks["waiting for work"]
    print(f"\n{what}: {sample.per_s:,.0f}/s, {sample.cpu_us:.0f} µs of processor time\n")
    print("| | share | µs |\n|---|---:|---:|")
    for part, count in looks.most_common():
        if part != "waiting for work":
            share = count / busy
            print(f"| {part} | {100 * share:.0f} % | {share * sample.cpu_us:.0f} |")
    print(
        f"\nIt waited for work {100 * looks['waiting for work'] / looks.total():.0f} % of the time."
    )


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except BenchmarkError as error:
        sys.exit(f"{error}")
