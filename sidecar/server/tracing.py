"""One span for each request, sent to an OpenTelemetry collector: optional, and off until asked for.

The names are those of the semantic conventions for generative AI. They are written out here: the
conventions are still in development, and the package that lists names declares these deprecated.
A span holds names, numbers and times, and never a prompt, an answer, a key or a tool's argument.

OpenTelemetry is an extra, so it is imported where it is used, and only then.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from sidecar import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

log = logging.getLogger("sidecar")

MISSING = "no spans are sent, although the environment names a collector: %s; pip install '.[otel]'"
"""The line of a process that is asked for spans and cannot make them."""

PROVIDER = "openai"
"""``gen_ai.provider.name``. By the conventions it may differ from who really answers, and tells the
flavour of the span, to the best of its maker's knowledge."""

OTHER = "_OTHER"
"""``error.type``, where the error's own name cannot be told."""

_NAME = re.compile(r"[A-Za-z0-9._:/@-]{1,128}")
_LONGEST_NAME = 128

_LARGEST = 2**63 - 1
"""A number beyond it cannot be encoded, and would put a traceback into the log."""

_TOKENS = {
    "input": "gen_ai.usage.input_tokens",
    "output": "gen_ai.usage.output_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens",
}
_NO_TOKENS: Mapping[str, int] = MappingProxyType({})

_NO_ERROR = frozenset({"completed", "client_gone"})
"""The outcomes that are nobody's mistake; a client may leave whenever it wants."""


def tracing_from_environment(environment: Mapping[str, str]) -> Tracing | None:
    """What makes and sends the spans, or None if ``environment`` does not ask for them, or if the
    packages are missing, which is logged.

    It asks by naming a collector, as ``OTEL_EXPORTER_OTLP_ENDPOINT`` or
    ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``, unless ``OTEL_SDK_DISABLED`` is true or
    ``OTEL_TRACES_EXPORTER`` says something other than ``otlp``. All the other variables of
    OpenTelemetry (sampler, headers, certificates, sizes of batches) are read by its packages, from
    the environment of the process.
    """
    endpoint = _endpoint(environment)
    if endpoint is None:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        log.warning(MISSING, error)
        return None
    ours = Resource({"service.name": "sidecar", "service.version": __version__})
    # What an operator says, in OTEL_RESOURCE_ATTRIBUTES, goes before what we say of ourselves.
    service = ours.merge(OTELResourceDetector().detect())
    if name := environment.get("OTEL_SERVICE_NAME"):
        service = service.merge(Resource({"service.name": name}))
    resource = Resource.create(service.attributes)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    # Collects spans and sends them in a thread of its own; beyond its limit it drops them.
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return Tracing(provider)


class Tracing:
    """Makes spans with ``provider``; ``address`` and ``port`` are the upstream's."""

    def __init__(
        self, provider: TracerProvider, *, address: str = "", port: int | None = None
    ) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # It warns of every malformed tracestate, and quotes it: any client could fill the log.
        logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
        self._provider = provider
        self._tracer = provider.get_tracer("sidecar", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._shared: dict[str, str | int] = {"gen_ai.provider.name": PROVIDER}
        if address:
            self._shared["server.address"] = address
            if port is not None:
                self._shared["server.port"] = port

    def towards(self, address: str, port: int | None) -> Tracing:
        """The same for an upstream at another address."""
        return Tracing(self._provider, address=address, port=port)

    def begin(self, operation: str, model: str, headers: Mapping[str, str]) -> Trace:
        """A request begins. ``operation`` is a ``gen_ai.operation.name``; ``model`` is what the
        client said, and is left out if it does not look like a name. ``headers`` are the client's,
        either case-insensitive or in lower case: the span belongs to the trace that they name."""
        from opentelemetry.trace import SpanKind

        attributes = self._shared | {"gen_ai.operation.name": operation}
        name = operation
        if asked := _name(model):
            attributes["gen_ai.request.model"] = asked
            name = f"{operation} {asked}"
        span = self._tracer.start_span(
            name,
            context=self._propagator.extract(headers),
            kind=SpanKind.CLIENT,
            attributes=attributes,
        )
        return Trace(span, self._propagator)

    def close(self, seconds: float = 5.0) -> None:
        """Send what has not been sent, and stop. Blocks, but not for longer than ``seconds``: a
        collector that does not answer must not keep a process from ending."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(seconds)


class Trace:
    """The span of one request."""

    def __init__(self, span: Span, propagator: TraceContextTextMapPropagator) -> None:
        self._span = span
        self._propagator = propagator

    def headers(self) -> dict[str, str]:
        """The headers that make the upstream's own span a child of this one. They take the place
        of the client's ``traceparent`` and ``tracestate``, both."""
        from opentelemetry.trace import set_span_in_context

        headers: dict[str, str] = {}
        self._propagator.inject(headers, set_span_in_context(self._span))
        return headers

    def first_token(self, seconds: float) -> None:
        """The first piece of a streamed answer came, so long after the request."""
        self._span.set_attribute("gen_ai.request.stream", True)
        self._span.set_attribute("gen_ai.response.time_to_first_chunk", seconds)

    def end(
        self,
        *,
        outcome: str,
        status: int | None,
        response_model: str = "",
        tokens: Mapping[str, int] = _NO_TOKENS,
        error: str | None = None,
    ) -> None:
        """The request is over; to be called once.

        ``outcome`` is how it ended, ``status`` what upstream answered, if it did. ``tokens`` has
        any of the keys ``input``, ``output``, ``reasoning`` and ``cached``. The error's type is
        ``error``, or else a status from 400 on, or else the outcome, if it is none of the good
        ones.
        """
        from opentelemetry.trace import StatusCode

        span = self._span
        span.set_attribute("sidecar.outcome", outcome)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if answered := _name(response_model):
            span.set_attribute("gen_ai.response.model", answered)
        for kind, attribute in _TOKENS.items():
            count = tokens.get(kind)
            if count is not None and 0 <= count <= _LARGEST:
                span.set_attribute(attribute, count)
        if error is None:
            error = _error(outcome, status)
        if error is not None:
            span.set_attribute("error.type", _name(error) or OTHER)
            # Without a description, which would be the upstream's words.
            span.set_status(StatusCode.ERROR)
        span.end()


def _endpoint(environment: Mapping[str, str]) -> str | None:
    """Where the spans are sent to; None if nobody asks for them."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    exporters = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if "otlp" not in map(str.strip, exporters.lower().split(",")):
        return None
    if whole := environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        return whole
    if base := environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return f"{base.rstrip('/')}/v1/traces"
    return None


def _name(text: str) -> str:
    """A name that somebody else chose, cut; empty if it is none."""
    cut = text[:_LONGEST_NAME]
    return cut if _NAME.fullmatch(cut) else ""


def _error(outcome: str, status: int | None) -> str | None:
    """The type of the error that a request ended with, if it did."""
    if status is not None and status >= 400:
        return str(status)
    return None if outcome in _NO_ERROR else outcome
