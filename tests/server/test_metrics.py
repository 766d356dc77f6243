"""What is counted, what is not told, and on which of the two ports."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.server.app import serving

from .scripted import (
    DONE,
    FINISH,
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

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

WHOLE = streamed(ROLE, text("a"), FINISH, DONE)


def parsed(scrape: str) -> Samples:
    """The samples of an exposition, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(scrape)
        for sample in family.samples
    }


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
    return sum(
        value
        for (found, of), value in parsed(scrape).items()
        if found == name and labels.items() <= dict(of).items()
    )


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
