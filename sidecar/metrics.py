"""What Prometheus scrapes. The only importer of its client.

No label holds text that a client chose: routes, outcomes, channels and phases are fixed lists,
rules and formats come from the configuration, and models from it or from upstream's own list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from sidecar.core.stats import Stats
from sidecar.rules.accesssection import NO_CLIENT
from sidecar.tally import MANY, Series, Tally

# The steps of the model servers' own histograms, so that they compare.
_FIRST: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 20, 40, 80, 160),
)
_BETWEEN: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 30)
_WHOLE: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_ADDED: Final = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01)

NO_RULE = "none"
NO_MODEL = "none"


class Labels(NamedTuple):
    """Those of one request."""

    route: str
    rule: str
    model: str


class Pace(NamedTuple):
    """The histograms that every event of a stream is observed in: seconds between two reads from
    upstream, between two writes to the client, from a read to its write, and that text was held."""

    upstream: Series
    client: Series
    added: Series
    held: Series

    def trim(self) -> None:
        """Count what is pending where it is much."""
        for series in self:
            if len(series.pending) >= MANY:
                series.settle()


_TIMES: Final = {
    "upstream_headers": "to the head of upstream's answer.",
    "first_upstream_event": "to the first event of upstream's that said anything.",
    "first_reasoning": "to the first reasoning that upstream sent.",
    "first_tool_call": "to the first tool call whose tool was known.",
    "first_visible_token": "to the first text of the answer that the client could show.",
    "first_visible_byte": "to the first thing that a person could see, a status or text.",
}
"""The clocks that start with the request."""


class Metrics:
    """The metrics of one sidecar, in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        by_request = Labels._fields
        self._requests = self._counter(
            "requests", "Requests that have ended.", *by_request, "outcome"
        )
        self._clients: Callable[..., Counter] | None = None
        self.streams_in_flight = Gauge(
            "sidecar_streams_in_flight",
            "Event streams that are being relayed.",
            registry=self.registry,
        )
        self.tasks = Gauge(
            "sidecar_tasks",
            "Tasks of the event loop. A number that grows while streams do not is a leak.",
            registry=self.registry,
        )
        self._times = {
            what: self._histogram(
                f"time_to_{what}", f"From the request {rest}", _FIRST, *by_request
            )
            for what, rest in _TIMES.items()
        }
        self._duration = self._histogram(
            "stream_duration",
            "From the request to the end of its event stream.",
            _WHOLE,
            *by_request,
            "outcome",
        )
        self._upstream = self._tally(
            "upstream_inter_token_latency", "Between two reads from upstream.", _BETWEEN
        )
        self._client = self._tally(
            "inter_token_latency", "Between two writes of an answer to the client.", _BETWEEN
        )
        self._added = self._tally(
            "added_latency", "From a read from upstream to the write of what it became.", _ADDED
        )
        self._held = self._tally(
            "held_back",
            "That text was held back until it was certain whether it is visible.",
            _BETWEEN,
        )
        self._tokens = self._counter(
            "tokens", "Tokens, as upstream counts them.", *by_request, "type"
        )
        self._hidden = self._counter(
            "hidden_characters",
            "Characters hidden, or in observe mode those that would be.",
            "rule",
            "channel",
            "format",
        )
        self._unknown = self._counter(
            "unknown_fields", "JSON keys and values dropped because no table knows them.", "rule"
        )
        self._orphans = self._counter(
            "orphan_close_markers",
            "Markers that closed reasoning which nothing had opened.",
            "rule",
            "format",
        )
        self._empty = self._counter(
            "empty_answers",
            "Choices of which nothing visible was left, by what was done about it.",
            "rule",
            "action",
        )
        self._dropped_lines = Counter(
            "sidecar_dropped_log_lines_total",
            "Lines of the access log for which nobody made room.",
            registry=self.registry,
        )
        self._unreadable = self._counter(
            "unreadable_answers",
            "Answers that no wire format can read, by why and by what was done about them.",
            "route",
            "rule",
            "reason",
            "action",
        )
        self._retries = self._counter(
            "upstream_retries", "Requests that were sent to upstream again.", "route", "reason"
        )
        self._statuses = self._counter(
            "statuses", "Statuses that were written.", "route", "rule", "phase"
        )
        self._heartbeats = self._counter(
            "heartbeats", "Signs of life that were written.", "route", "rule"
        )
        self._early = self._counter(
            "early_commits", "Answers that were begun before upstream's.", "route", "rule"
        )
        self._reloads = self._counter(
            "config_reloads", "Times that the configuration was read again.", "result"
        )
        for result in ("success", "failure"):
            self._reloads(result)
        self._reload_successful = Gauge(
            "sidecar_config_last_reload_successful",
            "Whether what was read last is what is served by: 1, or 0 for a mistake in it.",
            registry=self.registry,
        )
        self._reload_successful.set(1)
        self._reloaded_at = Gauge(
            "sidecar_config_last_reload_success_timestamp_seconds",
            "When what is served by was read, in seconds since 1970.",
            registry=self.registry,
        )
        self._reloaded_at.set_to_current_time()

    def settle(self) -> None:
        """Count what was observed, for :meth:`render`; in the thread that observes."""
        for tally in (self._upstream, self._client, self._added, self._held):
            tally.settle()

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition in the format that ``accept`` asks for, and its content type, of what was
        settled."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is no number
            encode, content_type = choose_encoder("")
        return encode(self.registry), content_type

    def first(self, what: str, labels: Labels, seconds: float, trace: str | None) -> None:
        """One of the clocks has stopped; ``trace`` is the id of the request's trace, if it has
        one."""
        exemplar = None if trace is None else {"trace_id": trace}
        self._times[what](*labels).observe(seconds, exemplar)

    def pace(self, labels: Labels) -> Pace:
        """What the events of a stream are observed in."""
        every = (self._upstream, self._client, self._added, self._held)
        return Pace(*(tally.of(*labels) for tally in every))

    def tell_clients_apart(self) -> None:
        """From now on requests are counted by the names of their keys, too."""
        if self._clients is None:
            self._clients = self._counter(
                "client_requests", "Requests that have ended.", "client", "outcome"
            )

    def reloaded(self, successful: bool, at: float) -> None:
        """The configuration was read again, ``at`` so many seconds since 1970."""
        self._reloads("success" if successful else "failure").inc()
        self._reload_successful.set(successful)
        if successful:
            self._reloaded_at.set(at)

    def ended(self, labels: Labels, outcome: str, client: str = "") -> None:
        """A request is over; ``client`` is empty if nobody was recognised."""
        self._requests(*labels, outcome).inc()
        if self._clients is not None:
            self._clients(client or NO_CLIENT, outcome).inc()

    def streamed(self, labels: Labels, outcome: str, seconds: float) -> None:
        """An event stream is over."""
        self._duration(*labels, outcome).observe(seconds)

    def answered(self, rule: str, stats: Stats) -> None:
        """A filtered answer is over."""
        for (channel, format_id), characters in stats.hidden_characters.items():
            self._hidden(rule, channel.value, format_id or "none").inc(characters)
        if stats.unknown_fields:
            self._unknown(rule).inc(stats.unknown_fields)
        for format_id, markers in stats.orphan_closers.items():
            self._orphans(rule, format_id).inc(markers)
        for action, choices in stats.empty_answers.items():
            self._empty(rule, action.value).inc(choices)

    def used(self, labels: Labels, tokens: Iterable[tuple[str, int]]) -> None:
        """Tokens, by their type."""
        for kind, number in tokens:
            self._tokens(*labels, kind).inc(number)

    def told(self, labels: Labels, stats: Stats, heartbeats: int, *, early: bool) -> None:
        """What was said besides the answer."""
        for phase, number in stats.statuses.items():
            self._statuses(labels.route, labels.rule, phase).inc(number)
        if heartbeats:
            self._heartbeats(labels.route, labels.rule).inc(heartbeats)
        if early:
            self._early(labels.route, labels.rule).inc()

    def retried(self, route: str, reason: str) -> None:
        """A request is sent to upstream again."""
        self._retries(route, reason).inc()

    def unreadable(self, route: str, rule: str, reason: str, action: str) -> None:
        """An answer cannot be read."""
        self._unreadable(route, rule, reason, action).inc()

    def dropped_line(self) -> None:
        """A line of the access log was dropped."""
        self._dropped_lines.inc()

    # Called with the values of its labels, each gives their series. The client library would make
    # text of every value and look under a lock, which takes as long as to count; the series are
    # few, so that all are kept.

    def _counter(self, name: str, help_: str, *labels: str) -> Callable[..., Counter]:
        return cache(Counter(f"sidecar_{name}_total", help_, labels, registry=self.registry).labels)

    def _histogram(
        self, name: str, help_: str, buckets: Sequence[float], *labels: str
    ) -> Callable[..., Histogram]:
        return cache(
            Histogram(
                f"sidecar_{name}_seconds", help_, labels, buckets=buckets, registry=self.registry
            ).labels
        )

    def _tally(self, name: str, help_: str, bounds: Iterable[float]) -> Tally:
        tally = Tally(tuple(bounds))
        self.registry.register(_Tallied(f"sidecar_{name}_seconds", help_, tally))
        return tally


class _Tallied(Collector):
    """A tally, as the client library reads it."""

    def __init__(self, name: str, help_: str, tally: Tally) -> None:
        self._name = name
        self._help = help_
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """The one histogram."""
        family = HistogramMetricFamily(self._name, self._help, labels=Labels._fields)
        bounds = [*map(floatToGoString, self._tally.bounds), "+Inf"]
        # A copy: this runs beside the event loop, which adds to it.
        for labels, series in list(self._tally.series.items()):
            buckets, below = [], 0
            for bound, count in zip(bounds, tuple(series.counts), strict=True):
                below += count
                buckets.append((bound, float(below)))
            family.add_metric(labels, buckets, series.total)
        yield family
