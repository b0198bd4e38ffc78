import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.queue import Hint, QueueClosed, TurnQueue
from tests.strategies import JumpingLoop, in_jumping_time

CAPACITY = 8


def filled(*hints: tuple[str, str], is_live: bool = True, capacity: int = 100) -> TurnQueue:
    queue = TurnQueue(capacity)
    for account, user in hints:
        assert queue.offer(account, user, is_live=is_live)
    return queue


async def take_now(queue: TurnQueue) -> Hint | None:
    """Take the next hint, or nothing if that would have to wait."""
    taking = asyncio.ensure_future(queue.take())
    await asyncio.sleep(0)
    if taking.done():
        return taking.result()
    taking.cancel()
    return None


def held_hints(queue: TurnQueue) -> int:
    """Count the hints that the queue keeps, whether they may still be taken or not."""
    ranks = (queue._live, queue._later)
    lines = [
        line for rank in ranks for turns in (rank._in_turn, rank._aside) for line in turns.values()
    ]
    assert all(lines), "an account without hints is kept"
    return sum(map(len, lines))


async def take_all(queue: TurnQueue) -> list[str]:
    """Take the users that can be taken, each done at once."""
    users = []
    while (hint := await take_now(queue)) is not None:
        queue.done(hint.ig_user_id)
        users.append(hint.ig_user_id)
    return users


async def test_accounts_take_turns_and_an_accounts_users_come_in_order() -> None:
    queue = filled(("A", "a1"), ("A", "a2"), ("A", "a3"), ("B", "b1"), ("C", "c1"), ("B", "b2"))
    assert await take_all(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]


async def test_a_flood_of_one_account_does_not_delay_another() -> None:
    queue = filled(*(("A", f"a{n}") for n in range(1000)), capacity=2000)
    queue.offer("B", "b", is_live=True)
    assert "b" in [(await queue.take()).ig_user_id for _ in range(2)]


async def test_live_hints_go_first() -> None:
    queue = filled(("A", "later1"), ("B", "later2"), is_live=False)
    queue.offer("A", "live", is_live=True)
    assert await take_all(queue) == ["live", "later1", "later2"]


async def test_a_live_hint_overtakes_the_same_users_later_one() -> None:
    queue = filled(("A", "first"), ("A", "user"), is_live=False)
    assert queue.offer("B", "user", is_live=True)
    assert queue.depth == 2
    hint = await queue.take()
    assert (hint.ig_account_id, hint.ig_user_id, hint.is_live) == ("B", "user", True)
    queue.done("user")
    assert await take_all(queue) == ["first"]


async def test_a_user_has_one_hint_while_waiting() -> None:
    queue = filled(("A", "user"))
    assert not queue.offer("A", "user", is_live=True)
    assert not queue.offer("B", "user", is_live=False)
    assert await take_all(queue) == ["user"]


async def test_a_user_in_flight_is_not_queued_again_until_done() -> None:
    queue = filled(("A", "user"))
    await queue.take()
    assert (queue.depth, queue.in_flight) == (0, 1)
    assert not queue.offer("A", "user", is_live=True)
    queue.done("user")
    assert queue.in_flight == 0
    assert queue.offer("A", "user", is_live=True)


async def test_beyond_the_capacity_new_users_are_turned_away_but_promotions_are_not() -> None:
    queue = filled(("A", "1"), ("A", "2"), is_live=False, capacity=2)
    assert (queue.is_full, queue.depth) == (True, 2)
    assert not queue.offer("A", "3", is_live=True)
    assert queue.offer("A", "2", is_live=True)
    await queue.take()
    assert (queue.is_full, queue.depth) == (False, 1)
    assert queue.offer("A", "3", is_live=True)


async def test_hints_of_a_paused_account_are_not_taken_in() -> None:
    queue = TurnQueue(10, is_blocked={"A"}.__contains__)
    assert not queue.offer("A", "1", is_live=True)
    assert queue.offer("B", "2", is_live=True)
    assert await take_all(queue) == ["2"]


async def test_whoever_waits_gets_the_next_hint() -> None:
    queue = TurnQueue(10)
    takers = [asyncio.create_task(queue.take()) for _ in range(3)]
    await asyncio.sleep(0)
    for user in "123":
        queue.offer("A", user, is_live=False)
    async with asyncio.timeout(60):
        taken = await asyncio.gather(*takers)
    assert sorted(hint.ig_user_id for hint in taken) == ["1", "2", "3"]


