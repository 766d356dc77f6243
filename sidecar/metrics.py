"""What Prometheus scrapes. The only importer of its client.

No label holds text that a client chose: routes, outcomes and channels are fixed lists, rules and
formats come from the configuration.
"""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from sidecar.core.stats import Stats

# The steps of the model servers' own histograms of time to first token, so that they compare.
_SECONDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1, 2.5, 5, 7.5, 10, 20, 40, 80, 160),
)
NO_RULE = "none"


class Metrics:
    """The metrics of one sidecar, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter(
            "sidecar_requests_total",
            "Requests that have ended.",
            ("route", "rule", "outcome"),
            registry=self.registry,
        )
        self.streams_in_flight = Gauge(
            "sidecar_streams_in_flight",
            "Event streams that are being relayed.",
            registry=self.registry,
        )
        self._first_byte = self._time(
            "sidecar_time_to_first_upstream_byte_seconds",
            "From the request to the first byte of upstream's answer.",
        )
        self._first_reasoning = self._time(
            "sidecar_time_to_first_reasoning_seconds",
            "From the request to the first reasoning that upstream sent.",
        )
        self._first_visible = self._time(
            "sidecar_time_to_first_visible_token_seconds",
            "From the request to the first text that the client could show.",
        )
        self._hidden = Counter(
            "sidecar_hidden_characters_total",
            "Characters hidden, or in observe mode those that would be.",
            ("rule", "channel", "format"),
            registry=self.registry,
        )
        self._unknown = Counter(
            "sidecar_unknown_fields_total",
            "JSON keys and values dropped because no table knows them.",
            ("rule",),
            registry=self.registry,
        )
        self._orphans = Counter(
            "sidecar_orphan_close_markers_total",
            "Markers that closed reasoning which nothing had opened.",
            ("rule", "format"),
            registry=self.registry,
        )
        self._empty = Counter(
            "sidecar_empty_answers_total",
            "Choices of which nothing visible was left, by what was done about it.",
            ("rule", "action"),
            registry=self.registry,
        )

        self._unreadable = Counter(
            "sidecar_unreadable_answers_total",
            "Answers that no wire format can read, by why and by what was done about them.",
            ("route", "rule", "reason", "action"),
            registry=self.registry,
        )

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)

    def first_byte(self, route: str, rule: str, seconds: float) -> None:
        """Upstream's answer has begun."""
        self._first_byte.labels(route, rule).observe(seconds)

    def first_reasoning(self, route: str, rule: str, seconds: float) -> None:
        """The first reasoning has come."""
        self._first_reasoning.labels(route, rule).observe(seconds)

    def first_visible(self, route: str, rule: str, seconds: float) -> None:
        """The first visible text has been sent."""
        self._first_visible.labels(route, rule).observe(seconds)

    def ended(self, route: str, rule: str, outcome: str) -> None:
        """A request is over."""
        self._requests.labels(route, rule, outcome).inc()

    def answered(self, rule: str, stats: Stats) -> None:
        """A filtered answer is over."""
        for (channel, format_id), characters in stats.hidden_characters.items():
            self._hidden.labels(rule, channel.value, format_id or "none").inc(characters)
        if stats.unknown_fields:
            self._unknown.labels(rule).inc(stats.unknown_fields)
        for format_id, markers in stats.orphan_closers.items():
            self._orphans.labels(rule, format_id).inc(markers)
        for action, choices in stats.empty_answers.items():
            self._empty.labels(rule, action.value).inc(choices)

    def unreadable(self, route: str, rule: str, reason: str, action: str) -> None:
        """An answer cannot be read."""
        self._unreadable.labels(route, rule, reason, action).inc()

    def _time(self, name: str, help_: str) -> Histogram:
        return Histogram(name, help_, ("route", "rule"), buckets=_SECONDS, registry=self.registry)
