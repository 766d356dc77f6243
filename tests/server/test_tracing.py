"""Spans: whose children they are, what they say and never say, and that they cost nothing when
nobody asks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sidecar import __version__
from sidecar.server.exchange import Outcome
from sidecar.server.tracing import Trace, Tracing, tracing_from_environment

from .scripted import DONE, FINISH, ROLE, chat, chunk, proxied, streamed, text

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 20.0
"""Seconds for what should take none."""

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing about OpenTelemetry, and no proxy between a test and its collector."""
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Recorder:
    """Spans that end here instead of at a collector."""

    def __init__(self, **upstream: Any) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider, **upstream)

    def begin(
        self, model: str = "m", headers: Mapping[str, str] | None = None, operation: str = "chat"
    ) -> Trace:
        return self.tracing.begin(operation, model, headers or {})

    def span(self) -> ReadableSpan:
        """The only one that ended."""
        [span] = self._exporter.get_finished_spans()
        return span

    def ended(self, trace: Trace, **said: Any) -> dict[str, Any]:
        """The attributes of the span after its end; by default a good one."""
        usual: dict[str, Any] = {"outcome": Outcome.COMPLETED, "status": 200}
        trace.end(**usual | said)
        return dict(self.span().attributes or {})


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def identifiers(span: ReadableSpan) -> tuple[str, str]:
    """The trace and the span, as a header writes them."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


# --- whose child ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [{"traceparent": TRACEPARENT}, CIMultiDict({"Traceparent": TRACEPARENT})],
    ids=["lower case", "any case"],
)
def test_a_span_is_a_child_of_the_client_s(recorder: Recorder, headers: Mapping[str, str]) -> None:
    recorder.ended(recorder.begin(headers=headers))
    span = recorder.span()
    assert span.parent is not None
    assert span.parent.is_remote
    assert f"{span.parent.span_id:016x}" == PARENT
    assert identifiers(span)[0] == TRACE


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"traceparent": ""},
        {"traceparent": "nonsense"},
        {"traceparent": TRACEPARENT.upper()},
        {"traceparent": f"00-{'0' * 32}-{PARENT}-01"},
        {"traceparent": f"00-{TRACE}-{'0' * 16}-01"},
        {"traceparent": f"ff-{TRACE}-{PARENT}-01"},
        {"traceparent": f"{TRACEPARENT}-more"},
        {"traceparent": TRACEPARENT + "-" * 9000},
        {"tracestate": "a=1"},
    ],
    ids=lambda headers: "".join(headers.values())[:60] or "none",
)
def test_without_a_valid_parent_a_trace_begins(
    recorder: Recorder, headers: Mapping[str, str]
) -> None:
    trace = recorder.begin(headers=headers)
    sent = trace.headers()
    recorder.ended(trace)
    assert recorder.span().parent is None
    assert identifiers(recorder.span())[0] != TRACE
    assert set(sent) == {"traceparent"}


def test_upstream_is_told_of_this_span(recorder: Recorder) -> None:
    state = "vendor=a b,tenant@vendor=2"
    trace = recorder.begin(headers={"traceparent": TRACEPARENT, "tracestate": state})
    sent = trace.headers()
    recorder.ended(trace)
    assert set(sent) == {"traceparent", "tracestate"}
    assert sent["tracestate"] == state
    version, trace_id, span_id, flags = sent["traceparent"].split("-")
    assert version == "00"
    assert (trace_id, span_id) == identifiers(recorder.span())
    assert span_id != PARENT
    assert int(flags, 16) & 1


def test_two_requests_of_one_client_are_told_apart(recorder: Recorder) -> None:
    headers = {"traceparent": TRACEPARENT}
    first, second = recorder.begin(headers=headers), recorder.begin(headers=headers)
    assert first.headers() != second.headers()


@pytest.mark.parametrize(
    "state",
    ["nonsense", "A=1", "a=\udc80", "a=1,a=2", ",".join(f"k{n}=1" for n in range(40)), "a=" * 9000],
    ids=["no pair", "capital", "not UTF-8", "twice", "many", "long"],
)
def test_a_malformed_state_is_left_out_and_the_parent_stays(recorder: Recorder, state: str) -> None:
    """And nothing is logged, which holds for every test here."""
    trace = recorder.begin(headers={"traceparent": TRACEPARENT, "tracestate": state})
    assert set(trace.headers()) == {"traceparent"}
    assert trace.headers()["traceparent"].split("-")[1] == TRACE


def test_what_the_client_does_not_sample_is_not_sent_but_passed_on() -> None:
    recorder = Recorder()
    trace = recorder.begin(headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    trace.first_token(0.1)
    _, trace_id, span_id, flags = trace.headers()["traceparent"].split("-")
    trace.end(outcome=Outcome.COMPLETED, status=200)
    assert trace_id == TRACE
    assert span_id != PARENT
    assert not int(flags, 16) & 1
    with pytest.raises(ValueError, match="not enough values"):
        recorder.span()


# --- what it says --------------------------------------------------------------------------------


def test_a_span_says_everything_and_nothing_else() -> None:
    recorder = Recorder(address="llm.example", port=8000)
    trace = recorder.begin("qwen3-8b")
    trace.first_token(0.25)
    attributes = recorder.ended(
        trace,
        response_model="Qwen/Qwen3-8B",
        tokens={"input": 7, "output": 11, "reasoning": 5, "cached": 3, "other": 1},
    )
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "qwen3-8b",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "Qwen/Qwen3-8B",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 11,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "http.response.status_code": 200,
        "server.address": "llm.example",
        "server.port": 8000,
        "sidecar.outcome": "completed",
    }
    span = recorder.span()
    assert span.name == "chat qwen3-8b"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert not span.events
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "sidecar"
    assert span.instrumentation_scope.version == __version__


def test_what_is_not_known_is_not_said(recorder: Recorder) -> None:
    attributes = recorder.ended(recorder.begin("", operation="text_completion"), status=None)
    assert attributes == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "openai",
        "sidecar.outcome": "completed",
    }
    assert recorder.span().name == "text_completion"


def test_counts_that_are_none_are_left_out(recorder: Recorder) -> None:
    attributes = recorder.ended(
        recorder.begin(), tokens={"input": -1, "output": 10**30, "reasoning": 0}
    )
    assert [name for name in attributes if name.startswith("gen_ai.usage")] == [
        "gen_ai.usage.reasoning.output_tokens"
    ]


HOSTILE = [
    "two words",
    "line\nend",
    "m\n",
    "<script>",
    "modèle",
    "bytes\udc80",
    '{"key": "sk-secret"}',
    "x" * 127 + "\n" + "y",
]


@pytest.mark.parametrize("model", HOSTILE)
def test_a_name_that_is_none_is_dropped(recorder: Recorder, model: str) -> None:
    attributes = recorder.ended(recorder.begin(model), response_model=model)
    assert "gen_ai.request.model" not in attributes
    assert "gen_ai.response.model" not in attributes
    assert recorder.span().name == "chat"


def test_a_long_name_is_cut(recorder: Recorder) -> None:
    attributes = recorder.ended(recorder.begin("x" * 1_000_000), response_model="y" * 129)
    assert attributes["gen_ai.request.model"] == "x" * 128
    assert attributes["gen_ai.response.model"] == "y" * 128
    assert recorder.span().name == "chat " + "x" * 128


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_is_an_error_unless_it_is_nobody_s_mistake(
    recorder: Recorder, outcome: Outcome
) -> None:
    attributes = recorder.ended(recorder.begin(), outcome=outcome)
    status = recorder.span().status
    assert attributes["sidecar.outcome"] == outcome
    if outcome in (Outcome.COMPLETED, Outcome.CLIENT_GONE):
        assert "error.type" not in attributes
        assert status.status_code is StatusCode.UNSET
    else:
        assert attributes["error.type"] == outcome
        assert status.status_code is StatusCode.ERROR
        assert status.description is None


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"outcome": Outcome.UPSTREAM_ERROR, "status": 429}, "429"),
        ({"outcome": Outcome.COMPLETED, "status": 404}, "404"),
        ({"outcome": Outcome.UPSTREAM_ERROR, "status": 503, "error": "overloaded"}, "overloaded"),
        (
            {"outcome": Outcome.COMPLETED, "status": 200, "error": "content_filter"},
            "content_filter",
        ),
        ({"outcome": Outcome.UPSTREAM_ERROR, "status": None, "error": "You said: hi"}, "_OTHER"),
        ({"outcome": Outcome.UPSTREAM_ERROR, "status": None, "error": ""}, "_OTHER"),
    ],
)
def test_the_type_of_an_error(recorder: Recorder, said: Mapping[str, Any], kind: str) -> None:
    attributes = recorder.ended(recorder.begin(), **said)
    assert attributes["error.type"] == kind
    assert recorder.span().status.status_code is StatusCode.ERROR
    assert recorder.span().status.description is None


# --- the environment -----------------------------------------------------------------------------

BASE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    """What a new interpreter says that runs ``code``, after the imports that it needs."""
    opening = (
        "import logging, sys\n"
        "logging.basicConfig(format='%(name)s %(levelname)s %(message)s')\n"
        "from sidecar.server.tracing import tracing_from_environment\n"
    )
    return subprocess.run(
        [sys.executable, "-c", opening + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def test_nothing_is_imported_that_nobody_asks_for() -> None:
    environments = [
        {},
        {"OTEL_SERVICE_NAME": "proxy"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ""},
        BASE | {"OTEL_SDK_DISABLED": "true"},
        BASE | {"OTEL_SDK_DISABLED": "TRUE"},
        BASE | {"OTEL_TRACES_EXPORTER": "none"},
        BASE | {"OTEL_TRACES_EXPORTER": "console, otlp/stdout"},
    ]
    ended = fresh(
        f"for environment in {environments!r}:\n"
        "    assert tracing_from_environment(environment) is None, environment\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'opentelemetry'])\n"
    )
    assert ended.stdout == "[]\n"
    assert ended.stderr == ""


@pytest.mark.parametrize(
    "package", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter"]
)
def test_without_the_packages_there_is_one_warning(package: str) -> None:
    ended = fresh(f"sys.modules[{package!r}] = None\nprint(tracing_from_environment({BASE!r}))\n")
    assert ended.stdout == "None\n"
    [line] = ended.stderr.splitlines()
    assert line.startswith("sidecar WARNING no spans are sent")
    assert "pip install '.[otel]'" in line


@pytest.mark.parametrize(
    "more",
    [{}, {"OTEL_SDK_DISABLED": "false"}, {"OTEL_TRACES_EXPORTER": "console, otlp"}],
    ids=["plain", "not disabled", "one of two exporters"],
)
def test_naming_a_collector_asks(more: dict[str, str]) -> None:
    tracing = tracing_from_environment(BASE | more)
    assert tracing is not None
    tracing.close()


# --- a collector ---------------------------------------------------------------------------------


class Collector:
    """Takes spans over HTTP, on the loop of the test."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.batches: asyncio.Queue[ExportTraceServiceRequest] = asyncio.Queue()
        self.answers = asyncio.Event()
        self.answers.set()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        batch = ExportTraceServiceRequest()
        batch.ParseFromString(await request.read())
        self.paths.append(request.path)
        self.batches.put_nowait(batch)
        await self.answers.wait()
        return web.Response(content_type="application/x-protobuf")

    async def batch(self) -> ExportTraceServiceRequest:
        return await asyncio.wait_for(self.batches.get(), PATIENCE)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/{path:.*}", collector.take)
    async with TestServer(app) as server:
        collector.url = str(server.make_url("/")).rstrip("/")
        yield collector
        collector.answers.set()


