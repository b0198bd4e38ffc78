"""Counters and histograms without locks, for events of every request.

prometheus_client takes a lock for every increment, since any thread can count. These events are
counted on the event loop only, so a plain number is enough.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Tally:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Add to the number."""
        self.value += amount


class LabelledTallies(Collector):
    """A Prometheus counter with one label, which has a tally for each value."""

    def __init__(self, name: str, meaning: str, label: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._meaning = meaning
        self._label = label
        self._began_at = time.time()
        self._by_value: dict[str, Tally] = {}
        registry.register(self)

    def labels(self, value: str) -> Tally:
        """Return the tally of a label's value."""
        return self._by_value.setdefault(value, Tally())

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the counts to Prometheus."""
        family = CounterMetricFamily(self._name, self._meaning, labels=[self._label])
        for value, tally in self._by_value.items():
            family.add_metric([value], tally.value, created=self._began_at)
        yield family


class PublishedTally(Tally, Collector):
    """A Prometheus counter without labels."""

    def __init__(self, name: str, meaning: str, registry: CollectorRegistry) -> None:
        super().__init__()
        self._name = name
        self._meaning = meaning
        self._began_at = time.time()
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the count to Prometheus."""
        yield CounterMetricFamily(
            self._name, self._meaning, value=self.value, created=self._began_at
        )


class TimeTallies(Collector):
    """A Prometheus histogram; `buckets` are upper bounds in seconds."""

    def __init__(
        self, name: str, meaning: str, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._bounds = tuple(buckets)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum_s = 0.0
        registry.register(self)

    def observe(self, took_s: float) -> None:
        """Add a duration."""
        self._counts[bisect_left(self._bounds, took_s)] += 1
        self._sum_s += took_s

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the buckets and the sum to Prometheus."""
        bounds = [*map(str, map(float, self._bounds)), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._meaning, buckets, self._sum_s)
