"""What is counted, what is not told, and on which of the two ports."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.framing import EVENTS, LINES
from sidecar.core.progress import Phase
from sidecar.core.status import StatusPolicy
from sidecar.core.statustext import DEFAULT_TEXTS, StatusText, StatusTexts
from sidecar.rules.statussection import SILENT, StatusSpec
from sidecar.server.app import serving
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from tests.wire.adapters import ADAPTERS
from tests.wire.conformance import Json, Kind, Piece

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Cut,
    Rig,
    chat,
    chunk,
    configured,
    document,
    event,
    framed,
    proxied,
    request,
    response,
    rule,
    stream_head,
    streamed,
    text,
)
from .test_wire_formats import PIECES, content_type, events, per_format
from .test_wire_formats import document as document_in

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

WHOLE = streamed(ROLE, text("a"), FINISH, DONE)

OPENMETRICS = "application/openmetrics-text"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"

CLOCKS = (
    "upstream_headers",
    "first_upstream_event",
    "first_reasoning",
    "first_tool_call",
    "first_visible_token",
    "first_visible_byte",
)

AT_ONCE = StatusSpec(StatusPolicy(first_after=0.0, heartbeat=None), {})
"""A status before upstream has said anything."""


def openmetrics_families(body: str) -> list[Metric]:
    """The families of an exposition in the format of OpenMetrics."""
    return list(openmetrics.text_string_to_metric_families(body))  # type: ignore[no-untyped-call]


def samples(families: Iterable[Metric]) -> Samples:
    """Their samples, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def parsed(scrape: str) -> Samples:
    """The samples of an exposition, by name and labels."""
    return samples(text_string_to_metric_families(scrape))


def outcomes(scrape: str) -> dict[tuple[str, str, str], float]:
    """Requests by route, rule and outcome."""
    found = {}
    for (name, labels), value in parsed(scrape).items():
        if name == "sidecar_requests_total":
            of = dict(labels)
            found[of["route"], of["rule"], of["outcome"]] = value
    return found


def total(scrape: str, name: str, **labels: str) -> float:
    """The sum of the samples of a name that have these labels."""
    return total_of(parsed(scrape), name, **labels)


def total_of(found: Samples, name: str, **labels: str) -> float:
    """The same of samples."""
    return sum(
        value
        for (each, of), value in found.items()
        if each == name and labels.items() <= dict(of).items()
    )


def stream_in(wire_format: WireFormat, pieces: Iterable[Piece] = PIECES) -> bytes:
    """A whole response with the events of an answer in ``wire_format``."""
    body = b"".join(events(wire_format, list(pieces)))
    return stream_head(content_type=content_type(wire_format)) + framed(body) + LAST


async def outcomes_of(
    raw: bytes, asked: bytes, **options: Any
) -> dict[tuple[str, str, str], float]:
    """What is counted for one request to an upstream that answers ``raw``."""
    async with proxied(**options) as rig:
        rig.upstream.reply(raw)
        with suppress(Cut):
            await rig.ask(asked)
        return outcomes(await rig.scrape())


