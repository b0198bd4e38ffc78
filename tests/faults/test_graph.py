"""Graph in every kind of trouble: acknowledged all the same, and the reason is recorded."""

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from tests.faults.rigs import identity_of, named
from tests.system.chaos.faults import FAULTS, Fault
from tests.system.chaos.rig import Rig, new_user
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Four at a time: five users in a row would be an outage, which gives them their failure back.
_NO_CHOICE = Random(0)  # noqa: S311 - they break one thing only

TROUBLES = (
    {
        "timeout": "timeout",
        "reset": "upstream_error",
        "half_answer": "upstream_error",
        "stalled_answer": "timeout",
    },
    {
        "html_502": "upstream_error",
        "truncated_json": "upstream_error",
        "huge_body": "upstream_error",
        "wrong_id": "upstream_error",
    },
)


@pytest.mark.parametrize("troubles", TROUBLES, ids="-".join)
async def test_a_user_whom_graph_does_not_tell_has_the_reason(
    shared_rig: Rig, troubles: dict[str, str]
) -> None:
    users = {answer: new_user() for answer in troubles}
    for answer, user in users.items():
        await shared_rig.control_graph(f"users/{user}", answer=answer)
    assert (await shared_rig.write_as(*users.values())).status == 200

    async def found() -> dict[str, object]:
        return {a: (await identity_of(shared_rig, user))["reason"] for a, user in users.items()}

    async def all_have_one() -> bool:
        return None not in (await found()).values()

    await until(all_have_one)
    assert await found() == troubles
    await _is_well(shared_rig)


async def test_an_outage_pauses_all_calls_and_its_users_keep_their_tries(shared_rig: Rig) -> None:
    users = [new_user() for _ in range(6)]
    await shared_rig.control_graph("answer", answer="html_502")
    try:
        assert (await shared_rig.write_as(*users)).status == 200

        async def is_paused() -> bool:
            rows = await shared_rig.fetch("SELECT reason FROM instagram_pauses")
            return [row["reason"] for row in rows] == ["outage"]

        await until(is_paused)
        assert (await shared_rig.write_as(new_user())).status == 200
    finally:
        await shared_rig.control_graph("answer", answer=None)
    await shared_rig.fetch("UPDATE instagram_pauses SET until = now(), probing_until = NULL")
    await named(shared_rig, *users)
    assert [(await identity_of(shared_rig, user))["failCount"] for user in users] == [0] * 6


@pytest.mark.parametrize(
    "fault",
    [fault for fault in FAULTS if fault.name in {"graph down", "graph frozen", "graph slow"}],
    ids=lambda fault: fault.name,
)
async def test_webhooks_and_lookups_do_not_notice_graph(shared_rig: Rig, fault: Fault) -> None:
    user = new_user()
    async with fault.broken(shared_rig, _NO_CHOICE):
        answers = await asyncio.gather(
            shared_rig.write_as(user), shared_rig.look_up(new_user()), shared_rig.look_up(user)
        )
        assert [answer.status for answer in answers] == [200, 200, 200]
        await _has_name_or_reason(shared_rig, [user])
    await _is_well(shared_rig)


async def _has_name_or_reason(rig: Rig, users: Sequence[str]) -> None:
    async def all_have() -> bool:
        found = [await identity_of(rig, user) for user in users]
        return all(identity["state"] == "resolved" or identity["reason"] for identity in found)

    await until(all_have)


async def _is_well(rig: Rig) -> None:
    """End the streak of failures, as any success does."""
    user = new_user()
    assert (await rig.write_as(user)).status == 200
    await named(rig, user)