async def test_a_taker_that_gives_up_takes_nothing() -> None:
    queue = TurnQueue(10)
    assert await take_now(queue) is None
    queue.offer("A", "1", is_live=True)
    assert await take_all(queue) == ["1"]


async def test_a_forgotten_user_is_not_given_out() -> None:
    queue = filled(("A", "1"), ("A", "2"))
    queue.forget("1")
    queue.forget("nobody")
    assert queue.depth == 1
    assert await take_all(queue) == ["2"]


async def test_a_forgotten_user_may_come_back_behind_the_others() -> None:
    queue = filled(("A", "1"), ("A", "2"))
    queue.forget("1")
    assert queue.offer("A", "1", is_live=True)
    assert await take_all(queue) == ["2", "1"]


async def test_dropping_an_account_drops_its_hints_of_both_ranks_and_no_others() -> None:
    queue = filled(("A", "1"), ("A", "2"), ("B", "3"), is_live=False)
    queue.offer("A", "4", is_live=True)
    queue.offer("B", "1", is_live=True)
    queue.forget("2")
    assert queue.drop_account("A") == 1
    assert queue.drop_account("A") == 0
    assert queue.depth == 2
    assert await take_all(queue) == ["1", "3"]


async def test_closing_sends_everyone_away() -> None:
    queue = TurnQueue(10)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    queue.close()
    queue.close()
    assert queue.is_closed
    assert not queue.offer("A", "1", is_live=True)
    for taking in (waiting, queue.take()):
        with pytest.raises(QueueClosed):
            await taking


async def test_closing_leaves_what_waits_to_the_sweeper() -> None:
    queue = filled(("A", "1"))
    queue.close()
    with pytest.raises(QueueClosed):
        await queue.take()


async def test_superseded_hints_are_not_kept() -> None:
    queue = TurnQueue(10)
    for _ in range(50_000):
        queue.offer("A", "1", is_live=False)
        queue.offer("A", "1", is_live=True)
        queue.forget("1")
    queue.offer("A", "2", is_live=True)
    assert (queue.depth, held_hints(queue)) == (1, 1)


def test_a_held_account_is_passed_over_and_comes_back_by_itself() -> None:
    async def main() -> None:
        queue = filled(("A", "1"), ("B", "2"))
        queue.hold("A", 5.0)
        assert await take_all(queue) == ["2"]
        released_at = asyncio.get_running_loop().time() + 5.0
        assert (await queue.take()).ig_user_id == "1"
        assert asyncio.get_running_loop().time() >= released_at - 0.1

    in_jumping_time(main())


def test_the_latest_hold_counts() -> None:
    async def main() -> None:
        queue = filled(("A", "1"))
        queue.hold("A", 1.0)
        queue.hold("A", 60.0)
        await asyncio.sleep(30)
        assert await take_now(queue) is None
        await asyncio.sleep(31)
        assert await take_all(queue) == ["1"]

    in_jumping_time(main())


def test_the_oldest_wait_is_that_of_the_oldest_hint() -> None:
    async def main() -> None:
        queue = filled(("A", "1"), is_live=False)
        await asyncio.sleep(60)
        queue.offer("B", "2", is_live=True)
        await asyncio.sleep(10)
        assert 70 <= queue.oldest_s() < 71
        assert await take_all(queue) == ["2", "1"]
        assert queue.oldest_s() == 0

    in_jumping_time(main())


@pytest.mark.parametrize(
    "leave",
    [
        lambda queue: queue.forget("1"),
        lambda queue: queue.drop_account("A"),
        lambda queue: queue.offer("A", "1", is_live=True),
    ],
    ids=["forgotten", "dropped", "promoted and taken"],
)
def test_a_hint_that_waits_no_longer_is_not_the_oldest(leave: Callable[[TurnQueue], None]) -> None:
    async def main() -> None:
        queue = filled(("A", "1"), is_live=False)
        await asyncio.sleep(60)
        leave(queue)
        if queue.depth:
            await take_now(queue)
        assert queue.oldest_s() == 0

    in_jumping_time(main())


