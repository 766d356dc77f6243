"""What is known of one request while it is served, and what is told of it when it ends."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

import aiohttp
from aiohttp import web
from multidict import MultiMapping

from sidecar.core.policy import Unknown
from sidecar.core.stats import Stats
from sidecar.metrics import NO_MODEL, NO_RULE, Labels, Metrics, Pace
from sidecar.rules.configvalues import MODEL_NAME
from sidecar.rules.ruleset import Rule
from sidecar.server.accesslog import Write
from sidecar.server.cors import Cors
from sidecar.server.models import Models
from sidecar.server.observed import Observed
from sidecar.server.retries import Retry
from sidecar.server.routes import REFUSED
from sidecar.server.tracing import Trace, Tracing
from sidecar.server.unreadable import Reason, why

log = logging.getLogger("sidecar")

UNREADABLE = "an answer on route %s could not be read: %s (rule %s: %s)"
"""The line of an answer that no wire format can read."""

# W3C Trace Context, 3.2.2: version, trace id, parent id and flags; an id of zeros is none.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)

_OPERATIONS = {"completions": "text_completion", "ollama_generate": "text_completion"}
"""By the name of a wire format, ``gen_ai.operation.name``; the others are chats."""


class Outcome(StrEnum):
    """How a request ended; a label of the metrics."""

    COMPLETED = "completed"
    REFUSED = "refused"
    """We answered it ourselves: a path, a size or a body that is not served."""
    CLIENT_GONE = "client_gone"
    CLIENT_TIMEOUT = "client_timeout"
    """The client took nothing of what was written to it."""
    UPSTREAM_ERROR = "upstream_error"
    """Upstream could not be reached, or its answer was an error or none that could be begun."""
    UPSTREAM_INCOMPLETE = "upstream_incomplete"
    """The answer broke off, or ended with an error in the protocol."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    SHUT_DOWN = "shut_down"
    """We were told to end, and it took longer than we had."""
    FAILED = "failed"
    """By a mistake of our own."""