@pytest.mark.parametrize(
    ("raw", "asked", "counted"),
    [
        (WHOLE, chat(), ("chat", "default", "completed")),
        (WHOLE, chat(tools=[{}]), ("chat", "tools-declared", "completed")),
        (response("200 OK", body=document({"content": "a"})), chat(),
         ("chat", "default", "completed")),
        (streamed(ROLE), chat(), ("chat", "default", "upstream_incomplete")),
        (streamed(ROLE, b"data: x\n\n"), chat(), ("chat", "default", "upstream_incomplete")),
        (streamed(ROLE, event({"error": {"message": "m"}})), chat(),
         ("chat", "default", "upstream_incomplete")),
        (response("200 OK", body=b"x"), chat(), ("chat", "default", "upstream_error")),
        (response("500 Oops", body=b"{}"), chat(), ("chat", "default", "upstream_error")),
        (response("429 Slow", body=b"{}"), chat(), ("chat", "default", "upstream_error")),
        (b"", chat(), ("chat", "default", "upstream_error")),
        (response("200 OK"), request("GET", "/v1/models"), ("api", "none", "completed")),
        (response("404 Not"), request("GET", "/v1/models/m"), ("api", "none", "completed")),
        (response("503 Busy"), request("GET", "/v1/models"), ("api", "none", "upstream_error")),
        (response("200 OK", body=b"xx")[:-1], request("GET", "/v1/models"),
         ("api", "none", "upstream_incomplete")),
        (b"", request("GET", "/metrics"), ("refused", "none", "refused")),
        (b"", request("POST", "/v1/chat/completions", body=b"x"), ("chat", "none", "refused")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
async def test_outcomes(raw: bytes, asked: bytes, counted: tuple[str, str, str]) -> None:
    """Each request is counted once, by what became of it."""
    assert await outcomes_of(raw, asked) == {counted: 1.0}


async def test_the_outcome_of_a_listed_path() -> None:
    """It has a route of its own."""
    found = await outcomes_of(response("200 OK"), request("GET", "/health"), paths=("/health",))
    assert found == {("listed", "none", "completed"): 1.0}


@pytest.mark.parametrize(
    ("path", "route", "rule_name"),
    [("/v1/chat/completions", "chat", "default"), ("/v1/audio/speech", "api", "none")],
)
@pytest.mark.parametrize("head_first", [False, True])
async def test_the_outcome_of_silence(
    path: str, route: str, rule_name: str, head_first: bool
) -> None:
    """A timeout is one whether upstream said nothing or said too little."""
    async with proxied(first_byte=0.3, idle=0.3, seconds=5) as rig:
        async with rig.call(chat(path=path)) as (client, call):
            if head_first:
                await call.send(stream_head(), framed(ROLE))
            if head_first and route == "api":
                await client.gone()
            else:
                await client.answer()
            await call.gone()
        assert outcomes(await rig.scrape()) == {(route, rule_name, "upstream_timeout"): 1.0}


@pytest.mark.parametrize("head_first", [False, True])
async def test_the_outcome_of_a_client_that_left(head_first: bool) -> None:
    """It is nobody's fault."""
    async with proxied() as rig:
        async with rig.call(chat()) as (client, call):
            await call.request_body()
            if head_first:
                await call.send(stream_head(), framed(ROLE))
                await client.head()
            client.abort()
            await call.gone()
        assert outcomes(await rig.scrape()) == {("chat", "default", "client_gone"): 1.0}


async def test_the_gauge_follows_the_streams() -> None:
    """One for each stream in flight, and none when they are over, however they ended."""
    async with proxied(idle=0.5, seconds=10) as rig:
        ends = []
        for number in range(1, 4):
            client = await rig.client()
            await client.send(chat())
            call = await rig.upstream.accept()
            await call.send(stream_head(), framed(ROLE))
            await client.head()
            await client.chunk()
            ends.append((client, call))
            assert total(await rig.scrape(), "sidecar_streams_in_flight") == number
        (first, upstream_1), (second, upstream_2), (third, upstream_3) = ends
        await upstream_1.send(framed(FINISH + DONE))
        assert [_ async for _ in first.chunks()]
        second.abort()
        await upstream_2.gone()
        assert [_ async for _ in third.chunks()]  # the idle time ends it
        await upstream_3.gone()
        assert total(await rig.scrape(), "sidecar_streams_in_flight") == 0
        for client, _ in ends:
            client.abort()


async def test_the_tasks_of_the_loop_are_told() -> None:
    """As many as there are when somebody asks."""
    async with proxied() as rig:
        tasks = [asyncio.create_task(asyncio.Event().wait()) for _ in range(100)]
        assert 100 < total(await rig.scrape(), "sidecar_tasks") < 150
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert 0 < total(await rig.scrape(), "sidecar_tasks") < 50


async def test_times_are_counted_once() -> None:
    """One observation each for upstream's head, the first event that says anything, the first
    reasoning and the first visible text; a role or an empty chunk stops no clock but the first."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        seen = []

        async def count() -> tuple[float, ...]:
            scrape = await rig.scrape()
            return tuple(
                total(scrape, f"sidecar_time_to_{what}_seconds_count",
                      route="chat", rule="default")
                for what in ("upstream_headers", "first_upstream_event", "first_reasoning",
                             "first_visible_token", "first_visible_byte")
            )  # fmt: skip

        await call.send(stream_head())
        await client.head()
        seen.append(await count())
        for sent in (
            framed(ROLE),
            framed(chunk({"reasoning": "hm"}) + b"data: {}\n\n"),
            framed(chunk({"reasoning": "hm"}) + text("a")),
            framed(text("b") + chunk({"reasoning": "hm"}) + text("c")),
        ):
            await call.send(sent)
            # The next visible thing shows that the one before it has been judged.
            if b"content" in sent or b"{}" in sent:
                await client.chunk()
            seen.append(await count())
    assert seen == [
        (1, 0, 0, 0, 0),
        (1, 0, 0, 0, 0),
        (1, 1, 1, 0, 0),
        (1, 1, 1, 1, 1),
        (1, 1, 1, 1, 1),
    ]


NUDGE = event({})
"""An event that says nothing and passes: when it has come, what is before it has been judged."""


async def stopped(rig: Rig) -> Counter[str]:
    """How often each clock has stopped."""
    scrape = await rig.scrape()
    return Counter(
        {
            what: int(number)
            for what in CLOCKS
            if (number := total(scrape, f"sidecar_time_to_{what}_seconds_count"))
        }
    )


IN_BAND_CALL = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
TOOL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}


STOPS_NONE = [
    ROLE,
    chunk({}),
    text(""),
    text(" \n"),
    text("<think>\n\n</think>"),
    text("<think>\n\n") + text("</think>\n\n"),
    text("<think>"),
    text("<tool_call>"),
    text("<thi"),
    chunk({"reasoning_content": ""}),
    chunk({"reasoning_content": " \n"}),
    chunk({"tool_calls": []}),
    chunk({"role": "tool", "content": "x"}),
    chunk({"musings": "x"}),
    b": a comment\n\n",
    FINISH,
]
REASONING = {"first_reasoning"}
CALLING = {"first_tool_call"}
VISIBLE = {"first_visible_token", "first_visible_byte"}
STOPS: list[tuple[bytes, set[str]]] = [
    (text("<think>hm"), REASONING),
    (text("<think>\n\nhm</think>\n\n"), REASONING),
    (chunk({"reasoning_content": "hm"}), REASONING),
    (text(IN_BAND_CALL), CALLING),
    (chunk({"tool_calls": [TOOL]}), CALLING),
    (text("a"), VISIBLE),
    (text(" \na"), VISIBLE),
    (text("<think></think>a"), VISIBLE),
    (chunk({"refusal": "no"}), VISIBLE),
]


async def test_what_stops_no_clock() -> None:
    """Neither what says nothing nor what is not told apart yet stops a clock of tokens."""
    async with proxied() as rig:
        for number, said in enumerate(STOPS_NONE, 1):
            async with rig.call(chat()) as (client, call):
                await call.send(stream_head(), framed(said + NUDGE))
                await client.head()
                await client.chunk()
                assert await stopped(rig) == {"upstream_headers": number}, said


async def test_what_stops_a_clock() -> None:
    """Each stops its own, and the one of the first event, however often it comes."""
    async with proxied() as rig:
        expected: Counter[str] = Counter()
        for said, what in STOPS:
            expected.update(["upstream_headers", "first_upstream_event", *what])
            async with rig.call(chat()) as (client, call):
                await call.send(stream_head())
                await client.head()
                for _ in range(2):
                    await call.send(framed(said + NUDGE))
                    await client.chunk()
                    assert await stopped(rig) == expected, said


async def test_every_clock_of_one_answer() -> None:
    """Each is stopped once, at the event that is the first of its kind."""
    steps: list[tuple[bytes, set[str]]] = [
        (ROLE, {"upstream_headers"}),
        (text("<think>\n\n</think>"), set()),
        (chunk({"reasoning_content": "hm"}), {"first_upstream_event", "first_reasoning"}),
        (chunk({"tool_calls": [TOOL]}), {"first_tool_call"}),
        (chunk({"role": "assistant", "content": ""}), set()),
        (text(" "), set()),
        (text("a"), {"first_visible_token", "first_visible_byte"}),
        (text("<think>more</think>b") + text(IN_BAND_CALL), set()),
        (FINISH, set()),
    ]
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.send(stream_head())
        await client.head()
        before: Counter[str] = Counter()
        for said, what in steps:
            await call.send(framed(said + NUDGE))
            await client.chunk()
            after = await stopped(rig)
            assert after - before == dict.fromkeys(what, 1), said
            before = after
        await call.send(framed(DONE), LAST)
        assert [_ async for _ in client.chunks()]
        assert await stopped(rig) == dict.fromkeys(CLOCKS, 1)


@per_format
@pytest.mark.parametrize("streams", [True, False], ids=["stream", "document"])
async def test_the_clocks_of_every_wire_format(wire_format: WireFormat, streams: bool) -> None:
    """Reasoning and text stop theirs, no call has come that would stop the third."""
    async with proxied() as rig:
        rig.upstream.reply(stream_in(wire_format) if streams else document_in(wire_format))
        await rig.ask(chat(path=wire_format.path, stream=streams))
        assert await stopped(rig) == dict.fromkeys(set(CLOCKS) - {"first_tool_call"}, 1)


@per_format
async def test_the_clocks_of_an_answer_without_text(wire_format: WireFormat) -> None:
    """What is hidden is an event of upstream's, and nothing that a person could see."""
    pieces = [Piece(Kind.TEXT, "<think>hm</think>"), Piece(Kind.FINISH, "stop")]
    async with proxied() as rig:
        rig.upstream.reply(stream_in(wire_format, pieces))
        await rig.ask(chat(path=wire_format.path))
        found = await stopped(rig)
    assert found == dict.fromkeys(
        ("upstream_headers", "first_upstream_event", "first_reasoning"), 1
    )


async def test_a_status_is_a_visible_byte() -> None:
    """And no token: the text that comes after it is the first."""
    async with proxied(status=AT_ONCE) as rig, rig.call(chat()) as (client, call):
        await client.head()
        assert b"Thinking" in await client.chunk()
        assert await stopped(rig) == {"first_visible_byte": 1}
        await call.send(stream_head(), framed(text("a")))
        await client.chunk()
        assert await stopped(rig) == {
            "upstream_headers": 1,
            "first_upstream_event": 1,
            "first_visible_token": 1,
            "first_visible_byte": 1,
        }


async def test_a_status_without_a_text_is_not_visible() -> None:
    """It is counted as a status, and stops no clock."""
    texts = StatusTexts({**DEFAULT_TEXTS.phases, Phase.WAITING: StatusText("")}, ())
    silent = StatusSpec(StatusPolicy(first_after=0.0, heartbeat=None, texts=texts), {})
    async with proxied(status=silent) as rig:
        async with rig.call(chat()) as (client, call):
            await client.head()
            assert b"waiting" in await client.chunk()
            assert await stopped(rig) == {}
            client.abort()
            await call.gone()
        scrape = await rig.scrape()
    assert total(scrape, "sidecar_statuses_total", phase="waiting") == 1


async def test_times_of_a_document() -> None:
    """The same for an answer in one piece."""
    message = {"content": "a", "reasoning_content": "hm"}
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=document(message)))
        await rig.ask(chat(stream=False))
        scrape = await rig.scrape()
    for what in ("upstream_headers", "first_reasoning", "first_visible_token"):
        name = f"sidecar_time_to_{what}_seconds"
        assert total(scrape, f"{name}_count") == 1
        assert total(scrape, f"{name}_bucket", le="+Inf") == 1


async def test_a_role_is_not_visible() -> None:
    """Nor is an empty delta: nobody could show them."""
    async with proxied() as rig:
        rig.upstream.reply(streamed(ROLE, chunk({"reasoning": "hm"}), FINISH, DONE))
        await rig.ask(chat())
        scrape = await rig.scrape()
    assert total(scrape, "sidecar_time_to_first_visible_token_seconds_count") == 0
    assert total(scrape, "sidecar_time_to_first_reasoning_seconds_count") == 1


async def test_hidden_characters() -> None:
    """By rule, channel and format, over all answers."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}
    async with proxied(rules=[rule("mine")]) as rig:
        rig.upstream.reply(
            streamed(
                ROLE,
                chunk({"reasoning_content": "fünf!"}),
                text("<think>12"),
                text("34</think>shown"),
                chunk({"tool_calls": [call], "musings": "x"}),
                chunk({"role": "tool", "content": "result"}),
                FINISH,
                chunk({"role": "assistant", "content": ""}, "stop"),
                DONE,
            )
        )
        for _ in range(2):
            await rig.ask(chat())
        scrape = await rig.scrape()
    name = "sidecar_hidden_characters_total"
    assert total(scrape, name, rule="mine", channel="reasoning", format="field") == 10
    assert total(scrape, name, rule="mine", channel="reasoning", format="think") >= 8
    assert total(scrape, name, rule="mine", channel="tool_call", format="field") > 0
    assert total(scrape, name, rule="mine", channel="tool_result", format="field") == 12
    assert total(scrape, "sidecar_unknown_fields_total", rule="mine") == 2


async def test_no_label_holds_what_a_client_wrote() -> None:
    """Names of models, headers, paths, tools and methods grow no series and leak nothing."""
    hostile = "HOSTILE"
    async with proxied(paths=("/x/*",)) as rig:
        rig.upstream.reply(WHOLE)
        before = len(parsed(await rig.scrape()))
        for number in range(5):
            name = f"{hostile}{number}"
            tool = {"type": "function", "function": {"name": name}}
            await rig.ask(chat(f"X-{name}: {name}", f"User-Agent: {name}", model=name, user=name))
            await rig.ask(chat(model=name + '"} evil 1\n', tools=[tool]))
            await rig.ask(request("GET", f"/v1/models/{name}?{name}"))
            await rig.ask(request("GET", f"/x/{name}"))
            await rig.ask(request("GET", f"/{name}"))
            await rig.ask(request(name, "/v1/models"))
            if number == 0:
                grown = len(parsed(await rig.scrape()))
        scrape = await rig.scrape()
    assert hostile.lower() not in scrape.lower()
    assert before < grown
    assert len(parsed(scrape)) == grown


async def test_no_label_holds_what_upstream_wrote() -> None:
    """Nor roles, finish reasons, keys and codes of errors."""
    odd = {"index": 0, "delta": {"role": "HOSTILE", "HOSTILE": 1}, "finish_reason": "HOSTILE"}
    async with proxied() as rig:
        rig.upstream.reply(
            streamed(
                ROLE,
                event({"choices": [odd]}),
                event({"error": {"message": "HOSTILE", "type": "HOSTILE", "code": "HOSTILE"}}),
            )
        )
        await rig.ask(chat())
        scrape = await rig.scrape()
    assert "HOSTILE" not in scrape


# --- pace ---------------------------------------------------------------------------------------

READS = "sidecar_upstream_inter_token_latency_seconds_count"


async def paced(*sent: bytes, end: bytes = LAST, **asked: Any) -> str:
    """The scrape after a stream of which each part is read for itself; the first part is one that
    something is written for, and ``end`` is what ends the body."""
    async with proxied() as rig:
        async with rig.call(chat(**asked)) as (client, call):
            await call.send(stream_head())
            await client.head()
            for number, part in enumerate(sent):
                await call.send(framed(part))
                if number == 0:
                    await client.chunk()
                while total(await rig.scrape(), READS) < number:
                    pass  # the scrape is what waits
            await call.send(end)
            async for _ in client.chunks():
                pass
        return await rig.scrape()


@pytest.mark.parametrize(
    ("sent", "counts"),
    [
        ((ROLE,), (0, 0, 1, 0)),
        ((ROLE, text("a"), text("b"), FINISH, DONE), (4, 4, 5, 0)),
        ((ROLE + text("a") + text("b"), FINISH + DONE), (1, 1, 2, 0)),
        # What is hidden is read and not written.
        ((ROLE, chunk({"reasoning": "hm"}), text("a"), FINISH + DONE), (3, 2, 3, 0)),
        ((ROLE, b": a comment\n\n", text("a"), FINISH + DONE), (3, 2, 3, 0)),
        # So is what is held back, until it is decided.
        ((ROLE, text("a <thi"), text("s"), FINISH + DONE), (3, 3, 4, 1)),
        ((ROLE, text("<thi"), text("n"), text("g"), FINISH + DONE), (4, 2, 3, 1)),
        ((ROLE, text("<thi"), text("nk>hm</think>a"), FINISH + DONE), (3, 2, 3, 1)),
        ((ROLE, text("<thi"), text("s"), text("<thi"), text("s"), FINISH + DONE), (5, 3, 4, 2)),
        ((ROLE, text("a <thi"), FINISH + DONE), (2, 2, 3, 1)),
        # What one read decides was not held.
        ((ROLE, text("a <thi") + text("s"), FINISH + DONE), (2, 2, 3, 0)),
    ],
)  # fmt: skip
async def test_pace(sent: tuple[bytes, ...], counts: tuple[int, ...]) -> None:
    """Between two reads, between two writes, from each read to its write, and once for each time
    that text was held."""
    scrape = await paced(*sent)
    names = ("upstream_inter_token_latency", "inter_token_latency", "added_latency", "held_back")
    of = {"route": "chat", "rule": "default", "model": "other"}
    assert counts == tuple(total(scrape, f"sidecar_{name}_seconds_count", **of) for name in names)
    for name, count in zip(names, counts, strict=True):
        assert total(scrape, f"sidecar_{name}_seconds_bucket", le="+Inf") == count
        assert (total(scrape, f"sidecar_{name}_seconds_sum") > 0) is (count > 0)


@pytest.mark.parametrize(
    ("raw", "outcome"),
    [
        (WHOLE, "completed"),
        (streamed(ROLE), "upstream_incomplete"),
        (stream_head() + framed(ROLE), "upstream_incomplete"),
        (response("200 OK", body=document({"content": "a"})), None),
        (response("500 Oops", body=b"{}"), None),
        (b"", None),
    ],
)
async def test_the_duration_of_a_stream(raw: bytes, outcome: str | None) -> None:
    """One for each stream, by how it ended; a document is none, and neither is an error."""
    async with proxied() as rig:
        rig.upstream.reply(raw)
        await rig.ask(chat())
        scrape = await rig.scrape()
    name = "sidecar_stream_duration_seconds_count"
    assert total(scrape, name) == (outcome is not None)
    if outcome is not None:
        assert total(scrape, name, outcome=outcome, route="chat", rule="default") == 1


async def test_the_duration_of_a_stream_whose_client_left() -> None:
    """It ends when the client does."""
    async with proxied() as rig:
        async with rig.call(chat()) as (client, call):
            await call.send(stream_head(), framed(ROLE))
            await client.head()
            client.abort()
            await call.gone()
        scrape = await rig.scrape()
    assert total(scrape, "sidecar_stream_duration_seconds_count", outcome="client_gone") == 1


# --- tokens, statuses and signs of life ---------------------------------------------------------

_OPENAI_USAGE: Json = {
    "prompt_tokens": 20,
    "completion_tokens": 10,
    "total_tokens": 30,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
_RESPONSES_USAGE: Json = {
    "input_tokens": 20,
    "output_tokens": 10,
    "total_tokens": 30,
    "input_tokens_details": {"cached_tokens": 5},
    "output_tokens_details": {"reasoning_tokens": 4},
}
_MESSAGES_USAGE: Json = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 5,
    "output_tokens": 1,
}
_OLLAMA_USAGE: Json = {"prompt_eval_count": 20, "eval_count": 10}

_OPENAI_TOKENS = {"input": 20, "output": 10, "cached": 5, "reasoning": 4}
_OLLAMA_TOKENS = {"input": 20, "output": 10}

TOKENS: dict[str, dict[str, int]] = {
    "chat": _OPENAI_TOKENS,
    "completions": _OPENAI_TOKENS,
    "responses": _OPENAI_TOKENS,
    "messages": {"input": 20, "output": 10, "cached": 5},
    "ollama_chat": _OLLAMA_TOKENS,
    "ollama_generate": _OLLAMA_TOKENS,
}
"""What the answers of :func:`with_usage` took, by the name of their wire format."""


def with_usage(wire_format: WireFormat, record: Json, *, whole: bool = False) -> Json:
    """``record``, the last of an answer or the ``whole`` of it, with what the answer took."""
    match wire_format.name:
        case "chat" | "completions":
            return record | {"usage": _OPENAI_USAGE}
        case "responses" if whole:
            return record | {"usage": _RESPONSES_USAGE}
        case "responses":
            return record | {"response": record["response"] | {"usage": _RESPONSES_USAGE}}
        case "messages":
            return record | {"usage": _MESSAGES_USAGE | {"output_tokens": 10}}
        case _:
            return record | _OLLAMA_USAGE


def events_with_usage(wire_format: WireFormat) -> bytes:
    """The stream of an answer that says what it took, where the format says it."""
    adapter = ADAPTERS[wire_format.name]
    said = adapter.events([Piece(Kind.TEXT, "a"), Piece(Kind.FINISH, "stop")])
    if wire_format.name == "messages":
        # A part at the beginning, and the rest at the end.
        (name, start), *_, (_, delta), _ = said
        said[0] = name, start | {"message": start["message"] | {"usage": _MESSAGES_USAGE}}
        delta["usage"] = {"output_tokens": 10}
    else:
        name, last = said[-1]
        said[-1] = name, with_usage(wire_format, last)
    framing = LINES if wire_format.name.startswith("ollama") else EVENTS
    written = [framing.write(json.dumps(each).encode(), name.encode()) for name, each in said]
    body = b"".join(written)
    return stream_head(content_type=framing.content_type) + framed(body) + LAST


def tokens(scrape: str, **labels: str) -> dict[str, float]:
    """Those that are counted, by their type."""
    kinds = ("input", "output", "cached", "reasoning")
    found = {kind: total(scrape, "sidecar_tokens_total", type=kind, **labels) for kind in kinds}
    assert sum(found.values()) == total(scrape, "sidecar_tokens_total"), "of another type"
    return {kind: number for kind, number in found.items() if number}


@per_format
@pytest.mark.parametrize("mode", ["enforce", "observe"])
async def test_tokens_of_a_stream(wire_format: WireFormat, mode: str) -> None:
    """As upstream says, under the labels of the request."""
    async with proxied(rules=[rule("mine", mode=mode)]) as rig:
        rig.upstream.reply(events_with_usage(wire_format))
        await rig.ask(chat(path=wire_format.path))
        scrape = await rig.scrape()
    labels = {"route": wire_format.name, "rule": "mine", "model": "other"}
    assert tokens(scrape, **labels) == TOKENS[wire_format.name]


@per_format
async def test_tokens_of_a_document(wire_format: WireFormat) -> None:
    """The same; of several answers they add up."""
    adapter = ADAPTERS[wire_format.name]
    record = adapter.document([Piece(Kind.TEXT, "a"), Piece(Kind.FINISH, "stop")])
    body = json.dumps(with_usage(wire_format, record, whole=True)).encode()
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=body))
        for _ in range(2):
            await rig.ask(chat(path=wire_format.path, stream=False))
        scrape = await rig.scrape()
    assert tokens(scrape) == {kind: 2 * n for kind, n in TOKENS[wire_format.name].items()}


async def test_tokens_that_are_told_with_every_event_count_once() -> None:
    """Some servers add up while they stream: the last word counts."""
    usages = [{"prompt_tokens": 20, "completion_tokens": n, "total_tokens": 20 + n} for n in (1, 2)]
    parts = [chunk({"content": "a"}, usage=usage) for usage in usages]
    async with proxied() as rig:
        rig.upstream.reply(streamed(ROLE, *parts, FINISH, DONE))
        await rig.ask(chat())
        assert tokens(await rig.scrape()) == {"input": 20, "output": 2}


NO_USAGES: list[Any] = [
    None,
    {},
    {"prompt_tokens": None, "completion_tokens": None},
    {"prompt_tokens": -1, "completion_tokens": "7"},
    {"prompt_tokens": 1e300, "completion_tokens": True},
    {"prompt_tokens": [1], "prompt_tokens_details": 5},
    [],
    "many",
]


async def test_tokens_that_are_no_numbers() -> None:
    """Nothing is counted, and the answer goes on."""
    async with proxied() as rig:
        for usage in NO_USAGES:
            rig.upstream.reply(streamed(ROLE, chunk({"content": "a"}, usage=usage), FINISH, DONE))
            answer = await rig.ask(chat())
            assert b'"content":"a"' in answer.body, usage
            assert tokens(await rig.scrape()) == {}, usage


async def test_statuses_are_counted_by_their_phase() -> None:
    """As many as the client got, and an answer that began before upstream's."""
    async with proxied(rules=[rule("mine", status=AT_ONCE)]) as rig:
        rig.upstream.reply(
            streamed(
                ROLE,
                chunk({"reasoning_content": "hm"}),
                chunk({"tool_calls": [TOOL]}),
                chunk({"role": "tool", "content": "x"}),
                chunk({"role": "assistant", "content": ""}),
                text("a"),
                text("<think>hm</think>b"),
                FINISH,
                DONE,
            )
        )
        answer = await rig.ask(chat())
        scrape = await rig.scrape()
    told = Counter(re.findall(r'"phase":"([a-z_]+)"', answer.body.decode()))
    assert {"waiting", "thinking", "calling_tool", "reading_result", "answering"} <= set(told)
    for phase, number in told.items():
        of = {"route": "chat", "rule": "mine", "phase": phase}
        assert total(scrape, "sidecar_statuses_total", **of) == number
    assert total(scrape, "sidecar_statuses_total") == told.total()
    assert total(scrape, "sidecar_early_commits_total", route="chat", rule="mine") == 1


@pytest.mark.parametrize("status", [SILENT, StatusSpec(StatusPolicy(first_after=300.0), {})])
async def test_an_answer_that_waits_for_upstream_is_no_early_one(status: StatusSpec) -> None:
    """Nor is one whose upstream was faster than the budget."""
    async with proxied(status=status) as rig:
        rig.upstream.reply(WHOLE)
        await rig.ask(chat())
        scrape = await rig.scrape()
    assert total(scrape, "sidecar_early_commits_total") == 0
    assert total(scrape, "sidecar_heartbeats_total") == 0


async def test_heartbeats() -> None:
    """As many as the client got; none of them is a status, or something that a person sees."""
    status = StatusSpec(StatusPolicy(first_after=None, heartbeat=0.05), {})
    beats = 0
    async with proxied(rules=[rule("mine", status=status)]) as rig:
        async with rig.call(chat()) as (client, call):
            await call.send(stream_head())
            await client.head()
            while beats < 3:
                assert await client.chunk() == EVENTS.beat
                beats += 1
            await call.send(framed(FINISH + DONE), LAST)
            async for data in client.chunks():
                beats += data == EVENTS.beat
        scrape = await rig.scrape()
        assert await stopped(rig) == {"upstream_headers": 1}
    assert total(scrape, "sidecar_heartbeats_total", route="chat", rule="mine") == beats
    assert total(scrape, "sidecar_heartbeats_total") == beats


# --- exemplars ----------------------------------------------------------------------------------


async def exposition(rig: Rig, accept: str) -> tuple[str, str]:
    """The metrics in the format that ``accept`` asks for, and its content type."""
    async with await rig.client(rig.running.admin) as client:
        answer = await client.ask(request("GET", "/metrics", f"Accept: {accept}"))
    assert answer.status == 200
    return answer.body.decode(), answer.head.one("Content-Type") or ""


async def exemplars(rig: Rig) -> Counter[tuple[str, str]]:
    """The exemplars by the names of their metrics, and the ids of their traces."""
    body, _ = await exposition(rig, OPENMETRICS)
    found: Counter[tuple[str, str]] = Counter()
    for family in openmetrics_families(body):
        for sample in family.samples:
            if sample.exemplar is not None:
                assert set(sample.exemplar.labels) == {"trace_id"}
                found[family.name, sample.exemplar.labels["trace_id"]] += 1
    return found


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-00",
        f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like",
    ],
)
async def test_a_trace_gives_exemplars(traceparent: str) -> None:
    """One for each clock, and the header goes upstream as it came; the text format has none."""
    everything = (chunk({"reasoning_content": "hm", "tool_calls": [TOOL]}), text("a"))
    async with proxied(status=AT_ONCE) as rig:
        async with rig.call(chat(f"Traceparent: {traceparent}")) as (client, call):
            assert call.request.all("traceparent") == [traceparent]
            await call.send(streamed(*everything, FINISH, DONE))
            await client.answer()
        assert await exemplars(rig) == {
            (f"sidecar_time_to_{what}_seconds", TRACE): 1 for what in CLOCKS
        }
        assert TRACE not in await rig.scrape()


