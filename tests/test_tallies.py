from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.tallies import LabelledTallies, PublishedTally, TimeTallies

BUCKETS = (0.001, 0.25, 1, 5)


def published(registry: CollectorRegistry) -> list[Metric]:
    """What Prometheus reads, but for when each began."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return [family for family in families if not family.name.endswith("_created")]


@given(st.lists(st.tuples(st.sampled_from(["200", "401", 'a "quoted"\n\\']), st.integers(0, 9))))
def test_tallies_are_published_as_prometheus_clients_counters(
    counted: list[tuple[str, int]],
) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    by_status = LabelledTallies("acks", "Acks", "status", ours)
    total = PublishedTally("users", "Users", ours)
    their_acks = Counter("acks", "Acks", ["status"], registry=theirs)
    their_users = Counter("users", "Users", registry=theirs)
    for status, amount in counted:
        by_status.labels(status).inc(amount)
        their_acks.labels(status).inc(amount)
        total.inc(amount)
        their_users.inc(amount)
    assert published(ours) == published(theirs)


@given(st.lists(st.sampled_from(BUCKETS) | st.floats(0, 10)))
def test_times_are_published_as_prometheus_clients_histogram(times_s: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    tallies = TimeTallies("ack_seconds", "Time of an ack", BUCKETS, ours)
    histogram = Histogram("ack_seconds", "Time of an ack", buckets=BUCKETS, registry=theirs)
    for took_s in times_s:
        tallies.observe(took_s)
        histogram.observe(took_s)
    assert published(ours) == published(theirs)