class CutOff(Exception):
    """The answer cannot go on, and its head is out: the connection is cut, which is the only way
    left to say so."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class Reporting(NamedTuple):
    """Where it is told: metrics, what was only observed, the access log, and spans if they are
    asked for."""

    metrics: Metrics
    observed: Observed
    models: Models
    access: Write
    tracing: Tracing | None = None


class Exchange:
    """One request. Times count from its arrival."""

    def __init__(self, request: web.BaseRequest, reporting: Reporting, cors: Cors) -> None:
        self.client = ""
        """Whose key it has, if keys are asked for."""
        self.headers: MultiMapping[str] = request.headers
        """Those of the request that may go on to upstream."""
        self.route = REFUSED
        self.rule = NO_RULE
        self.model = ""
        """As the request calls it, which may be anything."""
        self.unknown = Unknown.PASS
        """What the rule does with an answer that cannot be read."""
        self.outcome = Outcome.CLIENT_GONE
        """Until somebody knows better: then the client is still there."""
        self.error = ""
        """Our own code for why the request was not served, as the client is told; empty if it was,
        or if the answer itself has one."""
        self.stats: Stats | None = None
        self.form = ""
        """That of the statuses, if there may be any."""
        self.heartbeats = 0
        self.begun_early = False
        """The answer was begun before upstream's."""
        self.trace: Trace | None = None
        self.at = time.time()
        """When it arrived, in seconds since 1970."""
        self._cors = cors
        self._origin = request.headers.get("Origin")
        self._reporting = reporting
        self._metrics = reporting.metrics
        self._method = request.method
        self._loop = asyncio.get_running_loop()
        self.arrived = self._loop.time()
        """The same, in the loop's time."""
        self._trace_id = _trace_id(request.headers.get("traceparent", ""))
        self._status: int | None = None
        self._upstream_status: int | None = None
        self._observes = False
        self._streams = False
        self._retries = 0
        self._firsts = 0
        self._times: dict[str, float] = {}

    @property
    def labels(self) -> Labels:
        """Those of its metrics."""
        model = self._reporting.models.label(self.model) if self.model else NO_MODEL
        return Labels(self.route.label, self.rule, model)

    def elapsed_ms(self) -> int:
        """Milliseconds since it arrived."""
        return round(self._elapsed() * 1000)

    def govern(self, rule: Rule, model: str = "") -> None:
        """``rule`` is about the answer, and ``model`` what the request asks for."""
        self.rule = rule.name
        self.model = model
        self._observes = rule.observes
        self.unknown = Unknown.PASS if rule.observes else rule.policy.unknown

    def traces(self, request: web.BaseRequest) -> dict[str, str]:
        """Begin a span, if spans are asked for: the headers that make it the parent of what
        upstream does."""
        tracing = self._reporting.tracing
        if tracing is None or self.route.wire_format is None:
            return {}
        operation = _OPERATIONS.get(self.route.label, "chat")
        self.trace = tracing.begin(operation, self.model, request.headers)
        headers = self.trace.headers()
        self._trace_id = _trace_id(headers.get("traceparent", ""))
        return headers

    def lets_pass(self, reason: Reason, answer: aiohttp.ClientResponse) -> bool:
        """Whether the answer goes on although no wire format can read it, which is counted, and
        told in a line without its content."""
        self.cannot_read(reason, answer, self.unknown)
        return self.unknown is Unknown.PASS

    def cannot_read(self, reason: Reason, answer: aiohttp.ClientResponse, action: Unknown) -> None:
        """No wire format can read the answer, of which this becomes."""
        route = self.route.label
        self._metrics.unreadable(route, self.rule, reason, action)
        log.warning(UNREADABLE, route, why(reason, answer), self.rule, action)

    def retried(self, reason: Retry) -> None:
        """The request is sent to upstream again."""
        self._retries += 1
        self._metrics.retried(self.route.label, reason)

    def heard(self, status: int) -> None:
        """The head of upstream's answer has come."""
        self._upstream_status = status
        self._stop("upstream_headers")

    @property
    def begun(self) -> bool:
        """The head of the client's answer is out."""
        return self._status is not None

    def begins(self, reply: web.StreamResponse) -> None:
        """The head of the client's answer is sent, unless it has been."""
        self._status = reply.status
        if not reply.prepared:
            self._cors.dress(reply, self._origin)

    def judged(self) -> None:
        """Something was judged; called before it is written."""
        stats = self.stats
        if stats is None or stats.firsts == self._firsts:
            return
        self._firsts = stats.firsts
        if stats.reasoning_seen or stats.call_seen or stats.visible_seen:
            self._stop("first_upstream_event")
        if stats.reasoning_seen:
            self._stop("first_reasoning")
        if stats.call_seen:
            self._stop("first_tool_call")
        if stats.visible_seen:
            self._stop("first_visible_token")
        if stats.visible_seen or stats.told:
            self._stop("first_visible_byte")

    @contextmanager
    def streaming(self) -> Iterator[Pace]:
        """An event stream is in flight: what its events are observed in."""
        self._streams = True
        self._metrics.streams_in_flight.inc()
        pace = self._metrics.pace(self.labels)
        try:
            yield pace
        finally:
            pace.trim()
            self._metrics.streams_in_flight.dec()

    def end(self) -> None:
        """The request is over."""
        labels, stats = self.labels, self.stats
        seconds = self._elapsed()
        self._metrics.ended(labels, self.outcome, self.client)
        if self._streams:
            self._metrics.streamed(labels, self.outcome, seconds)
        if stats is not None:
            self.answered(self.rule, stats)
            if self._observes:
                self._reporting.observed.add(self.rule, stats)
            self._metrics.used(labels, stats.tokens.items())
            self._metrics.told(labels, stats, self.heartbeats, early=self.begun_early)
        self._log(labels, seconds)
        if self.trace is not None:
            stats = stats or Stats()
            self.trace.end(
                outcome=self.outcome,
                status=self._upstream_status,
                response_model=stats.model,
                tokens=stats.tokens,
            )

    def answered(self, rule: str, stats: Stats) -> None:
        """What the rule of that name did with an answer."""
        self._metrics.answered(rule, stats)

    def _stop(self, what: str) -> None:
        """One of the clocks has stopped."""
        if what in self._times:
            return
        seconds = self._times[what] = self._elapsed()
        self._metrics.first(what, self.labels, seconds, self._trace_id)
        if self.trace is not None and what == "first_upstream_event":
            self.trace.first_token(seconds)

    def _log(self, labels: Labels, seconds: float) -> None:
        fields: dict[str, str | int | float | bool | None] = {
            "client": self.client or None,
            "method": self._method if self._method.isalpha() else "other",
            "route": labels.route,
            "model": self.model if MODEL_NAME.fullmatch(self.model) else labels.model,
            "rule": labels.rule,
            "status": self._status,
            "outcome": self.outcome.value,
            "error": self._why,
            "stream": self._streams,
            "upstream_retries": self._retries or None,
            "duration": round(seconds, 6),
            "trace_id": self._trace_id,
        }
        fields |= {f"time_to_{what}": round(time_, 6) for what, time_ in self._times.items()}
        stats = self.stats
        if stats is not None:
            for channel in dict.fromkeys(channel for channel, _ in stats.hidden_characters):
                said = stats.hidden_characters.items()
                fields[f"hidden_{channel}"] = sum(n for (each, _), n in said if each is channel)
            fields |= {f"{kind}_tokens": number for kind, number in stats.tokens.items()}
            fields["unknown_fields"] = stats.unknown_fields or None
            fields["status_form"] = self.form or None
            fields["statuses"] = stats.statuses.total() or None
            fields["heartbeats"] = self.heartbeats or None
            fields["begun_early"] = self.begun_early or None
        self._reporting.access(fields)

    @property
    def _why(self) -> str | None:
        """Our own code for what went wrong; None if nothing did, or if the client left."""
        if self.outcome in (Outcome.COMPLETED, Outcome.CLIENT_GONE):
            return None
        of_the_answer = self.stats.error if self.stats is not None else None
        return self.error or of_the_answer or self.outcome.value

    def _elapsed(self) -> float:
        return self._loop.time() - self.arrived


def _trace_id(traceparent: str) -> str | None:
    """The id of the trace in this header; None if it has none that is valid."""
    found = _TRACEPARENT.fullmatch(traceparent)
    # Only a version to come may have more than these four parts.
    return None if found is None or (found[1] == "00" and found[3]) else found[2]
