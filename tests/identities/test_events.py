import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from service.errors import UnavailableError
from service.identities.events import (
    HEARTBEAT,
    MOST_CHANGED,
    RELOAD,
    ROOM,
    Changes,
    SubscriptionLimitError,
)
from service.model.freshness import CachedIdentity, Rules

SOON_S = 60


class Table:
    """Identities as a test wants them; may be away, and counts how it is read."""

    def __init__(self) -> None:
        self.failures = 0
        self.failure: Exception = UnavailableError()
        self.reads: list[list[str]] = []

    async def look_up(self, ig_user_ids: Sequence[str]) -> list[CachedIdentity]:
        self.reads.append(list(ig_user_ids))
        if len(self.reads) <= self.failures:
            raise self.failure
        return [CachedIdentity(ig_user_id) for ig_user_id in ig_user_ids]


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def changes(table: Table) -> Changes:
    return Changes(table.look_up, Rules())


@asynccontextmanager
async def running(changes: Changes) -> AsyncIterator[None]:
    task = asyncio.create_task(changes.run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def users(count: int) -> list[str]:
    return [str(10_000_000 + number) for number in range(count)]


async def test_what_nobody_watches_is_not_read(changes: Changes, table: Table) -> None:
    watched = changes.subscribe(frozenset({"7"}))
    async with running(changes):
        changes.note(["8", "7", "9", "7"])
        assert b'"igUserId":"7"' in await watched.next(SOON_S)
    assert table.reads == [["7"]]


async def test_it_is_read_once_for_all_who_watch(changes: Changes, table: Table) -> None:
    watching = [changes.subscribe(ids) for ids in (None, None, frozenset({"7", "8"}))]
    async with running(changes):
        changes.note(["7"])
        events = {await subscription.next(SOON_S) for subscription in watching}
    assert len(events) == 1
    assert table.reads == [["7"]]


async def test_a_row_whose_id_is_none_is_passed_over(changes: Changes, table: Table) -> None:
    everybody = changes.subscribe(None)
    async with running(changes):
        changes.note(["", "*", "no id", "7"])
        assert (await everybody.next(SOON_S)).count(b"event:") == 1
    assert table.reads == [["7"]]


async def test_changes_wait_while_postgres_is_away(changes: Changes, table: Table) -> None:
    table.failures = 1
    everybody = changes.subscribe(None)
    async with running(changes):
        changes.note(["7", "8"])
        assert (await everybody.next(SOON_S)).count(b"event: identity") == 2
    assert table.reads == [["7", "8"]] * 2


async def test_a_row_that_can_not_be_read_is_a_reload(changes: Changes, table: Table) -> None:
    table.failures, table.failure = 1, OverflowError("date value out of range")
    everybody = changes.subscribe(None)
    async with running(changes):
        changes.note(["7"])
        assert await everybody.next(SOON_S) == RELOAD
        changes.note(["8"])
        assert b'"igUserId":"8"' in await everybody.next(SOON_S)


async def test_more_changes_than_can_be_kept_are_a_reload(changes: Changes, table: Table) -> None:
    everybody = changes.subscribe(None)
    changes.note(users(MOST_CHANGED + 1))
    async with running(changes):
        assert await everybody.next(SOON_S) == RELOAD
    assert table.reads == []


async def test_a_reload_takes_the_place_of_what_waits(changes: Changes) -> None:
    everybody = changes.subscribe(None)
    everybody.put(b"waits")
    everybody.reload()
    assert await everybody.next(SOON_S) == RELOAD


async def test_a_burst_cuts_nobody_off_who_reads(changes: Changes) -> None:
    everybody = changes.subscribe(None)
    seen = 0
    async with running(changes):
        changes.note(users(MOST_CHANGED))
        while seen < MOST_CHANGED:
            events = await everybody.next(SOON_S)
            assert events, "cut off"
            seen += events.count(b"event: identity")
    assert seen == MOST_CHANGED


async def test_who_does_not_read_is_cut_off_alone(changes: Changes) -> None:
    ended = asyncio.Event()
    changes.subscribe(None, ended.set)
    reader = changes.subscribe(None)
    for _ in range(ROOM):
        reader.put(b"")
    await reader.next(SOON_S)
    async with running(changes):
        changes.note(users(2 * ROOM))
        async with asyncio.timeout(SOON_S):
            while not ended.is_set():
                assert await reader.next(SOON_S)
    assert changes.subscriptions == 1


async def test_closing_ends_all_and_takes_no_more(changes: Changes) -> None:
    subscription = changes.subscribe(None)
    subscription.put(b"the last")
    changes.close()
    changes.close()
    assert [await subscription.next(SOON_S) for _ in range(3)] == [b"the last", b"", b""]
    with pytest.raises(SubscriptionLimitError):
        changes.subscribe(None)


async def test_an_end_is_told_once(changes: Changes) -> None:
    ends: list[bool] = []
    subscription = changes.subscribe(None, lambda: ends.append(True))
    subscription.end()
    subscription.end()
    assert ends == [True]


async def test_who_has_left_is_remembered_nowhere(changes: Changes, table: Table) -> None:
    for ids in (None, frozenset({"7", "8"})):
        subscription = changes.subscribe(ids)
        changes.unsubscribe(subscription)
        changes.unsubscribe(subscription)
    last = changes.subscribe(frozenset({"9"}))
    async with running(changes):
        changes.note(["7", "8", "9"])
        assert await last.next(SOON_S)
    assert table.reads == [["9"]]
    assert changes.subscriptions == 1


async def test_silence_is_a_heartbeat(changes: Changes) -> None:
    assert await changes.subscribe(None).next(0.01) == HEARTBEAT
