"""A few seconds of `make fuzz`: mutated webhooks and mutated answers of Graph."""

import asyncio

import pytest

from tests.system.chaos.rig import ACCOUNTS, Rig
from tests.system.fuzz import Tried, fuzz_answers, fuzz_webhooks
from tests.system.mutated import USERS, ids_in

A_WHILE_S = 1.0


@pytest.mark.asyncio(loop_scope="session")
async def test_mutated_webhooks_are_taken_or_refused(shared_rig: Rig) -> None:
    tried = Tried()
    await asyncio.to_thread(fuzz_webhooks, shared_rig, tried, A_WHILE_S)
    assert tried.faults == []
    assert tried.answers["200"] > 0
    assert tried.answers["400"] > 0
    assert "a handler failed" not in shared_rig.services[0].log.read_text()


def test_mutated_answers_of_graph_are_profiles_or_decisions() -> None:
    tried = Tried()
    fuzz_answers(tried, A_WHILE_S, [])
    assert tried.faults == []
    assert {"profile", "upstream_error"} <= set(tried.graph)


def test_ids_are_found_wherever_they_stand() -> None:
    assert ids_in(b'{"a":[{"id":"12"},34,"x"],"56":null}') == {"12", "34", "56"}
    assert {*USERS, *ACCOUNTS}.isdisjoint(ids_in(b"not JSON"))
