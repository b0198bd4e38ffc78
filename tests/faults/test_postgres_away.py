"""While Postgres is away: 503, or 200 from memory, never a hang and never a 500."""

import asyncio
from random import Random

import msgspec
import pytest

from tests.faults.rigs import named
from tests.system.chaos.faults import FAULTS, Fault
from tests.system.chaos.rig import Answer, Rig, new_user
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

HANGS_AFTER_S = 60
AWAY = [fault for fault in FAULTS if fault.kind == "postgres"]


async def _is_remembered(rig: Rig, user: str) -> None:
    """Write until that costs no statement: a new listener begins with an empty memory."""

    async def costs_nothing() -> bool:
        before = await rig.metric("instagram_remembered_total")
        assert (await rig.write_as(user)).status == 200
        return await rig.metric("instagram_remembered_total") > before

    await until(costs_nothing)


def _is_refused(answer: Answer) -> None:
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("fault", AWAY, ids=lambda fault: fault.name)
async def test_it_is_said_and_heals_without_a_restart(shared_rig: Rig, fault: Fault) -> None:
    known, stranger = new_user(), new_user()
    assert (await shared_rig.write_as(known)).status == 200
    await named(shared_rig, known)
    await _is_remembered(shared_rig, known)
    pid = shared_rig.services[0].pid

    async def is_away() -> bool:
        return (await shared_rig.look_up(known)).status == 503

    async with fault.broken(shared_rig, Random(1)):  # noqa: S311 - it breaks one thing only
        await until(is_away)
        async with asyncio.timeout(HANGS_AFTER_S):
            refused, looked_up, remembered, alive, ready = await asyncio.gather(
                shared_rig.write_as(stranger),
                shared_rig.look_up(stranger),
                shared_rig.write_as(known),
                shared_rig.probe("/healthz"),
                shared_rig.probe("/readyz"),
            )
    assert (alive.status, ready.status) == (200, 200)
    if fault.name == "postgres full":  # a connection may be had for a moment
        assert {answer.status for answer in (refused, looked_up, remembered)} <= {200, 503}
    else:
        _is_refused(refused)
        _is_refused(looked_up)
        assert remembered.status == 200
        assert msgspec.json.decode(ready.body)["postgres"] == "unavailable"

    async def is_acknowledged() -> bool:
        return (await shared_rig.write_as(stranger)).status == 200

    await until(is_acknowledged)
    await named(shared_rig, stranger)
    assert shared_rig.services[0].pid == pid
