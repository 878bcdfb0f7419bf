"""What is counted, in numbers of our own, which the library shows to Prometheus.

The library's own counters take a lock and check themselves each time, and a request is counted in many places. These
belong to the event loop, which alone may change them; a scrape may read them from another thread.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

T = TypeVar("T")


class Number:
    """Goes up, or is whatever it is now."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Sum:
    """How many observations there were, and their sum."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count an observation."""
        self.count += 1
        self.sum += value


class Histogram:
    """How many observations there were up to each bound, and their sum."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: rising; an observation belongs to the first that it is not above."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count an observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Each bound, with the observations up to it."""
        bounds = [*map(float, self._bounds), "+Inf"]
        return [(str(bound), float(up_to)) for bound, up_to in zip(bounds, accumulate(self.counts), strict=True)]


class Family(Collector, Generic[T]):
    """What is counted under one name, by the values of its labels."""

    def __init__(self, new: Callable[[], T], show: Callable[[Iterable[tuple[tuple[str, ...], T]]], Metric]) -> None:
        """`new`: makes what is counted for new values; `show`: makes of all what the library writes."""
        self._new = new
        self._show = show
        self._children: dict[tuple[str, ...], T] = {}

    def of(self, *values: str) -> T:
        """What is counted for these values of the labels."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._new()
        return child

    def find(self, *values: str) -> T | None:
        """What is counted for these values; None where nothing ever was."""
        return self._children.get(values)

    def beginning_with(self, *values: str) -> Mapping[str, T]:
        """Those of the first labels' values, by the value of the one label more."""
        return {
            found[len(values)]: child
            for found, child in list(self._children.items())
            if found[: len(values)] == values and len(found) == len(values) + 1
        }

    def collect(self) -> Iterator[Metric]:
        """Called by the library."""
        yield self._show(list(self._children.items()))


def counters(name: str, what: str, labels: Sequence[str]) -> Family[Number]:
    """Numbers that go up."""
    return _numbers(lambda: CounterMetricFamily(name, what, labels=labels))


def gauges(name: str, what: str, labels: Sequence[str]) -> Family[Number]:
    """Numbers that are what they are now."""
    return _numbers(lambda: GaugeMetricFamily(name, what, labels=labels))


def _numbers(shown: Callable[[], CounterMetricFamily | GaugeMetricFamily]) -> Family[Number]:
    def show(children: Iterable[tuple[tuple[str, ...], Number]]) -> Metric:
        family = shown()
        for values, number in children:
            family.add_metric(values, number.value)
        return family

    return Family(Number, show)


def summaries(name: str, what: str, labels: Sequence[str]) -> Family[Sum]:
    """Counts and sums."""

    def show(children: Iterable[tuple[tuple[str, ...], Sum]]) -> Metric:
        family = SummaryMetricFamily(name, what, labels=labels)
        for values, one in children:
            family.add_metric(values, one.count, one.sum)
        return family

    return Family(Sum, show)


def histograms(name: str, what: str, labels: Sequence[str], bounds: Sequence[float]) -> Family[Histogram]:
    """Counts up to each bound, and sums."""

    def show(children: Iterable[tuple[tuple[str, ...], Histogram]]) -> Metric:
        family = HistogramMetricFamily(name, what, labels=labels)
        for values, one in children:
            family.add_metric(values, one.buckets(), one.sum)
        return family

    return Family(lambda: Histogram(bounds), show)
