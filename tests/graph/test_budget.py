import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.graph.budget import (
    MOST_UNCONNECTED,
    MOST_UNCONNECTED_LISTED,
    Budget,
    PauseBoard,
)
from service.graph.usage import Usage
from service.store.pauses import Pause, Pauses
from service.store.slots import Reservation, Slots
from tests.strategies import in_jumping_time

ACCOUNT, OTHER, UNTIL = "17841400000000007", "17841400000000008", datetime(2026, 11, 22, tzinfo=UTC)
FULL = Reservation(None, None, None, is_probe=False, full_for_s=1.0)
PAUSED = Reservation(None, "throttled", "app", is_probe=False, full_for_s=None)


def slot(at_s: float, *, is_probe: bool = False) -> Reservation:
    """A slot so many seconds after it was asked for."""
    return Reservation(at_s, None, None, is_probe=is_probe, full_for_s=None)


class FakeSlots:
    """Answers in a row, the last one for ever."""

    def __init__(self, answers: Sequence[Reservation], interval_s: float) -> None:
        self.answers = list(answers)
        self.interval_s = interval_s
        self.most_ahead_s = max(1.0, interval_s)
        self.stalls_s: list[float] = []
        self.asked: list[tuple[str, bool]] = []

    async def reserve(self, account: str, _: str, *, is_probe: bool) -> Reservation:
        self.asked.append((account, is_probe))
        asked_at_s = clock()
        await asyncio.sleep(self.stalls_s.pop(0) if self.stalls_s else 0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        at_s = None if answer.at_s is None else asked_at_s + answer.at_s
        return msgspec.structs.replace(answer, at_s=at_s)


class FakePauses:
    """What was written."""

    def __init__(self) -> None:
        self.written: list[tuple[object, ...]] = []

    async def pause(self, *pause: object) -> None:
        self.written.append(pause)

    async def set_pace(self, share: float) -> None:
        self.written.append(("pace", round(share, 3)))


class Setting:
    """A budget over fake tables, with what it said of slow accounts."""

    def __init__(self, *answers: Reservation, rate: float = 10.0) -> None:
        self.slots, self.pauses = FakeSlots(answers, 1 / rate), FakePauses()
        self.board = PauseBoard()
        self.slow: list[tuple[str, float]] = []
        self.budget = Budget(
            cast("Slots", self.slots),
            cast("Pauses", self.pauses),
            self.board,
            lambda *said: self.slow.append(said),
        )

    async def use(self, usage: Usage, account: str = ACCOUNT) -> None:
        self.budget.note_usage(account, usage)
        await self.budget.act_on_usage(account)


def pause(scope: str, left_s: float = 60.0, reason: str = "throttled") -> Pause:
    return Pause(scope, UNTIL, reason, left_s)


def clock() -> float:
    return asyncio.get_running_loop().time()


# The board


async def test_an_empty_board_pauses_nobody() -> None:
    board = PauseBoard()
    assert not board.is_paused(ACCOUNT)
    assert (board.app_pause_s(), board.paused_accounts(), board.listed) == (0, [], [])


async def test_an_accounts_pause_is_its_own() -> None:
    board = PauseBoard()
    board.replace([pause(f"account:{ACCOUNT}")])
    assert board.is_paused(ACCOUNT)
    assert board.holds(ACCOUNT)
    assert not board.is_paused(OTHER)
    assert board.paused_accounts() == [ACCOUNT]
    assert board.app_pause_s() == 0


async def test_an_account_that_nobody_connected_is_held_without_a_pause() -> None:
    board = PauseBoard()
    assert not board.holds(OTHER), "nothing is known yet"
    board.connect([ACCOUNT])
    assert (board.holds(ACCOUNT), board.holds(OTHER)) == (False, True)
    [shown] = board.listed
    assert (shown.scope, shown.reason) == (f"account:{OTHER}", "no_connection")
    assert board.count("account", "no_connection") == 1
    assert board.paused_accounts() == []
    board.connect([ACCOUNT, OTHER])
    assert not board.holds(OTHER)
    assert board.listed == []


async def test_any_number_of_unconnected_accounts_takes_bounded_memory() -> None:
    board = PauseBoard()
    board.connect([])
    for number in range(MOST_UNCONNECTED + 100):
        assert board.holds(str(number))
    assert board.count("account", "no_connection") == MOST_UNCONNECTED
    assert len(board.listed) == MOST_UNCONNECTED_LISTED


async def test_the_apps_pause_is_everybodys() -> None:
    board = PauseBoard()
    board.replace([pause("app")])
    assert board.is_paused(ACCOUNT)
    assert not board.holds(ACCOUNT)
    assert board.paused_accounts() == []


async def test_a_board_shows_the_latest_pauses_and_no_others() -> None:
    board, latest = PauseBoard(), [pause("app", reason="outage")]
    board.replace([pause(f"account:{ACCOUNT}")])
    board.replace(latest)
    assert not board.holds(ACCOUNT)
    assert board.listed == latest


def test_a_pause_runs_out_by_itself() -> None:
    async def main() -> None:
        board = PauseBoard()
        board.replace([pause("app", 60), pause(f"account:{ACCOUNT}", 90)])
        assert 59 < board.app_pause_s() <= 60
        await asyncio.sleep(61)
        assert board.app_pause_s() == 0
        assert board.is_paused(ACCOUNT)
        await asyncio.sleep(30)
        assert not board.is_paused(ACCOUNT)

    in_jumping_time(main())


# Waiting for a slot


def test_a_worker_waits_until_its_slot_comes() -> None:
    async def main() -> None:
        setting = Setting(slot(0.75))
        started_at = clock()
        assert await setting.budget.wait_for_slot(ACCOUNT) is not None
        assert clock() - started_at >= 0.75
        assert setting.slots.asked == [(ACCOUNT, False)]

    in_jumping_time(main())


def test_a_full_budget_is_asked_again_when_it_has_said_so() -> None:
    async def main() -> None:
        setting = Setting(FULL, FULL, slot(0.0))
        started_at = clock()
        assert await setting.budget.wait_for_slot(ACCOUNT) is not None
        assert clock() - started_at >= 2 * 1.0
        assert len(setting.slots.asked) == 3

    in_jumping_time(main())


@pytest.mark.parametrize("rate", [0.01, 1.0, 100.0])
def test_a_worker_gives_up_within_its_patience(rate: float) -> None:
    async def main() -> None:
        setting = Setting(FULL, rate=rate)
        started_at = clock()
        assert await setting.budget.wait_for_slot(ACCOUNT) is None
        assert clock() - started_at <= setting.budget.patience_s + 0.1
        assert len(setting.slots.asked) > 1

    in_jumping_time(main())


def test_no_slot_is_taken_that_could_come_after_its_patience() -> None:
    async def main() -> None:
        full = Reservation(None, None, None, is_probe=False, full_for_s=4.5)
        setting = Setting(full, slot(1.0), rate=10)
        assert await setting.budget.wait_for_slot(ACCOUNT) is None
        assert len(setting.slots.asked) == 1

    in_jumping_time(main())


@pytest.mark.parametrize("full_for_s", [0.0, -1.0, None])
def test_a_budget_that_is_full_for_no_time_is_not_asked_without_end(
    full_for_s: float | None,
) -> None:
    async def main() -> None:
        setting = Setting(Reservation(None, None, None, is_probe=False, full_for_s=full_for_s))
        assert await setting.budget.wait_for_slot(ACCOUNT) is None
        assert len(setting.slots.asked) < 5000

    in_jumping_time(main())


def test_a_slot_that_comes_late_is_forfeited_for_the_next() -> None:
    async def main() -> None:
        setting = Setting(slot(0.0))
        setting.slots.stalls_s = [3.0]
        assert await setting.budget.wait_for_slot(ACCOUNT) is not None
        assert len(setting.slots.asked) == 2

    in_jumping_time(main())


def test_a_probe_whose_slot_comes_late_stays_the_probe() -> None:
    async def main() -> None:
        setting = Setting(slot(0.0, is_probe=True))
        setting.slots.stalls_s = [3.0]
        found = await setting.budget.wait_for_slot(ACCOUNT)
        assert found is not None
        assert found.is_probe
        assert [is_probe for _, is_probe in setting.slots.asked] == [False, True]

    in_jumping_time(main())


def test_where_every_slot_comes_late_a_worker_gives_up() -> None:
    async def main() -> None:
        setting = Setting(slot(0.0))
        setting.slots.stalls_s = [3.0] * 10
        assert await setting.budget.wait_for_slot(ACCOUNT) is None
        assert 1 < len(setting.slots.asked) < 5

    in_jumping_time(main())


async def test_who_is_paused_is_told_at_once() -> None:
    setting = Setting(PAUSED)
    assert await setting.budget.wait_for_slot(ACCOUNT) == PAUSED


async def test_a_probe_is_asked_for_as_one() -> None:
    setting = Setting(slot(0.0, is_probe=True))
    await setting.budget.wait_for_slot(ACCOUNT, is_probe=True)
    assert [is_probe for _, is_probe in setting.slots.asked] == [True]


@pytest.mark.parametrize("scope", ["app", f"account:{ACCOUNT}"])
@pytest.mark.parametrize("is_probe", [True, False])
def test_a_pause_made_while_waiting_forfeits_the_slot_unless_it_is_the_probes(
    scope: str, *, is_probe: bool
) -> None:
    async def main() -> None:
        setting = Setting(slot(0.5, is_probe=is_probe))
        waiting = asyncio.create_task(setting.budget.wait_for_slot(ACCOUNT, is_probe=is_probe))
        await asyncio.sleep(0)
        setting.board.replace([pause(scope)])
        found = await waiting
        assert found is not None
        assert found.paused_by == (None if is_probe else "throttled")

    in_jumping_time(main())


async def test_another_accounts_pause_forfeits_nothing() -> None:
    setting = Setting(slot(0.0))
    setting.board.replace([pause(f"account:{OTHER}")])
    found = await setting.budget.wait_for_slot(ACCOUNT)
    assert found is not None
    assert found.paused_by is None


@pytest.mark.parametrize("rate", [1.0, 10.0, 200.0])
def test_even_if_the_tables_let_all_through_one_replica_keeps_the_rate(rate: float) -> None:
    async def main() -> None:
        setting, made_at = Setting(slot(0.0), rate=rate), []

        async def work() -> None:
            for _ in range(20):
                await setting.budget.wait_for_slot(ACCOUNT)
                made_at.append(clock())

        await asyncio.gather(*(work() for _ in range(4)))
        calls = sorted(made_at)
        burst = max(2.0, rate * 0.02 + 1)
        for first, start in enumerate(calls):
            for count, end in enumerate(calls[first:], start=1):
                assert count <= rate * (end - start) + burst + 0.01

    in_jumping_time(main())


# Slowing down before Meta does


@pytest.mark.parametrize(
    ("usage", "written"),
    [
        (Usage(), []),
        (Usage(app=75), []),
        (Usage(app=80), [("pace", 0.8)]),
        (Usage(app=87.5), [("pace", 0.5)]),
        (Usage(app=99.9), [("pace", 0.02)]),
        (Usage(app=100), [("app", "throttled", None)]),
        (Usage(app=340, regain_s=60), [("app", "throttled", 60)]),
        (Usage(account=100), [(f"account:{ACCOUNT}", "throttled", None)]),
        (Usage(account=100, regain_s=1140), [(f"account:{ACCOUNT}", "throttled", 1140)]),
    ],
)
async def test_the_app_slows_from_75_percent_down_to_nothing_at_100(
    usage: Usage, written: list[tuple[object, ...]]
) -> None:
    setting = Setting(FULL)
    await setting.use(usage)
    assert setting.pauses.written == written


@pytest.mark.parametrize(
    ("percent", "hold_s"),
    [(0, None), (75, None), (80, 0.125), (87.5, 0.2), (99.9, 5.0), (100, None)],
)
async def test_an_account_slows_by_being_left_for_longer(
    percent: float, hold_s: float | None
) -> None:
    setting = Setting(FULL)
    await setting.use(Usage(account=percent))
    assert [account for account, _ in setting.slow] == ([] if hold_s is None else [ACCOUNT])
    assert sum(held_s for _, held_s in setting.slow) == pytest.approx(hold_s or 0)


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_the_more_is_used_the_slower_and_never_faster_than_the_rate(one: float, two: float) -> None:
    def held_s(percent: float) -> float:
        setting = Setting(FULL)
        asyncio.run(setting.use(Usage(account=percent)))
        if setting.pauses.written:
            return float("inf")
        return setting.slow[0][1] if setting.slow else 0.1

    assert 0.1 <= held_s(min(one, two)) <= held_s(max(one, two))


async def test_a_share_is_told_once_and_again_when_it_changes() -> None:
    setting = Setting(FULL)
    for percent in (80.0, 80.0, 80.1, 90.0, 50.0, 50.0):
        await setting.use(Usage(app=percent))
    assert setting.pauses.written == [("pace", 0.8), ("pace", 0.4), ("pace", 1.0)]


def test_a_share_that_is_about_to_lapse_is_told_again() -> None:
    async def main() -> None:
        setting = Setting(FULL)
        for _ in range(3):
            await setting.use(Usage(app=80))
            await asyncio.sleep(21)
        assert setting.pauses.written == [("pace", 0.8)] * 3

    in_jumping_time(main())


async def test_usage_counts_once_and_for_its_account_alone() -> None:
    setting = Setting(FULL)
    setting.budget.note_usage(OTHER, Usage(account=100))
    await setting.budget.act_on_usage(ACCOUNT)
    assert setting.pauses.written == []
    await setting.budget.act_on_usage(OTHER)
    await setting.budget.act_on_usage(OTHER)
    assert setting.pauses.written == [(f"account:{OTHER}", "throttled", None)]
