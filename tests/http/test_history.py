"""What a replica keeps of each minute."""

from datetime import UTC, datetime, timedelta

from service.http.history import MINUTES, Minutes
from service.metrics import Metrics
from service.queue import TurnQueue

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


async def test_a_minute_has_what_was_done_in_it_and_an_hour_is_kept() -> None:
    metrics = Metrics()
    queue = TurnQueue(10, lambda _: False)
    minutes = Minutes(metrics, queue, lambda: NOON)
    metrics.contacts.inc(5)
    metrics.settled.labels("resolved").inc(3)
    metrics.settled.labels("failed").inc(2)
    metrics.calls["ok"].inc(3)
    metrics.calls["not_found"].inc(2)
    queue.offer("1", "2", is_live=True)
    minutes.note(NOON + timedelta(minutes=1))
    [first] = minutes.read().minutes
    assert (first.at, first.received, first.named, first.calls) == (NOON, 5, 3, 5)
    assert (first.failures, first.depth) == ({"not_found": 2}, 1)
    for number in range(2, 2 + MINUTES):
        minutes.note(NOON + timedelta(minutes=number))
    kept = minutes.read().minutes
    assert len(kept) == MINUTES
    assert kept[0].at == NOON + timedelta(minutes=1)
    assert (kept[0].received, kept[0].named, kept[0].failures) == (0, 0, {})