NO_TRACES = [
    "",
    "nonsense",
    f"00-{'0' * 32}-{PARENT}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{PARENT}-01",
    f"00-{TRACE.upper()}-{PARENT}-01",
    f"00-{TRACE[:-1]}-{PARENT}-01",
    f"00-{TRACE}0-{PARENT}-01",
    f"00-{TRACE}-{PARENT}",
    f"00-{TRACE[:-1]}g-{PARENT}-01",
    f"0-{TRACE}-{PARENT}-01",
    f"x 00-{TRACE}-{PARENT}-01",
    '"} evil{a="',
    "9" * 5000,
]


async def test_what_is_no_trace_gives_no_exemplar() -> None:
    """It breaks nothing, and goes upstream as it came."""
    async with proxied() as rig:
        for number, traceparent in enumerate(NO_TRACES, 1):
            async with rig.call(chat(f"traceparent: {traceparent}")) as (client, call):
                assert call.request.all("traceparent") == [traceparent]
                await call.send(streamed(ROLE, text("a"), FINISH, DONE))
                answer = await client.answer()
            assert answer.status == 200
            assert b'"content":"a"' in answer.body
            assert await exemplars(rig) == {}, traceparent
            what = {"upstream_headers", "first_upstream_event", *VISIBLE}
            assert await stopped(rig) == dict.fromkeys(what, number)


