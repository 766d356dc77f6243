"""What is known of one request while it is served, and what is counted when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import aiohttp

from sidecar.core.policy import Unknown
from sidecar.core.stats import Stats
from sidecar.metrics import NO_RULE, Metrics
from sidecar.rules.ruleset import Rule
from sidecar.server.routes import REFUSED
from sidecar.server.unreadable import Reason, why

log = logging.getLogger("sidecar")

UNREADABLE = "an answer on route %s could not be read: %s (rule %s: %s)"
"""The line of an answer that no wire format can read."""


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
        self.route = REFUSED
        self.rule = NO_RULE
        self.unknown = Unknown.PASS
        """What the rule does with an answer that cannot be read."""
        self.outcome = Outcome.CLIENT_GONE
        """Until somebody knows better: then the client is still there."""
        self.stats: Stats | None = None
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._arrived = self._loop.time()
        self._heard = False
        self._reasoned = False
        self._shown = False

    def govern(self, rule: Rule) -> None:
        """``rule`` is about the answer."""
        self.rule = rule.name
        self.unknown = Unknown.PASS if rule.observes else rule.policy.unknown

    def lets_pass(self, reason: Reason, answer: aiohttp.ClientResponse) -> bool:
        """Whether the answer goes on although no wire format can read it, which is counted, and
        told in a line without its content."""
        route, action = self.route.label, self.unknown
        self._metrics.unreadable(route, self.rule, reason, action)
        log.warning(
            UNREADABLE,
            route,
            why(reason, answer),
            self.rule,
            action,
        )
        return action is Unknown.PASS

    def heard(self) -> None:
        """A byte of upstream's answer has come."""
        if not self._heard:
            self._heard = True
            self._metrics.first_byte(self.route.label, self.rule, self._elapsed())

    def judged(self) -> None:
        """Something was judged; called before it is written."""
        stats = self.stats
        if stats is None or self._shown:
            return
        if stats.reasoning_seen and not self._reasoned:
            self._reasoned = True
            self._metrics.first_reasoning(self.route.label, self.rule, self._elapsed())
        if stats.visible_seen:
            self._shown = True
            self._metrics.first_visible(self.route.label, self.rule, self._elapsed())

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
            self.answered(self.rule, self.stats)
        self._metrics.ended(self.route.label, self.rule, self.outcome)

    def answered(self, rule: str, stats: Stats) -> None:
        """What the rule of that name did with an answer."""
        self._metrics.answered(rule, stats)

    def _elapsed(self) -> float:
        return self._loop.time() - self._arrived
