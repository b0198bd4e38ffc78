"""A service that dies with work in its hands: the next one finishes it."""

import pytest

from tests.faults.rigs import named
from tests.system.chaos.rig import Rig, new_user
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _with_calls_under_way(rig: Rig, users: list[str]) -> None:
    await rig.control_graph("settings", held=True)
    assert (await rig.write_as(*users)).status == 200

    async def is_asked() -> bool:
        return len(await rig.graph_calls(users[0])) > 0

    await until(is_asked)


async def test_a_kill_in_the_middle_of_calls_costs_nobody_a_name(shared_rig: Rig) -> None:
    users = [new_user() for _ in range(4)]
    service = shared_rig.services[0]
    await _with_calls_under_way(shared_rig, users)
    await service.kill()
    await shared_rig.control_graph("settings", held=False)
    await shared_rig.start_services()
    # what the dead one had claimed falls due by itself when its lease ends
    await shared_rig.fetch(
        "UPDATE instagram_participants SET due_at = now() WHERE lease IS NOT NULL"
    )
    await named(shared_rig, *users)


async def test_a_stop_waits_for_the_calls_under_way(shared_rig: Rig) -> None:
    users = [new_user() for _ in range(4)]
    service = shared_rig.services[0]
    await shared_rig.control_graph("latency", ms=200)
    assert (await shared_rig.write_as(*users)).status == 200

    async def is_asked() -> bool:
        return len(await shared_rig.graph_calls(users[0])) > 0

    await until(is_asked)
    assert await service.stop() == 0
    await shared_rig.control_graph("latency", ms=0)
    asked = {call["igUserId"] for call in await shared_rig.graph_calls()} & set(users)
    rows = await shared_rig.fetch(
        "SELECT ig_user_id FROM instagram_user_cache"
        " WHERE ig_user_id = ANY ($1::text[]) AND last_fetched_at IS NOT NULL",
        sorted(asked),
    )
    assert {row["ig_user_id"] for row in rows} == asked
    await shared_rig.start_services()
    await named(shared_rig, *users)