async def test_no_trace_gives_no_exemplar() -> None:
    """And no header goes upstream that did not come."""
    async with proxied() as rig:
        rig.upstream.reply(WHOLE)
        await rig.ask(chat())
        assert rig.upstream.calls[0].request.all("traceparent") == []
        assert await exemplars(rig) == {}


# --- scrapes ------------------------------------------------------------------------------------

COUNTED = rule(
    status=StatusSpec(StatusPolicy(first_after=0.0, heartbeat=0.05), {}), on_empty="promote"
)
"""A rule under which there is something of everything."""


async def traffic(rig: Rig) -> None:
    """Requests after which every metric has been counted, in every wire format."""
    trace = f"traceparent: 00-{TRACE}-{PARENT}-01"
    for wire_format in WIRE_FORMATS:
        for raw in (
            stream_in(wire_format),
            document_in(wire_format),
            events_with_usage(wire_format),
        ):
            rig.upstream.reply(raw)
            await rig.ask(chat(trace, path=wire_format.path, model="m"))
    call = chunk({"tool_calls": [TOOL], "musings": "x"})
    for raw in (
        streamed(ROLE, call, text("hm</think>"), text("a <thi"), FINISH, DONE),
        streamed(ROLE, chunk({"reasoning_content": "hm"}), FINISH, DONE),
        response("200 OK", body=b"x", content_type="text/plain"),
        response("500 Oops", body=b"{}"),
        b"",
    ):
        rig.upstream.reply(raw)
        # The log tells of orphan close markers, but not for what can be no model's name.
        await rig.ask(chat(trace, model="?"))
    await rig.ask(request("GET", "/elsewhere"))


