"""What is known of one request while it is served, and what is counted when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from sidecar.core.stats import Stats
from sidecar.metrics import NO_RULE, Metrics
from sidecar.server.routes import Kind


class Outcome(StrEnum):
    """How a request ended; a label of the metrics."""

    COMPLETED = "completed"
    REFUSED = "refused"
    """We answered it ourselves: a path, a size or a body that is not served."""
    CLIENT_GONE = "client_gone"
    UPSTREAM_ERROR = "upstream_error"
    """Upstream could not be reached, or its answer was an error or none that could be begun."""
    UPSTREAM_INCOMPLETE = "upstream_incomplete"
    """The answer broke off, or ended with an error in the protocol."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    FAILED = "failed"
    """By a mistake of our own."""


class Exchange:
    """One request. Times count from its arrival."""

    def __init__(self, metrics: Metrics) -> None:
        self.kind = Kind.REFUSED
        self.rule = NO_RULE
        self.outcome = Outcome.CLIENT_GONE
        """Until somebody knows better: then the client is still there."""
        self.stats: Stats | None = None
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._arrived = self._loop.time()
        self._heard = False
        self._reasoned = False
        self._shown = False

    def heard(self) -> None:
        """A byte of upstream's answer has come."""
        if not self._heard:
            self._heard = True
            self._metrics.first_byte(self.kind, self.rule, self._elapsed())

    def judged(self) -> None:
        """Something was judged; called before it is written."""
        stats = self.stats
        if stats is None or self._shown:
            return
        if stats.reasoning_seen and not self._reasoned:
            self._reasoned = True
            self._metrics.first_reasoning(self.kind, self.rule, self._elapsed())
        if stats.visible_seen:
            self._shown = True
            self._metrics.first_visible(self.kind, self.rule, self._elapsed())

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """An event stream is in flight."""
        self._metrics.streams_in_flight.inc()
        try:
            yield
        finally:
            self._metrics.streams_in_flight.dec()

    def end(self) -> None:
        """The request is over."""
        if self.stats is not None:
            self._metrics.answered(self.rule, self.stats)
        self._metrics.ended(self.kind, self.rule, self.outcome)

    def _elapsed(self) -> float:
        return self._loop.time() - self._arrived
