"""Slow, idle and many: what a client may hold open, and that others are served meanwhile."""

import asyncio
import json
from pathlib import Path

import pytest

from sandbox import samples
from service.http.tcp_limits import most_connections
from tests.abuse.wires import UNPROVEN, Wire, head, is_problem, post, responses
from tests.faults.rigs import Machines, forked_rig
from tests.system.chaos.processes import Service
from tests.system.chaos.rig import Rig, message_from, new_user
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

IDLE = 3_000
MOST_KIB_AN_IDLE_CONNECTION = 24
MOST_OPEN = most_connections()
ATTACKS = {
    "nothing": b"",
    "half a head": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "a drip": b"GET /healthz HTTP/1.1\r\n",
    "half a body": post(b"x" * 100, UNPROVEN)[:-99],
}


def resident_kib(service: Service) -> int:
    """Read the memory of a service, in KiB."""
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def _is_served(made: Rig) -> None:
    answers = await asyncio.gather(made.write_as(new_user()), made.look_up(new_user()))
    assert [answer.status for answer in answers] == [200, 200]


async def test_who_is_slow_is_shown_out_while_others_are_served(shared_rig: Rig) -> None:
    wires = {
        attack: [await Wire.to(shared_rig.services[0]) for _ in range(50)] for attack in ATTACKS
    }
    dripping = asyncio.create_task(_drip(wires["a drip"]))
    for attack, sent in ATTACKS.items():
        await asyncio.gather(*(wire.send(sent) for wire in wires[attack]))
    await _is_served(shared_rig)
    for attack, sent in ATTACKS.items():
        everything = await asyncio.gather(*(wire.all_that_comes() for wire in wires[attack]))
        for refusals in map(responses, everything):
            # a reset may overtake the answer to who goes on sending
            expected = ([408], []) if attack == "a drip" else ([408] if sent else [],)
            assert [status for status, _, _ in refusals] in expected
            assert all(is_problem(*refusal) for refusal in refusals)
    dripping.cancel()
    await asyncio.wait([dripping])


async def _drip(wires: list[Wire]) -> None:
    while True:
        await asyncio.gather(*(wire.send(b"X: y\r\n") for wire in wires))
        await asyncio.sleep(0.5)


async def test_a_head_that_never_ends_is_cut_off_by_its_size(shared_rig: Rig) -> None:
    wire = await Wire.to(shared_rig.services[0])
    await wire.send(b"GET / HTTP/1.1\r\n", *(b"X%d: %s\r\n" % (n, b"a" * 7000) for n in range(90)))
    received = responses(await wire.all_that_comes())
    assert [status for status, _, _ in received] in ([431], [])


async def test_a_second_request_on_a_connection_is_bounded_too(shared_rig: Rig) -> None:
    wire = await Wire.to(shared_rig.services[0])
    await wire.send(head("GET", "/healthz"))
    assert (await wire.response())[0] == 200
    await wire.send(b"GET / HTTP/1.1\r\n", *(b"X%d: %s\r\n" % (n, b"a" * 7000) for n in range(90)))
    received = responses(await wire.all_that_comes())
    assert [status for status, _, _ in received] in ([431], [])


async def test_a_large_body_is_not_taken_for_a_head(shared_rig: Rig) -> None:
    wire = await Wire.to(shared_rig.services[0])
    body = b"x" * 300_000
    pieces = [body[at : at + 30_000] for at in range(0, len(body), 30_000)]
    for _ in range(2):
        await wire.send(head("GET", "/healthz", f"Content-Length: {len(body)}"), *pieces)
        assert (await wire.response())[0] == 200
    await wire.close()


async def test_requests_in_one_packet_are_answered_in_their_order(shared_rig: Rig) -> None:
    paths = [*("/healthz", "/nowhere") * 100]
    wire = await Wire.to(shared_rig.services[0])
    lasts = head("GET", "/healthz", "Connection: close")
    await wire.send(b"".join(head("GET", path) for path in paths) + lasts)
    answered = [status for status, _, _ in responses(await wire.all_that_comes())]
    assert answered == [200, 404] * 100 + [200]


async def test_thousands_of_idle_connections_cost_little_and_others_are_served(
    machines: Machines,
) -> None:
    async with forked_rig(*machines) as made:
        await made.start_services()
        service = made.services[0]
        await _is_served(made)
        before_kib = resident_kib(service)
        idle = min(IDLE, MOST_OPEN - 1000)
        wires = await _open_and_use(service, idle)
        grown_kib = resident_kib(service) - before_kib
        await _is_served(made)
        for wire in wires:
            await wire.close()
        assert grown_kib < idle * MOST_KIB_AN_IDLE_CONNECTION


async def _open_and_use(service: Service, count: int) -> list[Wire]:
    """Open connections, ask one thing over each, and keep them."""
    wires: list[Wire] = []
    request = head("GET", "/healthz")
    while len(wires) < count:
        some = [await Wire.to(service) for _ in range(min(500, count - len(wires)))]
        for wire in some:
            wire.writer.write(request)
        for wire in some:
            assert (await wire.response())[0] == 200
        wires += some
    return wires


async def test_connections_beyond_the_bound_are_refused_aloud(
    machines: Machines,
) -> None:
    # the bound follows the limit of open files, which a child inherits from its launcher
    launcher = ("-c", _WITH_FEW_FILES, "-m", "service")
    async with forked_rig(*machines) as made:
        service = made.services[0]
        await service.start(launcher=launcher)
        await made.ready()
        wires = [await Wire.to(service) for _ in range(120)]
        turned_away = [wire for wire in wires if await _is_turned_away(wire)]
        assert 0 < len(turned_away) < len(wires)

        async def told() -> list[str]:
            whole = service.log.read_text().rpartition("\n")[0].splitlines()
            return [line for line in whole if "too many conn" in line]

        lines = await until(told)
        assert len(lines) <= 3
        assert json.loads(lines[0])["level"] == "warning"
        for wire in wires:
            await wire.close()
        body = message_from(new_user())
        fresh = await Wire.to(service)
        signed = samples.signed_headers(body, made.keys.app_secret)
        await fresh.send(post(body, *(f"{name}: {value}" for name, value in signed.items())))
        assert (await fresh.response())[0] == 200
        await fresh.close()


_WITH_FEW_FILES = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (356, 356))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


async def _is_turned_away(wire: Wire) -> bool:
    wire.writer.write(head("GET", "/healthz"))
    try:
        refusal = await wire.response()
    except (ConnectionError, asyncio.IncompleteReadError):
        return True  # a reset may overtake the answer
    assert refusal[0] in (200, 503)
    return refusal[0] == 503
