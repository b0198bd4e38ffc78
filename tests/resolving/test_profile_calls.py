import asyncio
from typing import cast

import pytest

from service.graph.budget import Budget
from service.graph.client import GraphClient
from service.metrics import CALL_OUTCOMES, Metrics
from service.model.calls import Profile
from service.resolving.profile_calls import ProfileCalls
from service.store.outcomes import Claim
from service.vault import Vault

CLAIM = Claim("17841400000000001", "5550000000000001", 1, "a-plain-token", "facebook")


class NeverAnswering:
    """A Graph whose answer does not come, and a budget that is told of nothing."""

    def __init__(self) -> None:
        self.was_called = asyncio.Event()

    async def fetch_profile(self, *_: object) -> Profile:
        self.was_called.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def act_on_usage(self, _: str) -> None:
        return


async def test_a_cancelled_call_is_counted_as_cancelled() -> None:
    graph, metrics = NeverAnswering(), Metrics()
    vault = Vault(("A" * 43 + "=",))
    calling = ProfileCalls(cast("GraphClient", graph), cast("Budget", graph), vault, metrics)

    async def no_slot() -> None:
        raise AssertionError

    call = asyncio.create_task(calling.fetch(CLAIM, no_slot))
    await graph.was_called.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    counted = {
        outcome: metrics.registry.get_sample_value(
            "instagram_graph_calls_total", {"outcome": outcome}
        )
        for outcome in CALL_OUTCOMES
    }
    assert {outcome: n for outcome, n in counted.items() if n} == {"cancelled": 1}
