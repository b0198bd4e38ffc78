"""The Prometheus metrics; labels with few values are bound once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.model.calls import PauseReason, UserReason
from service.tallies import LabelledTallies, PublishedTally, TimeTallies

_NOT_OF_CALLS = frozenset({"no_connection", "outage"})
CALL_OUTCOMES = (
    "ok",
    *get_args(UserReason),
    *(reason for reason in get_args(PauseReason) if reason not in _NOT_OF_CALLS),
    "cancelled",
    "unforeseen",
)
PICTURE_OUTCOMES = ("copied", "unchanged", "outdated", "failed", "error")
_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_SLOW_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        tally = partial(PublishedTally, registry=self.registry)
        tallies = partial(LabelledTallies, registry=self.registry)
        times = partial(TimeTallies, registry=self.registry)

        self.deliveries = tallies("instagram_deliveries", "Webhook deliveries by answer", "status")
        self.contacts = tally("instagram_contacts", "Participants received in deliveries")
        self.skipped = tally("instagram_skipped_items", "Webhook items that make no participant")
        self.journalled = tally("instagram_journalled", "Participants committed")
        self.remembered = tally("instagram_remembered", "Participants known to be durable already")
        self.ack_seconds = times("instagram_ack_seconds", "Time to acknowledge", _FAST_S)
        self.turned_away = counter(
            "instagram_queue_turned_away", "Hints left to the sweeper because the queue was full"
        )
        self.budget_wait_seconds = histogram(
            "instagram_budget_wait_seconds",
            "Time that workers wait for a slot in the budget",
            buckets=_FAST_S,
        )
        self._calls = counter("instagram_graph_calls", "Graph calls by outcome", ["outcome"])
        self.calls = {outcome: self._calls.labels(outcome) for outcome in CALL_OUTCOMES}
        self.call_seconds = histogram("instagram_graph_call_seconds", "Time of Graph calls")
        self.conversation_calls = counter(
            "instagram_conversation_calls", "Calls for names in conversations", ["outcome"]
        )
        copies = counter("instagram_picture_copies", "Pictures copied, by outcome", ["outcome"])
        self.picture_copies = {outcome: copies.labels(outcome) for outcome in PICTURE_OUTCOMES}
        self.settled = counter("instagram_settled", "Users settled by outcome", ["outcome"])
        self.name_seconds = histogram(
            "instagram_name_seconds", "Time from the queue to a settled user", buckets=_SLOW_S
        )
        self.lookups = tallies("instagram_lookups", "Identities looked up by state", "state")
        self.verdict = gauge(
            "instagram_verdict", "How well people get their names: 0 ok, 1 attention, 2 broken"
        )
        self.recent = gauge(
            "instagram_recent_users", "Users who wrote within the last hour, by state", ["state"]
        )
        self.lookups_from_memory = tally(
            "instagram_lookups_from_memory", "Identities that were answered without a statement"
        )
        self.identities = gauge("instagram_identities", "Users by state", ["state"])
        self.forwarded = counter(
            "instagram_forwards", "Posts to forward addresses by outcome", ["outcome"]
        )
        self.wrong_keys = counter("instagram_wrong_keys", "Wrong API keys")
        self.background_failures = counter(
            "instagram_background_failures",
            "Background tasks that failed and start again",
            ["task"],
        )

    def note_background_failure(self, task: str) -> None:
        """Count a failure of a background task."""
        self.background_failures.labels(task).inc()

    def totals(self) -> dict[str, float]:
        """Return the counts of received contacts, names, and calls by `calls:outcome`."""
        calls = _totals(self._calls)
        return {
            "received": float(self.contacts.value),
            "named": _totals(self.settled).get("resolved", 0.0),
        } | {f"calls:{outcome}": total for outcome, total in calls.items()}

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Publish a figure that is read at each scrape."""
        Gauge(name, meaning, registry=self.registry).set_function(read)

    def watch_each(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str],
        reads: Mapping[tuple[str, ...], Callable[[], float]],
    ) -> None:
        """Publish a figure for each combination of label values, read at each scrape."""
        gauge = Gauge(name, meaning, labels, registry=self.registry)
        for values, read in reads.items():
            gauge.labels(*values).set_function(read)

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)


def _totals(counter: Counter) -> dict[str, float]:
    """Return a counter's values by outcome."""
    return {
        sample.labels["outcome"]: sample.value
        for family in counter.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }
