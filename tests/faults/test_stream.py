"""Each fault of `make chaos` once, short, under the same stream and the same verdict."""

import math
from random import Random

import pytest

from tests.system.chaos.faults import FAULTS, Fault
from tests.system.chaos.rig import Rig
from tests.system.chaos.stream import Stream
from tests.system.chaos.verdict import judge

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUDGET = 50.0
WITHIN_S = 90.0
# What breaks Graph is in test_graph.py: there a stream would end in an outage, which is minutes.
BRIEFLY = [fault for fault in FAULTS if fault.kind != "graph"]


@pytest.mark.parametrize("fault", BRIEFLY, ids=lambda fault: fault.name)
async def test_nobody_acknowledged_is_lost(shared_rig: Rig, fault: Fault) -> None:
    random = Random(fault.name)  # noqa: S311 - makes up traffic
    stream = Stream(shared_rig, random, rate=25)
    async with stream.running() as ledger:
        assert await stream.first_new_ack_after(0, WITHIN_S)
        async with fault.broken(shared_rig, random):
            before = ledger.sent
            while ledger.sent < before + 10:
                await stream.a_delivery_left()
        await shared_rig.ready()
        healed_at = max(ledger.acked.values())
        assert await stream.first_new_ack_after(healed_at, WITHIN_S)
    await stream.settle(WITHIN_S)
    # what a dead process had claimed falls due when its lease ends: now
    await shared_rig.fetch(
        "UPDATE instagram_participants SET due_at = now() WHERE lease IS NOT NULL"
    )
    # The budget is judged elsewhere, by its slots: arrivals depend on the machine.
    verdict = await judge(shared_rig, ledger, budget=BUDGET, settle_s=WITHIN_S, jitter_s=math.inf)
    assert verdict.faults == []
    assert verdict.standings["named"] == len(ledger.acked)
