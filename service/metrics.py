"""What Prometheus may read: one registry for each application, filled from the records of requests that have ended.

The names and what they mean stand in docs/observability.md.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from model.errors import LabelsetError
from model.labels import LabelSet
from service.admission import Admission
from service.catalogue import Catalogue, ServedModel
from service.open_bodies import OpenBodies
from service.record import RequestRecord
from service.tallies import Family, Histogram, Number, Sum, counters, gauges, histograms, summaries

# A model with more has no counter of each label: every label is a series, and a scrape reads them all.
MAX_COUNTED_LABELS = 1000

_MODEL = ("model", "version")
_STAGES = ("queue", "decode", "infer")
_SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_FILLS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_SIZES = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 1000)


@dataclass(frozen=True)
class Timed:
    """How often something was done, and how long that took together."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Statistics:
    """What was counted of one version of a model since the service began.

    Attributes:
        last_request: When the last request that reached it ended, in seconds since 1970; 0 where none has.
        requests: Requests by how they ended, `answered` or `failed`.
        stages: Requests by stage, as far as each got.
        batches: Batches that its session has answered, by their number of inputs.
        cache_lookups: Inputs looked up among the answers kept, by what came of it, `hit` or `miss`.
    """

    last_request: float
    requests: Mapping[str, Timed]
    stages: Mapping[str, Timed]
    batches: Mapping[int, Timed]
    cache_lookups: Mapping[str, int]


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = counters("labelset_requests", "Requests answered.", ("route", "method", "status"))
        self._errors = counters("labelset_request_errors", "Requests answered with an error.", ("code",))
        self.registry.register(self._requests)
        self.registry.register(self._errors)
        self._families = _ModelFamilies(self.registry)
        self._models: WeakKeyDictionary[ServedModel, _ModelMetrics] = WeakKeyDictionary()

    def watch(
        self,
        served: Callable[[], Catalogue],
        waiting: Callable[[], int],
        admission: Admission,
        open_bodies: OpenBodies,
    ) -> None:
        """Show what is served and how much is worked on, as it is at the time of a scrape."""
        self.registry.register(_ServiceState(served, waiting, admission, open_bodies))

    def observe(self, record: RequestRecord) -> None:
        """Count a request that has ended."""
        self._requests.of(record.route, record.method, str(record.status)).value += 1
        if record.error_code:
            self._errors.of(record.error_code).value += 1
        if record.model:
            self._of(record.model).observe(record)

    def observe_batch(self, model: ServedModel, rows: int, fill: float, seconds: float) -> None:
        """Count a batch that a model has answered.

        Args:
            model: The model.
            rows: Inputs that it has answered.
            fill: The part that they are of the most that a batch may have.
            seconds: How long it took once they were decoded.
        """
        children = self._of(model)
        children.batch_rows.observe(rows)
        children.batch_fill.observe(fill)
        children.batch_seconds(rows).observe(seconds)

    def statistics(self, model: ServedModel) -> Statistics:
        """The numbers of one version of a model, from the same counters that Prometheus reads."""
        return self._families.statistics(model)

    def _of(self, model: ServedModel) -> "_ModelMetrics":
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = self._families.bind(model)
        return found


