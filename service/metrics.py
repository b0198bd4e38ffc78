"""What the service counts, as Prometheus metrics; labels are bound once, where values are few."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CALL_OUTCOMES = (
    "ok",
    "consent_required",
    "not_found",
    "timeout",
    "upstream_error",
    "token_invalid",
    "permission",
    "throttled",
    "bad_request",
)
_FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_SLOW_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.deliveries = Counter(
            "instagram_deliveries", "Webhook deliveries by answer", ["status"], registry=registry
        )
        self.contacts = Counter(
            "instagram_contacts", "Participants received in deliveries", registry=registry
        )
        self.skipped = Counter(
            "instagram_skipped_items", "Webhook items that make no participant", registry=registry
        )
        self.journalled = Counter(
            "instagram_journalled", "Participants committed", registry=registry
        )
        self.remembered = Counter(
            "instagram_remembered", "Participants known to be durable already", registry=registry
        )
        self.ack_seconds = Histogram(
            "instagram_ack_seconds", "Time to acknowledge", registry=registry, buckets=_FAST_S
        )
        self.lookups = Counter(
            "instagram_lookups", "Identities looked up by state", ["state"], registry=registry
        )
        calls = Counter(
            "instagram_graph_calls", "Graph calls by outcome", ["outcome"], registry=registry
        )
        self.calls = {outcome: calls.labels(outcome) for outcome in CALL_OUTCOMES}
        self.call_seconds = Histogram(
            "instagram_graph_call_seconds", "Time of Graph calls", registry=registry
        )
        self.settled = Counter(
            "instagram_settled", "Users settled by outcome", ["outcome"], registry=registry
        )
        self.name_seconds = Histogram(
            "instagram_name_seconds",
            "Time from the queue to a settled user",
            registry=registry,
            buckets=_SLOW_S,
        )
        self.budget_wait_seconds = Histogram(
            "instagram_budget_wait_seconds",
            "Time that workers wait for a place in the budget",
            registry=registry,
            buckets=_FAST_S,
        )
        self.turned_away = Counter(
            "instagram_queue_turned_away",
            "Hints left to the sweeper because the queue was full",
            registry=registry,
        )
        self.identities = Gauge(
            "instagram_identities", "Users by state", ["state"], registry=registry
        )
        self.wrong_keys = Counter("instagram_wrong_keys", "Wrong API keys", registry=registry)

    def watch(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Publish a figure that is read when it is asked for."""
        Gauge(name, meaning, registry=self.registry).set_function(read)

    def watch_each(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str],
        reads: Mapping[tuple[str, ...], Callable[[], float]],
    ) -> None:
        """Publish a figure for each of a few combinations of label values, read when asked for."""
        gauge = Gauge(name, meaning, labels, registry=self.registry)
        for values, read in reads.items():
            gauge.labels(*values).set_function(read)

    def render(self) -> bytes:
        """Write all of it in the Prometheus text format."""
        return generate_latest(self.registry)