def traced(tracing: Tracing | None) -> Tracing:
    """One request was traced."""
    assert tracing is not None
    tracing.begin("chat", "m", {}).end(outcome=Outcome.COMPLETED, status=200)
    return tracing


async def test_spans_reach_a_collector() -> None:
    async with collecting() as collector:
        tracing = traced(tracing_from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}))
        await asyncio.to_thread(tracing.close)
        batch = await collector.batch()
    assert collector.paths == ["/v1/traces"]
    [of_resource] = batch.resource_spans
    resource = {pair.key: pair.value.string_value for pair in of_resource.resource.attributes}
    assert resource["service.name"] == "sidecar"
    assert resource["service.version"] == __version__
    assert resource["telemetry.sdk.language"] == "python"
    [of_scope] = of_resource.scope_spans
    [span] = of_scope.spans
    assert span.name == "chat m"


@pytest.mark.parametrize(
    ("variable", "suffix", "path"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/", "/v1/traces"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/tenant", "/tenant/v1/traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/as/it/stands", "/as/it/stands"),
    ],
)
async def test_where_they_are_sent(variable: str, suffix: str, path: str) -> None:
    async with collecting() as collector:
        tracing = traced(tracing_from_environment({variable: collector.url + suffix}))
        await asyncio.to_thread(tracing.close)
    assert collector.paths == [path]


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"OTEL_SERVICE_NAME": "said"}, "said"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=listed"}, "listed"),
        (
            {"OTEL_SERVICE_NAME": "said", "OTEL_RESOURCE_ATTRIBUTES": "service.name=listed"},
            "said",
        ),
    ],
)
async def test_the_name_of_the_service_is_the_operator_s(
    variables: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if listed := variables.get("OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", listed)
    async with collecting() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} | variables
        tracing = traced(tracing_from_environment(environment))
        await asyncio.to_thread(tracing.close)
        batch = await collector.batch()
    attributes = batch.resource_spans[0].resource.attributes
    [found] = [pair.value.string_value for pair in attributes if pair.key == "service.name"]
    assert found == name


