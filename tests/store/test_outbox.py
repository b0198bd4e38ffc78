"""The outbox of forwarding, on a real PostgreSQL."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from service.errors import UnavailableError
from service.store.database import Database
from service.store.outbox import Forward, Outbox, Outgoing

ADDRESS, OTHER = "http://127.0.0.1:9/a", "http://127.0.0.1:9/b"
LASTING = timedelta(seconds=20)
DELIVERY_ID = "6f1c1a52-6a3a-4a0e-9d0b-0d8f6f3a2b{:02d}"


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database, most_bytes=10_000)


def outgoing(number: int, address: str = ADDRESS, size: int = 100) -> Outgoing:
    return Outgoing(DELIVERY_ID.format(number), address, {"Content-Type": "x"}, b"?", size, None)


async def only(database: Database, query: str, *args: object) -> Any:  # noqa: ANN401 - a value
    return (await database.fetch(query, *args))[0][0]


async def claim(outbox: Outbox, at_most: int = 8, lease: int = 1) -> list[Forward]:
    return await outbox.claim(ADDRESS, at_most, lease, LASTING, most_at_a_time=8)


async def test_claims_come_in_the_order_of_arrival(outbox: Outbox) -> None:
    for number in range(5):
        await outbox.store([outgoing(number)])
    claimed = [*await claim(outbox, 2), *await claim(outbox, 8)]
    assert [forward.delivery_id for forward in claimed] == [DELIVERY_ID.format(n) for n in range(5)]
    assert await claim(outbox) == []


async def test_a_lapsed_lease_is_claimed_again_and_the_first_can_not_settle(
    outbox: Outbox, database: Database
) -> None:
    await outbox.store([outgoing(1)])
    (first,) = await claim(outbox, lease=1)
    await database.fetch("UPDATE instagram_forwards SET due_at = now()")
    (second,) = await claim(outbox, lease=2)
    await outbox.finish(first)
    assert await outbox.postpone(first, "late") is None
    assert await only(database, "SELECT count(*) FROM instagram_forwards") == 1
    await outbox.finish(second)
    assert await only(database, "SELECT count(*) FROM instagram_forwards") == 0


@pytest.mark.parametrize(
    ("attempts", "wait_s"), [(0, 1), (1, 2), (2, 4), (8, 256), (9, 300), (1000, 300)]
)
async def test_waits_double_from_a_second_to_five_minutes(
    outbox: Outbox, database: Database, attempts: int, wait_s: int
) -> None:
    await outbox.store([outgoing(1)])
    await database.fetch("UPDATE instagram_forwards SET attempts = $1", attempts)
    (forward,) = await claim(outbox)
    before: datetime = await only(database, "SELECT clock_timestamp()")
    postponed = await outbox.postpone(forward, "HTTP 500")
    after: datetime = await only(database, "SELECT clock_timestamp()")
    assert postponed is not None
    assert not postponed.is_set_aside
    assert before <= postponed.due_at - timedelta(seconds=wait_s) <= after


async def test_an_address_that_was_taken_out_is_set_aside_and_deleted_after_a_week(
    outbox: Outbox, database: Database
) -> None:
    await outbox.store([outgoing(1), outgoing(2, OTHER)])
    await database.fetch(
        "UPDATE instagram_forwards SET give_up_at = now() - interval '2 hours' WHERE address = $1",
        OTHER,
    )
    assert await outbox.set_aside_overdue() == [OTHER]
    assert await outbox.delete_set_aside() == []
    await database.fetch(
        "UPDATE instagram_forwards SET set_aside_at = now() - interval '8 days' WHERE address = $1",
        OTHER,
    )
    assert await outbox.delete_set_aside() == [OTHER]
    assert [backlog.address for backlog in await outbox.measure()] == [ADDRESS]


async def test_what_waits_is_bounded_and_measured_again_when_it_is_gone(outbox: Outbox) -> None:
    await outbox.store([outgoing(1, size=6_000)])
    with pytest.raises(UnavailableError, match="FORWARD_MAX_BYTES"):
        await outbox.store([outgoing(2, size=6_000)])
    await outbox.measure()
    assert outbox.waiting_bytes == 6_000
    for forward in await claim(outbox):
        await outbox.finish(forward)
    await outbox.measure()
    assert outbox.waiting_bytes == 0
    await outbox.store([outgoing(2, size=6_000)])
