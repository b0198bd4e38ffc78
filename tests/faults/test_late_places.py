"""A place in the budget that comes late, after a stall of Postgres or of the process."""

import asyncio

from service.graph.budget import Budget, PauseBoard
from service.store.places import Reservation


class LatePlaces:
    """Gives places that were good a while ago, then good ones."""

    interval_s, most_ahead_s = 0.02, 1.0

    def __init__(self, *late_s: float) -> None:
        self._late_s = list(late_s)
        self.asked = 0

    async def reserve(self, *_: object, is_probe: bool = False) -> Reservation:
        self.asked += 1
        late_s = self._late_s.pop(0) if self._late_s else 0.0
        return Reservation(asyncio.get_running_loop().time() - late_s, None, None, is_probe, None)


async def _wait(places: LatePlaces) -> Reservation | None:
    async with asyncio.timeout(60):
        budget = Budget(places, None, PauseBoard(), lambda *_: None)  # type: ignore[arg-type]
        return await budget.wait_for_place("1")


async def test_it_is_forfeited_and_another_taken() -> None:
    places = LatePlaces(1.0, 0.5)
    place = await _wait(places)
    assert place is not None
    assert places.asked == 3


async def test_one_in_time_is_used() -> None:
    places = LatePlaces()
    assert await _wait(places) is not None
    assert places.asked == 1


async def test_a_machine_that_is_always_late_gets_on_all_the_same() -> None:
    places = LatePlaces(*[1.0] * 100)
    assert await _wait(places) is not None
    assert 1 < places.asked < 10