async def test_nobody_waits_for_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector is on the loop that ends the spans, so a span that waited would wait for
    itself; and one that does not answer keeps the process no longer than it is told."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    async with collecting() as collector:
        collector.answers.clear()
        tracing = traced(tracing_from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}))
        arrived = spans_in(await collector.batch())
        for _ in range(1000):
            traced(tracing)
        began = time.monotonic()
        await asyncio.to_thread(tracing.close, 0.2)
        assert time.monotonic() - began < 5
        collector.answers.set()
        while arrived < 1001:
            arrived += spans_in(await collector.batch())


def spans_in(batch: ExportTraceServiceRequest) -> int:
    return sum(len(scope.spans) for of in batch.resource_spans for scope in of.scope_spans)


# --- a request ----------------------------------------------------------------------------------


async def test_a_request_is_a_span_between_the_clients_and_upstreams(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told when the sidecar stops, with what upstream said of the answer."""
    usage = chunk({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 5})
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with proxied() as rig:
            rig.upstream.reply(streamed(ROLE, text("secret answer"), usage, DONE))
            fields = (f"traceparent: {TRACEPARENT}", "tracestate: a=b")
            await rig.ask(chat(*fields, model="asked"))
            [call] = rig.upstream.calls
        batch = await collector.batch()
    [span] = batch.resource_spans[0].scope_spans[0].spans
    version, trace, parent, _ = (call.request.one("traceparent") or "").split("-")
    assert (version, trace, parent) == ("00", TRACE, span.span_id.hex())
    assert call.request.one("tracestate") == "a=b"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.name == "chat asked"
    said = {pair.key: pair.value for pair in span.attributes}
    assert said["gen_ai.response.model"].string_value == "m"
    assert said["gen_ai.usage.input_tokens"].int_value == 3
    assert said["gen_ai.usage.output_tokens"].int_value == 5
    assert said["http.response.status_code"].int_value == 200
    assert said["gen_ai.response.time_to_first_chunk"].double_value > 0
    assert b"secret" not in batch.SerializeToString()


async def test_without_a_collector_the_clients_trace_goes_through_as_it_came() -> None:
    async with proxied() as rig:
        rig.upstream.reply(streamed(ROLE, FINISH, DONE))
        await rig.ask(chat(f"traceparent: {TRACEPARENT}"))
        [call] = rig.upstream.calls
    assert call.request.all("traceparent") == [TRACEPARENT]