async def beaten(rig: Rig) -> None:
    """A request whose upstream is silent until a heartbeat has come."""
    async with rig.call(chat()) as (client, call):
        await client.head()
        while await client.chunk() != EVENTS.beat:
            pass
        await call.send(streamed(text("a"), FINISH, DONE))
        async for _ in client.chunks():
            pass


async def repeated(rig: Rig) -> None:
    """A request that upstream answers the second time."""
    async with rig.call(chat()) as (client, call):
        await call.send(response("503 Busy"))
        again = await rig.upstream.accept()
        await again.send(streamed(text("a"), FINISH, DONE))
        await client.answer()


def ours(found: Samples) -> Samples:
    """Those of the sidecar: the process goes on between two scrapes."""
    return {key: value for key, value in found.items() if key[0].startswith("sidecar_")}


async def test_scrapes_parse() -> None:
    """Both formats say the same of every metric, by the client library's own strict readers."""
    async with proxied(rules=[COUNTED], models=("m",), retries=1) as rig:
        await beaten(rig)
        await repeated(rig)
        await traffic(rig)
        plain, plain_type = await exposition(rig, "text/plain")
        open_, open_type = await exposition(rig, OPENMETRICS)
    assert plain_type.startswith("text/plain; version=0.0.4")
    assert open_type.startswith("application/openmetrics-text; version=1.0.0")
    families = openmetrics_families(open_)
    assert ours(samples(families)) == ours(parsed(plain))
    for family in families:
        assert family.documentation.endswith(".") or not family.name.startswith("sidecar_")
        assert family.samples, f"{family.name} was never counted"
    assert {family.name for family in families} >= {"process_cpu_seconds", "python_info"}