class QueueAgainstModel(RuleBasedStateMachine):
    """The queue against lists of who waits, in the order of their arrival."""

    accounts = st.sampled_from(["A", "B", "C"])
    users = st.sampled_from([f"user-{n}" for n in range(12)])

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=JumpingLoop)
        self.paused: set[str] = set()
        self.queue = TurnQueue(CAPACITY, self.paused.__contains__)
        self.waiting: dict[str, tuple[str, bool]] = {}
        self.in_flight: set[str] = set()
        self.held_until: dict[str, float] = {}
        self.passed_over: dict[tuple[str, bool], Counter[str]] = {}

    def teardown(self) -> None:
        self.runner.close()

    def do(self, step: Callable[..., Any], *arguments: object, **named: object) -> Any:  # noqa: ANN401 - whatever the step gives
        async def main() -> object:
            found = step(*arguments, **named)
            return await found if isinstance(found, Coroutine) else found

        return self.runner.run(main())

    def is_held(self, account: str) -> bool:
        return self.held_until.get(account, 0) > self.runner.get_loop().time()

    def eligible(self) -> dict[str, tuple[str, bool]]:
        return {u: hint for u, hint in self.waiting.items() if not self.is_held(hint[0])}

    @rule(account=accounts, user=users, is_live=st.booleans())
    def offer(self, account: str, user: str, *, is_live: bool) -> None:
        known = self.waiting.get(user)
        is_promoted = known is not None and is_live and not known[1]
        is_new = known is None and len(self.waiting) < CAPACITY
        expected = (
            user not in self.in_flight and account not in self.paused and (is_new or is_promoted)
        )
        assert self.do(self.queue.offer, account, user, is_live=is_live) == expected
        if expected:
            self.leave(user)
            self.waiting[user] = (account, is_live)

    @rule()
    def take(self) -> None:
        eligible = self.eligible()
        hint = self.do(take_now, self.queue)
        if hint is None:
            assert not eligible
            return
        rank = any(is_live for _, is_live in eligible.values())
        account = eligible[hint.ig_user_id][0]
        first = next(u for u, known in eligible.items() if known == (account, rank))
        assert (hint.ig_user_id, hint.ig_account_id, hint.is_live) == (first, account, rank)
        self.take_turn(account, rank=rank)
        self.leave(hint.ig_user_id)
        self.in_flight.add(hint.ig_user_id)

    def take_turn(self, account: str, *, rank: bool) -> None:
        """Nobody has two turns while another account waits for its first."""
        for other in {a for a, is_live in self.eligible().values() if is_live == rank} - {account}:
            turns = self.passed_over.setdefault((other, rank), Counter())
            turns[account] += 1
            assert turns[account] <= 1
        self.passed_over.pop((account, rank), None)

    def leave(self, user: str) -> None:
        hint = self.waiting.pop(user, None)
        if hint is not None and hint not in self.waiting.values():
            self.passed_over.pop(hint, None)

    @rule(user=users)
    def done(self, user: str) -> None:
        self.queue.done(user)
        self.in_flight.discard(user)

    @rule(user=users)
    def forget(self, user: str) -> None:
        self.queue.forget(user)
        self.leave(user)

    @rule(account=accounts)
    def drop_account(self, account: str) -> None:
        dropped = [u for u, (a, _) in self.waiting.items() if a == account]
        assert self.queue.drop_account(account) == len(dropped)
        for user in dropped:
            self.leave(user)

    @rule(account=accounts, hold_s=st.sampled_from([0.5, 5.0]))
    def hold(self, account: str, hold_s: float) -> None:
        self.do(self.queue.hold, account, hold_s)
        self.held_until[account] = self.runner.get_loop().time() + hold_s
        for rank in (True, False):
            self.passed_over.pop((account, rank), None)

    @rule(wait_s=st.sampled_from([1.0, 10.0]))
    def wait(self, wait_s: float) -> None:
        self.do(asyncio.sleep, wait_s)

    @rule(account=accounts)
    def pause_or_resume(self, account: str) -> None:
        self.paused.symmetric_difference_update({account})

    @precondition(lambda self: self.waiting)
    @invariant()
    def is_never_too_full(self) -> None:
        assert self.queue.depth <= CAPACITY

    @invariant()
    def counts_agree(self) -> None:
        assert self.queue.depth == len(self.waiting) == held_hints(self.queue)
        assert self.queue.in_flight == len(self.in_flight)
        assert self.queue.is_full == (len(self.waiting) >= CAPACITY)


TestQueueAgainstModel = QueueAgainstModel.TestCase
TestQueueAgainstModel.settings = settings(max_examples=60, stateful_step_count=60)
