"""What bodies cost before anybody knows that they are signed."""

import asyncio

import pytest

from sandbox import samples
from service.http import bodies, connection
from tests.abuse.wires import UNPROVEN, Wire, head, is_problem, post
from tests.http.conftest import ACCOUNT, API, APP_SECRET, USER, Client, Start
from tests.until import until

WEBHOOK = f"{API}/webhook"
MEBIBYTE = f"Content-Length: {bodies.MOST_BODY_BYTES}"
DIGITS = "0" * 64
UNSIGNED = {
    "nothing": [],
    "sha1 alone": ["X-Hub-Signature: sha1=" + "0" * 40],
    "no scheme": [f"X-Hub-Signature-256: {DIGITS}"],
    "a digit too few": [f"X-Hub-Signature-256: sha256={DIGITS[1:]}"],
    "a digit too many": [f"X-Hub-Signature-256: sha256={DIGITS}0"],
    "no digits": [f"X-Hub-Signature-256: sha256={'g' * 64}"],
    "two": [UNPROVEN, UNPROVEN],
}


@pytest.mark.parametrize("lines", UNSIGNED.values(), ids=UNSIGNED)
async def test_what_can_not_be_signed_is_refused_before_its_body(
    client: Client, lines: list[str]
) -> None:
    wire = await Wire.at(client.running.port)
    await wire.send(head("POST", WEBHOOK, MEBIBYTE, *lines))
    refusal = await wire.response()  # the body has not been sent, and is not waited for
    assert refusal[0] == 401
    assert is_problem(*refusal)
    await wire.close()


async def test_bodies_that_arrive_share_a_budget(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "HELD", bodies.HeldBytes(250))
    wires = [await Wire.at(client.running.port) for _ in range(3)]
    for wire in wires[:2]:
        await wire.send(post(b"x" * 101, UNPROVEN)[:-1])
    await until(lambda: _held(200))
    await wires[2].send(post(b"x" * 101, UNPROVEN)[:-1])
    refusal = await wires[2].response()
    assert refusal[0] == 503
    assert is_problem(*refusal)
    assert int(refusal[1]["retry-after"]) > 0
    await client.write(USER)  # a body that comes with its head waits for nobody
    for wire in wires:
        await wire.close()
    await until(lambda: _held(0))


async def _held(size: int) -> bool:
    return bodies.HELD.held == size


async def test_a_body_that_is_withheld_is_given_up(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_WITHIN_S", 0.05)
    monkeypatch.setitem(connection.OPTIONS, "lingering_time", 0.05)
    client = await start()
    wire = await Wire.at(client.running.port)
    await wire.send(post(b"x" * 101, UNPROVEN)[:-1])
    assert (await wire.response())[0] == 408
    assert bodies.HELD.held == 0
    assert await wire.all_that_comes() == b""


async def test_a_signed_body_that_comes_in_pieces_is_acknowledged(client: Client) -> None:
    body = samples.delivery(samples.entry(ACCOUNT, samples.message(USER, ACCOUNT)))
    body += b" " * 200_000
    signed = samples.signed_headers(body, APP_SECRET)
    wire = await Wire.at(client.running.port)
    whole = post(body, *(f"{name}: {value}" for name, value in signed.items()))
    await wire.send(whole[:500], whole[500:100_000], whole[100_000:])
    async with asyncio.timeout(60):
        assert (await wire.response())[0] == 200
    assert bodies.HELD.held == 0
    await wire.close()
