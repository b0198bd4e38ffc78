"""Fetching names: latency, rate, accuracy of the budget, and repeated calls."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from statistics import median
from typing import Any

import aiohttp

from benchmarks import payloads
from benchmarks.findings import Findings, Scale
from benchmarks.loads import closed_loop
from benchmarks.world import Ours, World

_LATENCY_MS = 50
_BUDGET = 50
_UNLIMITED = {"GRAPH_CALLS_PER_SECOND": "100000", "GRAPH_CONCURRENCY": "64"}
_POLL_S = 0.001


async def run(world: World, scale: Scale) -> Findings:
    """Measure the resolving half."""
    found = Findings()
    async with world.service(**_UNLIMITED) as ours:
        await _names(ours, found, scale)
        await _backfill(ours, found, scale)
        await _duplicates(world, ours, found, scale)
        await _drain(ours, found, scale)
    await _ceiling(world, found, scale)
    await _budget(world, found, scale)
    return found


async def _names(ours: Ours, found: Findings, scale: Scale) -> None:
    """Measure the time from a webhook to a lookup with the name, one message at a time."""
    await ours.rig.control_graph("latency", ms=_LATENCY_MS)
    took_ms = []
    for user in payloads.new_users(5 if scale.is_tiny else 60):
        began_s = time.perf_counter()
        await ours.rig.write_as(user)
        while json.loads((await ours.rig.look_up(user)).body)["state"] != "resolved":  # noqa: ASYNC110 - polls like an inbox
            await asyncio.sleep(_POLL_S)
        took_ms.append((time.perf_counter() - began_s) * 1e3)
    await ours.rig.control_graph("latency", ms=0)
    what = f"Webhook to name at {_LATENCY_MS} ms Graph latency, p50"
    found.add(what, median(took_ms), "ms", "at most", _LATENCY_MS + 15)
    found.raw["names_ms"] = took_ms


async def _backfill(ours: Ours, found: Findings, scale: Scale) -> None:
    key = {"Authorization": f"Bearer {ours.rig.keys.operator}"}
    took_ms = []
    for _ in range(1 if scale.is_tiny else 3):
        await ours.add_recent(payloads.new_users(50))
        began_s = time.perf_counter()
        path = "/messages/backfill?locationId=rig"
        answer = await ours.rig.ask("POST", path, headers=key)
        took_ms.append((time.perf_counter() - began_s) * 1e3)
        report = json.loads(answer.body)
        found.raw.setdefault("backfills", []).append(report | {"results": []})
    found.add("Backfill of 50, Graph answering at once", median(took_ms), "ms")


async def _duplicates(world: World, ours: Ours, found: Findings, scale: Scale) -> None:
    """Count the calls for users who write repeatedly while calls are in flight."""
    await ours.rig.control_graph("latency", ms=_LATENCY_MS)
    before = await _calls(ours)
    users = payloads.new_users(scale.users // 4)
    lines = payloads.deliveries(users, world.keys.app_secret)
    file = payloads.write(lines, world.folder / "duplicates")
    sample = await closed_loop(
        ours.target,
        file,
        scale.seconds,
        connections=scale.connections,
        most=scale.requests,
    )
    sent = min(sample.requests, len(users))
    await ours.until_idle()
    await ours.rig.control_graph("latency", ms=0)
    each = (await _calls(ours) - before) / sent
    found.add("Graph calls a user under duplicates", each, "", "at most", 1)
    found.raw["duplicates"] = {"deliveries": sample.requests, "users": sent}


async def _ceiling(world: World, found: Findings, scale: Scale) -> None:
    """Measure the simulator with aiohttp's client only, 64 calls at a time."""
    token = f"{world.keys.token}0"
    proof = hmac.digest(world.keys.app_secret.encode(), token.encode(), "sha256").hex()
    query = {"fields": "name,username,profile_pic", "appsecret_proof": proof}
    count, ends_at = 0, time.monotonic() + scale.seconds
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:

        async def call() -> None:
            nonlocal count
            while time.monotonic() < ends_at:
                url = f"{world.graph.url}/v18.0/{payloads.new_users(1)[0]}"
                async with session.get(url, params=query) as answer:
                    answer.raise_for_status()
                    await answer.read()
                count += 1

        await asyncio.gather(*(call() for _ in range(64)))
    found.add("Graph calls of a bare aiohttp client", count / scale.seconds, "/s")


async def _drain(ours: Ours, found: Findings, scale: Scale) -> None:
    """Measure a backlog of a dead process with a large budget."""
    await ours.service.stop()
    await ours.add_recent(payloads.new_users(scale.backlog))
    started_s = time.monotonic()
    await ours.service.start()
    await ours.rig.ready()
    began_s, first = time.monotonic(), await _calls(ours)
    if first >= scale.backlog:  # a small one can be drained before the service says it is ready
        began_s, first = started_s, 0
    settled = 0.0
    while settled < scale.backlog - first and time.monotonic() - began_s < scale.patience_s:
        await asyncio.sleep(0.1)
        settled = await _calls(ours) - first
    took_s = time.monotonic() - began_s
    found.add("Users resolved, the budget out of the way", settled / took_s, "/s")
    found.add("Drain of 100,000 users at that rate", 100_000 * took_s / settled, "s")
    found.raw["drain"] = {"backlog": scale.backlog, "settled": settled, "seconds": took_s}


async def _budget(world: World, found: Findings, scale: Scale) -> None:
    """Measure the budget with more users than it allows."""
    async with world.service(GRAPH_CALLS_PER_SECOND=str(_BUDGET)) as ours:
        async with ours.rig.session.delete(f"{ours.rig.graph.url}/_simulator/calls"):
            pass
        seconds = 1 if scale.is_tiny else 10
        await ours.rig.write_as(*payloads.new_users(2 * _BUDGET * seconds))
        await asyncio.sleep(seconds)
        url = f"{ours.rig.graph.url}/_simulator"
        async with ours.rig.session.get(f"{url}/budget", params={"rate": _BUDGET}) as answer:
            over = (await answer.json())["overBudget"]
        times_s = [_at_s(call) for call in await ours.rig.graph_calls()]
        used = (len(times_s) - 1) / (_BUDGET * (times_s[-1] - times_s[0]))
    found.add(f"Budget of {_BUDGET} calls/s used", used, "", "at least", 0.98)
    found.add("Calls above rate × T + 2, over every window", max(0.0, over), "", "at most", 0)


def _at_s(call: dict[str, Any]) -> float:
    return float(call["atS"])


async def _calls(ours: Ours) -> float:
    return await ours.metric("instagram_graph_calls_total")
