"""Deliveries that press where it might hurt: large, deep, compressed, doubled, and too many."""

import asyncio
import gzip
import io
import json

import pytest

from sandbox import samples
from service.http.bodies import MOST_BODY_BYTES
from tests.abuse.test_connections import resident_kib
from tests.abuse.wires import UNPROVEN, Wire, chunked, head, is_problem, responses
from tests.faults.rigs import Machines, forked_rig
from tests.system.chaos.rig import ACCOUNTS, PREFIX, Answer, Rig, message_from, new_user
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

DEEP = 100_000
ROOM_KIB = 200 * 1024


def _padded(body: bytes, size: int) -> bytes:
    """Bring a JSON object to a size with white space, which changes nothing in it."""
    return body + b" " * (size - len(body))


def _is_problem(answer: Answer) -> bool:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return is_problem(answer.status, headers, answer.body)


async def _stored(made: Rig, *users: str) -> int:
    rows = await made.fetch(
        "SELECT FROM instagram_participants WHERE ig_user_id = ANY ($1::text[])", list(users)
    )
    return len(rows)


@pytest.mark.parametrize(("over", "status"), [(-1, 200), (0, 200), (1, 413), (1 << 20, 413)])
async def test_a_body_may_have_a_mebibyte(shared_rig: Rig, over: int, status: int) -> None:
    user = new_user()
    body = _padded(message_from(user), MOST_BODY_BYTES + over)
    signed = samples.signed_headers(body, shared_rig.keys.app_secret)
    answer = await shared_rig.ask("POST", "/webhook", data=io.BytesIO(body), headers=signed)
    assert answer.status == status
    assert _is_problem(answer) == (status != 200)
    assert await _stored(shared_rig, user) == (status == 200)


async def test_a_body_in_chunks_may_not_have_more(shared_rig: Rig) -> None:
    wire = await Wire.to(shared_rig.services[0])
    lines = ("Transfer-Encoding: chunked", "Connection: close", UNPROVEN)
    await wire.send(head("POST", f"{PREFIX}/webhook", *lines), chunked([b"x" * 65536] * 20))
    assert [status for status, _, _ in responses(await wire.all_that_comes())] in ([413], [])


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEEP,
        b'{"entry":' * DEEP,
        b'{"object":"instagram","entry":' + b"[" * DEEP + b"]" * DEEP + b"}",
        b'{"object":"instagram","entry":[{"messaging":' + b'[{"a":' * DEEP,
        b'{"a":1e400000}',
        b'{"object":' + b"9" * 500_000 + b"}",
        b"\xff\xfe",
        b"",
        b"null",
        b'{"object":"instagram"} {}',
    ],
    ids=lambda body: body[:24].decode("latin-1") + str(len(body)),
)
async def test_what_is_signed_and_no_delivery_is_answered_in_time(
    shared_rig: Rig, body: bytes
) -> None:
    answer = await shared_rig.deliver(body)
    assert answer.status in (200, 400)
    assert answer.status == 200 or _is_problem(answer)


async def test_a_compressed_body_is_taken_as_it_came(shared_rig: Rig) -> None:
    user = new_user()
    packed = gzip.compress(message_from(user))
    answer = await shared_rig.ask(
        "POST",
        "/webhook",
        data=packed,
        headers=samples.signed_headers(packed, shared_rig.keys.app_secret)
        | {"Content-Encoding": "gzip"},
    )
    assert answer.status == 400  # signed bytes are never unpacked: no bomb, and no other bytes
    assert await _stored(shared_rig, user) == 0


async def test_of_doubled_keys_the_last_counts_once(shared_rig: Rig) -> None:
    first, last = new_user(), new_user()
    item = json.dumps(samples.message(last, ACCOUNTS[0])).encode()
    doubled = item.replace(b'{"sender"', b'{"sender":{"id":"%s"},"sender"' % first.encode(), 1)
    body = (
        b'{"object":"page","object":"instagram","entry":[{"id":"1","id":"%s","messaging":[%s]}]}'
        % (ACCOUNTS[0].encode(), doubled)
    )
    assert (await shared_rig.deliver(body)).status == 200
    assert (await _stored(shared_rig, first), await _stored(shared_rig, last)) == (0, 1)


async def test_a_thousand_items_of_which_half_are_broken_cost_those_alone(
    shared_rig: Rig,
) -> None:
    users = [new_user() for _ in range(500)]
    items: list[object] = []
    for user in users:
        items += [samples.message(user, ACCOUNTS[0]), {"sender": {"id": "x"}, "message": 7}]
    body = samples.delivery({"id": ACCOUNTS[0], "time": samples.now_ms(), "messaging": items})
    assert (await shared_rig.deliver(body)).status == 200
    assert await _stored(shared_rig, *users) == 500


async def test_as_many_entries_as_fit_are_read_within_bounds(shared_rig: Rig) -> None:
    service = shared_rig.services[0]
    before_kib = resident_kib(service)
    body = b'{"object":"instagram","entry":[' + b"{}," * 340_000 + b"{}]}"
    answers = await asyncio.gather(*(shared_rig.deliver(body) for _ in range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    assert resident_kib(service) - before_kib < ROOM_KIB


async def test_a_flood_past_the_queue_is_acknowledged_and_named_later(machines: Machines) -> None:
    async with forked_rig(*machines, QUEUE_CAPACITY="20", GRAPH_CALLS_PER_SECOND="200") as made:
        await made.start_services()
        users = [new_user() for _ in range(100)]
        await made.control_graph("settings", held=True)
        answers = await asyncio.gather(*(made.write_as(user) for user in users))
        assert {answer.status for answer in answers} == {200}
        status = await made.ask(
            "GET", "/status", headers={"Authorization": f"Bearer {made.keys.operator}"}
        )
        assert json.loads(status.body)["queue"]["depth"] <= 20
        assert await made.metric("instagram_queue_turned_away_total") > 0
        await made.control_graph("settings", held=False)
        await until(lambda: _all_named(made, users))


async def _all_named(made: Rig, users: list[str]) -> bool:
    rows = await made.fetch(
        "SELECT FROM instagram_user_cache"
        " WHERE ig_user_id = ANY ($1::text[]) AND last_fetched_at IS NOT NULL",
        users,
    )
    return len(rows) == len(users)
