"""A place in the budget that comes late, after a stall of Postgres or of the process."""

import asyncio

from service.budget import Budget, PauseBoard
from service.store.pauses import Reservation

RATE = 50.0


class SlowPauses:
    """Gives places that were good a while ago, then good ones."""

    def __init__(self, *late_s: float) -> None:
        self._late_s = list(late_s)
        self.asked = 0

    async def reserve(self, *_: object, is_probe: bool = False) -> Reservation:
        self.asked += 1
        late_s = self._late_s.pop(0) if self._late_s else 0.0
        return Reservation(-late_s, None, None, is_probe, None)


async def _wait(pauses: SlowPauses) -> Reservation | None:
    async with asyncio.timeout(10):
        budget = Budget(pauses, PauseBoard(), RATE, lambda *_: None)  # type: ignore[arg-type]
        return await budget.wait_for_place("1")


async def test_it_is_forfeited_and_another_taken() -> None:
    pauses = SlowPauses(1.0, 0.5)
    place = await _wait(pauses)
    assert place is not None
    assert place.wait_s == 0
    assert pauses.asked == 3


async def test_one_in_time_is_used() -> None:
    pauses = SlowPauses()
    assert await _wait(pauses) is not None
    assert pauses.asked == 1


async def test_a_machine_that_is_always_late_gets_on_all_the_same() -> None:
    pauses = SlowPauses(*[1.0] * 100)
    assert await _wait(pauses) is not None
    assert 1 < pauses.asked < 10
