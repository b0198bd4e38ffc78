"""A slot in the budget that comes late, after a stall of Postgres or of the process."""

import asyncio

from service.graph.budget import Budget, PauseBoard
from service.store.slots import Reservation


class LateSlots:
    """Gives slots that were good a while ago, then good ones."""

    interval_s, most_ahead_s = 0.02, 1.0

    def __init__(self, *late_s: float) -> None:
        self._late_s = list(late_s)
        self.asked = 0

    async def reserve(self, *_: object, is_probe: bool = False) -> Reservation:
        self.asked += 1
        late_s = self._late_s.pop(0) if self._late_s else 0.0
        return Reservation(asyncio.get_running_loop().time() - late_s, None, None, is_probe, None)


async def _wait(slots: LateSlots) -> Reservation | None:
    async with asyncio.timeout(60):
        budget = Budget(slots, None, PauseBoard(), lambda *_: None)  # type: ignore[arg-type]
        return await budget.wait_for_slot("1")


async def test_it_is_forfeited_and_another_taken() -> None:
    slots = LateSlots(1.0, 0.5)
    slot = await _wait(slots)
    assert slot is not None
    assert slots.asked == 3


async def test_one_in_time_is_used() -> None:
    slots = LateSlots()
    assert await _wait(slots) is not None
    assert slots.asked == 1


async def test_a_machine_that_is_always_late_gets_on_all_the_same() -> None:
    slots = LateSlots(*[1.0] * 100)
    assert await _wait(slots) is not None
    assert 1 < slots.asked < 10