ACCEPTED = [
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.1",
    "application/openmetrics-text; version=banana",
    "text/plain; version=banana; escaping=no",
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily",
    "",
    ";;;,,,=",
]


async def test_whatever_a_scraper_accepts() -> None:
    """It gets metrics that can be read."""
    async with proxied() as rig:
        rig.upstream.reply(WHOLE)
        await rig.ask(chat())
        for accept in ACCEPTED:
            body, kind = await exposition(rig, accept)
            is_open = kind.startswith(OPENMETRICS)
            found = samples(openmetrics_families(body)) if is_open else parsed(body)
            assert total_of(found, "sidecar_requests_total") == 1, accept


async def test_promtool_finds_nothing() -> None:
    """No warning and no error about names, helps, types and units."""
    promtool = shutil.which("promtool")
    if promtool is None:
        refuse = pytest.fail if "SIDECAR_REQUIRE_PROMTOOL" in os.environ else pytest.skip
        refuse("promtool is not installed")
    async with proxied(rules=[COUNTED], models=("m",)) as rig:
        await beaten(rig)
        await traffic(rig)
        scrape = await rig.scrape()
    process = await asyncio.create_subprocess_exec(
        *(promtool, "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(scrape.encode())
    assert (process.returncode, said) == (0, b"")


# --- the two ports ------------------------------------------------------------------------------


async def test_the_admin_port() -> None:
    """Alive, ready, and the counters in the text format of Prometheus."""
    async with proxied() as rig:
        for method in ("GET", "HEAD"):
            for path in ("/healthz", "/readyz", "/metrics"):
                async with await rig.client(rig.running.admin) as client:
                    await client.send(request(method, path))
                    answer = await client.answer(empty=method == "HEAD")
                    assert answer.status == 200
                    assert answer.head.one("Server") == "sidecar"
                    if path == "/metrics":
                        kind = answer.head.one("Content-Type") or ""
                        assert kind.startswith("text/plain; version=")
        assert parsed(await rig.scrape())


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (chat(), 405),
        (request("GET", "/v1/models"), 404),
        (request("GET", "/v1/chat/completions"), 404),
        (request("GET", "/"), 404),
        (request("GET", "/metrics/"), 404),
        (request("POST", "/metrics", body=b"x"), 405),
        (request("DELETE", "/healthz"), 405),
    ],
)
async def test_the_admin_port_serves_no_data(raw: bytes, status: int) -> None:
    """An error object, and nothing reaches upstream."""
    async with proxied() as rig, await rig.client(rig.running.admin) as client:
        rig.upstream.reply(WHOLE)
        answer = await client.ask(raw)
        assert rig.upstream.calls == []
    assert answer.status == status
    assert answer.error["type"] == "invalid_request_error"


async def test_scrapes_are_not_requests() -> None:
    """Only the data plane is counted."""
    async with proxied() as rig:
        await rig.scrape()
        assert outcomes(await rig.scrape()) == {}


async def test_the_data_port_serves_no_admin() -> None:
    """Whoever reaches the model cannot read the counters."""
    async with proxied() as rig:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await rig.ask(request("GET", path))).status == 404


async def test_both_ports_are_closed_at_the_end() -> None:
    """Nothing listens any more, and a stream in flight does not hold it up for ever."""
    async with proxied() as rig:
        async with serving(configured(rig.upstream.base_url)) as running:
            other = Rig(rig.upstream, running)
            client = await other.client()
            await client.send(chat())
            call = await rig.upstream.accept()
            await call.send(stream_head(), framed(ROLE))
            await client.head()
        await call.gone()
        await client.gone()
        client.abort()
        for address in (running.data, running.admin):
            with pytest.raises(ConnectionRefusedError):
                await other.client(address)