class _ModelFamilies:
    """The metrics that every model has, not yet those of one model."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, what: str, *more: str) -> Family[Number]:
            return counters(f"labelset_{name}", what, (*_MODEL, *more))

        def histogram(name: str, what: str, bounds: tuple[float, ...], *more: str) -> Family[Histogram]:
            return histograms(f"labelset_{name}", what, (*_MODEL, *more), bounds)

        self._request = histogram("request_seconds", "Whole requests.", _SECONDS, "outcome")
        self._last_request = gauges("labelset_last_request_timestamp_seconds", "When the last request ended.", _MODEL)
        self._stage = histogram("stage_seconds", "Stages of requests, one after the other.", _SECONDS, "stage")
        self._batch_seconds = summaries(
            "labelset_batch_seconds", "Batches answered, by their inputs.", (*_MODEL, "rows")
        )
        self._batch_rows = histogram("batch_rows", "Inputs of a batch.", _ROWS)
        self._batch_fill = histogram("batch_fill_ratio", "Inputs of a batch, of the most it may have.", _FILLS)
        self._input_errors = counter("input_errors", "Inputs that failed, alone or in a batch.", "code")
        self._cache_lookups = counter("cache_lookups", "Inputs looked up among the answers kept.", "result")
        self._set_size = histogram("label_set_size", "Labels of a label set.", _SIZES)
        self._empty_sets = counter("empty_label_sets", "Label sets without a label.")
        self._positives = counter("label_positives", "Label sets that hold the label.", "label")
        for family in vars(self).values():
            registry.register(family)

    def bind(self, model: ServedModel) -> "_ModelMetrics":
        """The metrics of one model, found by their names once and for all."""
        own = (model.name, model.version)
        labels = model.manifest.labels if len(model.manifest.labels) <= MAX_COUNTED_LABELS else ()
        return _ModelMetrics(
            answered=self._request.of(*own, "answered"),
            failed=self._request.of(*own, "failed"),
            last_request=self._last_request.of(*own),
            stages={stage: self._stage.of(*own, stage) for stage in _STAGES},
            batch_seconds=lambda rows: self._batch_seconds.of(*own, str(rows)),
            batch_rows=self._batch_rows.of(*own),
            batch_fill=self._batch_fill.of(*own),
            input_errors=partial(self._input_errors.of, *own),
            cache_hits=self._cache_lookups.of(*own, "hit"),
            cache_misses=self._cache_lookups.of(*own, "miss"),
            set_size=self._set_size.of(*own),
            empty_sets=self._empty_sets.of(*own),
            positives={label: self._positives.of(*own, label) for label in labels},
        )

    def statistics(self, model: ServedModel) -> Statistics:
        """What was counted of one model."""
        own = (model.name, model.version)
        last_request = self._last_request.find(*own)
        batches = _timed(self._batch_seconds.beginning_with(*own))
        return Statistics(
            last_request=last_request.value if last_request else 0.0,
            requests=_timed(self._request.beginning_with(*own)),
            stages=_timed(self._stage.beginning_with(*own)),
            batches={rows: batches[str(rows)] for rows in sorted(map(int, batches))},
            cache_lookups={
                result: int(number.value) for result, number in self._cache_lookups.beginning_with(*own).items()
            },
        )


@dataclass(frozen=True)
class _ModelMetrics:
    """The metrics of one version of a model."""

    answered: Histogram
    failed: Histogram
    last_request: Number
    stages: dict[str, Histogram]
    batch_seconds: Callable[[int], Sum]
    batch_rows: Histogram
    batch_fill: Histogram
    input_errors: Callable[[str], Number]
    cache_hits: Number
    cache_misses: Number
    set_size: Histogram
    empty_sets: Number
    positives: dict[str, Number]

    def observe(self, record: RequestRecord) -> None:
        (self.failed if record.error_code else self.answered).observe(record.ended - record.started)
        self.last_request.value = time.time()
        for name, stage in record.stages.items():
            self.stages[name].observe(stage.end - stage.start)
        self.cache_hits.value += record.cache_hits
        self.cache_misses.value += record.cache_misses
        for outcome in record.outcomes:
            if isinstance(outcome, LabelsetError):
                self.input_errors(outcome.code).value += 1
                continue
            # Of a token classifier each word has a label set.
            for label_set in [outcome] if isinstance(outcome, LabelSet) else outcome.values():
                self._observe_label_set(label_set)

    def _observe_label_set(self, label_set: LabelSet) -> None:
        self.set_size.observe(label_set.label_count)
        if not label_set.labels:
            self.empty_sets.value += 1
        if self.positives:
            for label, _ in label_set.labels:
                self.positives[label].value += 1


def _timed(family: Mapping[str, Histogram | Sum]) -> dict[str, Timed]:
    return {value: Timed(one.count, one.sum) for value, one in family.items()}


class _ServiceState(Collector):
    """What is read at the time of a scrape rather than counted."""

    def __init__(
        self,
        served: Callable[[], Catalogue],
        waiting: Callable[[], int],
        admission: Admission,
        open_bodies: OpenBodies,
    ) -> None:
        self._served = served
        self._waiting = waiting
        self._admission = admission
        self._open_bodies = open_bodies

    def collect(self) -> Iterator[Metric]:
        """The queue and the models."""
        yield GaugeMetricFamily("labelset_waiting_inputs", "Inputs that no runner has taken yet.", self._waiting())
        taken, places = self._admission.taken, self._admission.places
        yield GaugeMetricFamily("labelset_open_inputs", "Inputs that wait, are decoded or are computed.", taken)
        yield GaugeMetricFamily("labelset_open_inputs_limit", "How many there may be.", places)
        held, most = self._open_bodies.taken, self._open_bodies.max_bytes
        yield GaugeMetricFamily("labelset_open_body_bytes", "Bytes of large bodies that come or are held.", held)
        yield GaugeMetricFamily("labelset_open_body_bytes_limit", "How many there may be.", most)
        models = GaugeMetricFamily(
            "labelset_model_info",
            "1 for each version that is served.",
            labels=("model", "version", "digest", "device", "r_softmax"),
        )
        served = self._served()
        for default in served:
            for version in served.versions(default.name):
                model = served.get(default.name, version)
                facts = model.facts
                models.add_metric((model.name, version, model.digest, facts.device, facts.r_softmax.kind), 1)
        yield models
