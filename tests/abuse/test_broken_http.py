"""What is not HTTP is answered with a problem too, and costs the log one line."""

import asyncio
import json

import pytest

from tests.abuse.wires import UNPROVEN, Wire, head, is_problem, post, responses
from tests.system.chaos.rig import PREFIX, Rig

pytestmark = pytest.mark.asyncio(loop_scope="session")

WEBHOOK = f"{PREFIX}/webhook"
REFUSED = {
    "a TLS handshake": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "no method": (400, b"GE T / HTTP/1.1\r\n\r\n"),
    "HTTP/2": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "no host": (400, b"GET /healthz HTTP/1.1\r\n\r\n"),
    "a NUL in a header": (400, head("GET", "/healthz", "X: a\0b")),
    "a header line that is split": (400, head("GET", "/healthz", "X: a", " b: c")),
    "a bare line feed in a header": (400, b"GET /healthz HTTP/1.1\r\nHost: x\nX: y\r\n\r\n"),
    "two lengths": (400, head("POST", WEBHOOK, "Content-Length: 1", "Content-Length: 2")),
    "a length and chunks": (
        400,
        head("POST", WEBHOOK, "Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    ),
    "a length that is no number": (400, head("POST", WEBHOOK, "Content-Length: x")),
    "a negative length": (400, head("POST", WEBHOOK, "Content-Length: -1")),
    "chunks that are none": (
        400,
        head("POST", WEBHOOK, "Transfer-Encoding: chunked") + b"ZZ\r\nabc\r\n",
    ),
    "an address that is none": (400, b"GET http://[::1/x HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a long address": (431, head("GET", "/" + "a" * 9000)),
    "a long header": (431, head("GET", "/", "X: " + "a" * 9000)),
    "a long name of a header": (431, head("GET", "/", "X" * 9000 + ": a")),
    "many headers": (400, head("GET", "/", *(f"X{n}: a" for n in range(200)))),
    "an expectation": (417, post(b"", "Expect: fish", "Connection: close")),
    "an expectation nowhere": (417, head("GET", "/nowhere", "Expect: fish", "Connection: close")),
    "a tunnel": (404, head("CONNECT", "evil:80", "Connection: close")),
    "every resource": (404, head("OPTIONS", "*", "Connection: close")),
    "an unknown method": (400, head("BREW", WEBHOOK)),
    "another method": (405, head("PATCH", WEBHOOK, "Connection: close")),
}


@pytest.mark.parametrize(("status", "sent"), REFUSED.values(), ids=REFUSED)
async def test_it_is_refused_with_a_problem(shared_rig: Rig, status: int, sent: bytes) -> None:
    wire = await Wire.to(shared_rig.services[0])
    await wire.send(sent)
    first, *more = responses(await wire.all_that_comes())
    assert first[0] == status
    assert is_problem(*first)
    assert more == []


async def test_noise_costs_the_log_no_line_each_and_no_traceback(shared_rig: Rig) -> None:
    service = shared_rig.services[0]
    written = service.log.stat().st_size
    wires = [await Wire.to(service) for _ in range(200)]
    await asyncio.gather(*(wire.send(b"noise\r\n\r\n") for wire in wires))
    await asyncio.gather(*(wire.all_that_comes() for wire in wires))
    with service.log.open() as log:
        log.seek(written)
        lines = [json.loads(line) for line in log]
    assert len(lines) <= 3
    assert not any("exception" in line for line in lines)
    assert service.errors.read_text() == ""


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(shared_rig: Rig) -> None:
    service = shared_rig.services[0]
    before = await shared_rig.metric('instagram_deliveries_total{status="400"}')
    wire = await Wire.to(service)
    await wire.send(post(b"x" * 100, UNPROVEN)[:-50])
    await wire.close()
    async with asyncio.timeout(60):
        while await shared_rig.metric('instagram_deliveries_total{status="400"}') == before:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert "a handler failed" not in service.log.read_text()
