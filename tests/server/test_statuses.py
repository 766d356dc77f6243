"""What a client is told while nothing can be shown: statuses, the budget, heartbeats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.progress import Phase
from sidecar.core.status import Beat, Form, StatusPolicy
from sidecar.core.statustext import StatusText, StatusTexts
from sidecar.rules.statussection import DEFAULT_STATUS, SILENT, StatusSpec
from sidecar.wire.formats import WIRE_FORMATS, WireFormat

from .clock import Clock
from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Peer,
    Rig,
    chat,
    chunk,
    document,
    framed,
    payloads,
    proxied,
    request,
    response,
    rule,
    stream_head,
    streamed,
    text,
    visible,
)
from .test_wire_formats import content_type

per_format = pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda each: each.name)

FAR = 1_000_000.0
"""Seconds that no test jumps over."""
PEOPLE = StatusPolicy(first_after=60.0, heartbeat=None)
"""The budget is only spent when the test says so."""
LIMITED = response(
    "429 Too Many Requests",
    "Retry-After: 7",
    body=b'{"error":{"message":"Slow down.","type":"rate_limit","code":"slow"}}',
)


def wishes(policy: StatusPolicy = PEOPLE, **more: Any) -> StatusSpec:
    return StatusSpec(replace(policy, **more), {})


def at_once(**more: Any) -> StatusSpec:
    return wishes(first_after=0.0, **more)


def statuses(stream: bytes) -> list[dict[str, Any]]:
    """Those in the chunks of a chat stream, after a look at what carries them."""
    found = []
    for value in payloads(stream):
        if isinstance(value, dict) and "sidecar" in value:
            assert value["object"] == "chat.completion.chunk"
            assert value["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
            assert value["id"]
            assert isinstance(value["created"], int)
            found.append(value["sidecar"]["status"])
    return found


def phases(stream: bytes) -> list[str]:
    return [status["phase"] for status in statuses(stream)]


async def rest(client: Peer) -> bytes:
    """All that is still to come."""
    return b"".join([piece async for piece in client.chunks()])


def asked(wire_format: WireFormat, *fields: str, **more: Any) -> bytes:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "?"}], **more}
    fields = ("Content-Type: application/json", *fields)
    return request("POST", wire_format.path, *fields, body=json.dumps(body).encode())


# --- statuses -----------------------------------------------------------------------------------


async def test_the_phases_of_an_answer_are_told_before_what_changed_them() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "search", "arguments": '{"q":1}'}}
    async with proxied(status=at_once()) as rig:
        rig.upstream.reply(
            streamed(
                ROLE,
                chunk({"reasoning_content": "hm"}),
                chunk({"reasoning_content": "hm"}),
                chunk({"tool_calls": [call]}),
                chunk({"role": "tool", "content": "found"}),
                chunk({"role": "assistant", "content": "It is "}),
                text("so."),
                FINISH,
                DONE,
            )
        )
        answer = await rig.ask(chat())
    told = statuses(answer.body)
    assert [status["phase"] for status in told] == [
        "waiting",
        "thinking",
        "calling_tool",
        "reading_result",
        "answering",
        "done",
    ]
    assert [status["text"] for status in told] == [
        "Thinking…",
        "Thinking…",
        "Calling search…",
        "Reading the result…",
        "",
        "",
    ]
    assert [status.get("tool") for status in told] == [None, None, "search", None, None, None]
    assert [status["seq"] for status in told] == [1, 2, 3, 4, 5, 6]
    times = [status["elapsed_ms"] for status in told]
    assert times == sorted(times)
    assert visible(answer.body) == "It is so."
    kinds = [
        "status" if "sidecar" in value else value["choices"][0]["finish_reason"] or "text"
        for value in payloads(answer.body)[:-1]
    ]
    assert kinds[-4:] == ["text", "text", "status", "stop"]
    assert answer.head.one("X-Sidecar-Status") == "chunk"


async def test_a_status_has_our_envelope_until_upstream_has_said_its_own() -> None:
    async with proxied(status=at_once()) as rig:
        rig.upstream.reply(streamed(ROLE, text("a"), FINISH, DONE))
        answer = await rig.ask(chat(model="asked"))
    first, *others = [value for value in payloads(answer.body)[:-1] if "sidecar" in value]
    assert first["id"].startswith("chatcmpl-")
    assert first["model"] == "asked"
    assert first["created"] > 1_700_000_000
    for other in others:
        assert (other["id"], other["model"], other["created"]) == ("chatcmpl-1", "m", 1)


@pytest.mark.parametrize(
    ("fields", "choose", "told", "form"),
    [
        ((), True, True, "chunk"),
        (("X-Sidecar-Status: off",), False, False, "off"),
        (("X-Sidecar-Status: OFF",), True, False, "off"),
        (("X-Sidecar-Status: comment",), True, False, "comment"),
        (("X-Sidecar-Status: comment",), False, True, "chunk"),
        (("X-Sidecar-Status: nonsense",), False, True, "chunk"),
    ],
)
async def test_a_request_chooses_where_the_rule_lets_it(
    fields: tuple[str, ...], choose: bool, told: bool, form: str
) -> None:
    """It may always have none; the answer says what it was given."""
    async with proxied(status=wishes(choose=choose)) as rig:
        rig.upstream.reply(streamed(ROLE, text("a"), FINISH, DONE))
        answer = await rig.ask(chat(*fields))
        [call] = rig.upstream.calls
    assert answer.head.one("X-Sidecar-Status") == form
    assert call.request.one("X-Sidecar-Status") is None
    comments = [line for line in answer.body.split(b"\n") if line.startswith(b":")]
    body = b"\n".join(line for line in answer.body.split(b"\n") if line not in comments)
    assert bool(statuses(body)) is told
    assert bool(comments) is (form == "comment")
    assert visible(body) == "a"


async def test_a_form_that_does_not_exist_is_refused_with_those_that_do() -> None:
    async with proxied(status=wishes(choose=True)) as rig:
        answer = await rig.ask(chat("X-Sidecar-Status: chunks"))
        assert rig.upstream.calls == []
    assert answer.status == 400
    assert answer.error["message"] == (
        "X-Sidecar-Status must be one of: auto, off, chunk, comment, event, reasoning, content, "
        "open_webui, typed."
    )


@per_format
async def test_every_format_has_a_default_and_every_form_that_it_lists(
    wire_format: WireFormat,
) -> None:
    """What a rule or a request wishes and the format cannot have is the format's own."""
    async with proxied(status=at_once(choose=True)) as rig:
        rig.upstream.reply(stream_head(content_type=content_type(wire_format)) + LAST)
        for form in Form:
            answer = await rig.ask(asked(wire_format, f"X-Sidecar-Status: {form}"))
            given = answer.head.one("X-Sidecar-Status")
            listed = form is Form.OFF or form in wire_format.forms
            assert given == (form if listed else wire_format.forms[0])


async def test_the_language_is_the_requests() -> None:
    german = StatusTexts({Phase.THINKING: StatusText("Denkt nach …")})
    spec = StatusSpec(PEOPLE, {"de": replace(PEOPLE, texts=german)})
    async with proxied(status=spec) as rig:
        rig.upstream.reply(streamed(ROLE, chunk({"reasoning_content": "hm"}), FINISH, DONE))
        for language, told in (("de-CH, en;q=0.5", "Denkt nach …"), ("fr", "Thinking…")):
            answer = await rig.ask(chat(f"Accept-Language: {language}"))
            assert statuses(answer.body)[0]["text"] == told


async def test_arguments_are_told_if_the_text_names_them_as_soon_as_they_are_complete() -> None:
    texts = StatusTexts(tools=(("search", StatusText("Searching for “{args.q}”…")),))
    pieces = ['{"q": "ti', 'des\\n\\u202e", ', '"secret": "no"}']
    opener = {"index": 0, "id": "c", "function": {"name": "search", "arguments": ""}}
    rest_ = [{"index": 0, "function": {"arguments": piece}} for piece in pieces]
    calls = [chunk({"tool_calls": [delta]}) for delta in (opener, *rest_)]
    async with proxied(status=wishes(texts=texts)) as rig:
        rig.upstream.reply(streamed(ROLE, *calls, text("a"), FINISH, DONE))
        answer = await rig.ask(chat())
    told = [s["text"] for s in statuses(answer.body) if s["phase"] == "calling_tool"]
    assert told == ["Searching for…", "Searching for “tides”…"]
    assert b"secret" not in answer.body


async def test_sources_are_told_one_by_one_where_the_rule_wants_them() -> None:
    found = json.dumps(
        {
            "results": [
                {"title": "Tide\ntable", "url": "https://tides.example/1"},
                {"url": "https://tides.example/2"},
                {"title": "again", "url": "https://tides.example/1"},
                {"title": "script", "url": "javascript:alert(1)"},
            ]
        }
    )
    sent = streamed(
        ROLE,
        chunk({"role": "tool", "content": found}),
        chunk({"role": "assistant", "content": "At noon."}),
        chunk({}, "stop", citations=["https://c.example/x"]),
        DONE,
    )
    for sources in (True, False):
        async with proxied(status=wishes(sources=sources)) as rig:
            rig.upstream.reply(sent)
            answer = await rig.ask(chat())
        told = [s for s in statuses(answer.body) if s["phase"] == "sources"]
        assert [(s["text"], s["source"]["title"], s["source"]["url"]) for s in told] == (
            [
                ("Tide table", "Tide table", "https://tides.example/1"),
                ("https://tides.example/2", "", "https://tides.example/2"),
                ("https://c.example/x", "", "https://c.example/x"),
            ]
            if sources
            else []
        )
        assert b"script" not in answer.body


# --- for whom -----------------------------------------------------------------------------------


async def test_programs_that_run_tools_get_no_statuses_and_keep_their_retries() -> None:
    tools = [{"type": "function", "function": {"name": "search", "parameters": {}}}]
    async with proxied(rules=None, status=DEFAULT_STATUS) as rig:
        rig.upstream.reply(streamed(ROLE, chunk({"reasoning_content": "hm"}), FINISH, DONE))
        people = await rig.ask(chat())
    assert phases(people.body) == ["thinking", "done"]
    async with proxied(built_in=True) as rig:
        rig.upstream.reply(streamed(ROLE, chunk({"reasoning_content": "hm"}), FINISH, DONE))
        programs = await rig.ask(chat(tools=tools))
        people = await rig.ask(chat())
    assert programs.head.one("X-Sidecar-Status") == "off"
    assert statuses(programs.body) == []
    assert phases(people.body) == ["thinking", "done"]


async def test_a_document_has_no_statuses_and_is_never_begun_early() -> None:
    async with proxied(status=at_once()) as rig:
        rig.upstream.reply(response("200 OK", body=document({"content": "a"})))
        answer = await rig.ask(chat(stream=False))
    assert answer.head.one("Content-Type") == "application/json"
    assert answer.head.one("X-Sidecar-Status") is None
    assert b"sidecar" not in answer.body


async def test_a_rule_that_observes_tells_nothing() -> None:
    sent = b"".join((ROLE, chunk({"reasoning_content": "hm"}), text("a"), FINISH, DONE))
    async with proxied(rules=[rule(mode="observe", status=at_once())]) as rig:
        rig.upstream.reply(streamed(sent))
        answer = await rig.ask(chat())
    assert answer.body == sent
    assert answer.head.one("X-Sidecar-Status") is None


# --- the budget ---------------------------------------------------------------------------------


async def test_the_answer_begins_when_the_budget_is_spent_and_upstreams_follows() -> None:
    async with proxied(status=wishes(), seconds=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            clock.advance(60)
            head = await client.head()
            assert head.status == 200
            assert head.one("Content-Type") == "text/event-stream"
            assert head.one("X-Accel-Buffering") == "no"
            [waiting] = statuses(await client.chunk())
            assert (waiting["phase"], waiting["text"]) == ("waiting", "Thinking…")
            assert waiting["elapsed_ms"] >= 60_000
            await call.send(streamed(ROLE, text("a"), FINISH, DONE))
            left = await rest(client)
        scrape = await rig.scrape()
    assert visible(left) == "a"
    assert phases(left) == ["answering", "done"]
    assert left.endswith(DONE)
    assert 'sidecar_early_commits_total{route="chat",rule="default"} 1.0' in scrape


async def test_an_answer_that_has_begun_and_says_nothing_is_waited_for_too() -> None:
    """Upstream's head, or a role, is nothing that a person could see."""
    async with proxied(status=wishes(), seconds=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            await call.send(stream_head("X-Request-Id: r1"), framed(ROLE))
            assert (await client.head()).one("X-Request-Id") == "r1"
            assert await client.chunk() == ROLE
            clock.advance(60)
            assert phases(await client.chunk()) == ["waiting"]
        scrape = await rig.scrape()
    assert "sidecar_early_commits_total{" not in scrape


async def test_an_error_in_time_keeps_its_status_and_one_that_is_late_is_in_the_stream() -> None:
    async with proxied(status=wishes(), seconds=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            await call.send(LIMITED)
            in_time = await client.answer()
        async with rig.call(chat()) as (client, call):
            clock.advance(60)
            assert (await client.head()).status == 200
            assert phases(await client.chunk()) == ["waiting"]
            await call.send(LIMITED)
            late = await rest(client)
    assert in_time.status == 429
    assert in_time.head.one("Retry-After") == "7"
    assert in_time.error["message"] == "Slow down."
    error, done = payloads(late)
    assert error == {
        "error": {"message": "Slow down.", "type": "rate_limit", "code": "slow", "param": None}
    }
    assert done == "[DONE]"


async def test_the_built_in_budget_is_between_50_and_400_milliseconds() -> None:
    """An upstream that answers 429 after 50 ms, and one that does after 400 ms."""
    async with proxied(built_in=True, seconds=FAR) as rig:
        clock = Clock(frozen=True)
        async with rig.call(chat()) as (client, call):
            clock.advance(0.05)
            await call.send(LIMITED)
            soon = await client.answer()
        async with rig.call(chat()) as (client, call):
            clock.advance(0.2)
            assert (await client.head()).status == 200
            assert phases(await client.chunk()) == ["waiting"]
            clock.advance(0.2)
            await call.send(LIMITED)
            late = await rest(client)
    assert (soon.status, soon.head.one("Retry-After")) == (429, "7")
    assert payloads(late)[0]["error"]["message"] == "Slow down."


@per_format
async def test_a_late_error_is_in_the_formats_own_words(wire_format: WireFormat) -> None:
    async with proxied(status=at_once()) as rig, rig.call(asked(wire_format)) as (client, call):
        assert (await client.head()).status == 200
        await call.send(LIMITED)
        left = await rest(client)
    last = [line for line in left.splitlines() if line.startswith((b"data: {", b"{"))][-1]
    said = json.loads(last.removeprefix(b"data: "))
    assert b"Slow down." in last
    match wire_format.name:
        case "responses":
            assert (said["type"], said["code"], said["message"]) == ("error", "slow", "Slow down.")
            assert said["error"]["type"] == "rate_limit"
        case "messages":
            assert (said["type"], said["error"]["type"]) == ("error", "rate_limit")
        case "ollama_chat" | "ollama_generate":
            assert said == {"error": "Slow down."}
        case _:
            assert said["error"]["code"] == "slow"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (response("503 Service Unavailable", body=b"<html>"), "upstream_error"),
        (response("302 Found", "Location: /x"), "upstream_malformed"),
        (response("200 OK", body=document({"content": "a"})), "upstream_malformed"),
        (b"rubbish\r\n\r\n", "upstream_malformed"),
    ],
)
async def test_what_is_no_answer_ends_one_that_has_begun(raw: bytes, code: str) -> None:
    async with proxied(status=at_once()) as rig:
        rig.upstream.reply(raw)
        answer = await rig.ask(chat())
    assert answer.status == 200
    *_, error, done = payloads(answer.body)
    assert error["error"]["code"] == code
    assert done == "[DONE]"


async def test_an_upstream_that_cannot_be_reached_ends_one_that_has_begun() -> None:
    async with proxied(status=at_once(), seconds=FAR, first_byte=30.0) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            await client.head()
            await client.chunk()
            clock.advance(31)
            error, done = payloads(await rest(client))
            await call.gone()
    assert error["error"]["code"] == "upstream_timeout"
    assert done == "[DONE]"


async def test_zero_begins_at_once_and_off_never() -> None:
    async with proxied(status=at_once()) as rig, rig.call(chat()) as (client, _):
        await client.head()
        assert phases(await client.chunk()) == ["waiting"]
    async with proxied(status=wishes(first_after=None), seconds=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            clock.advance(200)
            await call.send(LIMITED)
            assert (await client.answer()).status == 429


@pytest.mark.parametrize(
    "fields",
    [("X-Sidecar-Status: off",), ("Sec-Fetch-Site: cross-site",), ("Sec-Fetch-Site: same-site",)],
)
async def test_what_needs_upstreams_own_head_waits_for_it(fields: tuple[str, ...]) -> None:
    """A client without statuses retries by itself, and another origin needs upstream's leave."""
    async with proxied(status=at_once()) as rig, rig.call(chat(*fields)) as (client, call):
        await call.send(LIMITED)
        assert (await client.answer()).status == 429


async def test_a_client_that_leaves_while_upstream_is_silent_ends_the_request() -> None:
    for begun in (True, False):
        spec = at_once() if begun else SILENT
        async with proxied(status=spec) as rig, rig.call(chat()) as (client, call):
            if begun:
                await client.head()
            client.abort()
            await call.gone()


# --- heartbeats ---------------------------------------------------------------------------------


async def begun(rig: Rig, clock: Clock, client: Peer, call: Any) -> None:
    """An answer of which the role has come."""
    await call.send(stream_head(), framed(ROLE))
    await client.head()
    assert await client.chunk() == ROLE


@pytest.mark.parametrize("policy", [PEOPLE, StatusPolicy(form=Form.OFF, first_after=None)])
async def test_a_comment_is_sent_for_each_while_of_silence(policy: StatusPolicy) -> None:
    """One line without a blank one after it, with statuses or without."""
    spec = wishes(policy, first_after=None, heartbeat=15.0)
    async with proxied(status=spec, seconds=FAR, idle=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            await begun(rig, clock, client, call)
            for _ in range(3):
                clock.advance(15)
                assert await client.chunk() == b": keep-alive\n"
            await call.send(framed(FINISH + DONE), LAST)
            left = await rest(client)
        scrape = await rig.scrape()
    assert left.endswith(DONE)
    assert b"keep-alive" not in left
    assert 'sidecar_heartbeats_total{route="chat",rule="default"} 3.0' in scrape


async def test_the_silence_is_the_clients_whatever_upstream_sends_that_is_hidden() -> None:
    """And what the client gets begins it anew."""
    spec = wishes(first_after=None, heartbeat=15.0, form=Form.OFF)
    async with proxied(status=spec, seconds=FAR, idle=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            await begun(rig, clock, client, call)
            clock.advance(10)
            await call.send(framed(text("a")))
            assert visible(await client.chunk()) == "a"
            clock.advance(10)
            await call.send(framed(text("b")))
            assert visible(await client.chunk()) == "b"
            clock.advance(8)
            await call.send(framed(chunk({"reasoning_content": "hm"})))
            clock.advance(8)
            assert await client.chunk() == b": keep-alive\n"


async def test_a_heartbeat_may_be_a_chunk_or_the_status_again() -> None:
    for beat in (Beat.CHUNK, Beat.STATUS):
        spec = wishes(first_after=None, heartbeat=15.0, beat=beat)
        async with proxied(status=spec, seconds=FAR, idle=FAR) as rig:
            clock = Clock()
            async with rig.call(chat()) as (client, call):
                await begun(rig, clock, client, call)
                await call.send(framed(chunk({"reasoning_content": "hm"})))
                [thinking] = statuses(await client.chunk())
                clock.advance(15)
                sent = await client.chunk()
        if beat is Beat.CHUNK:
            [value] = payloads(sent)
            assert value["choices"] == [{"index": 0, "delta": {}, "finish_reason": None}]
            assert value["id"] == "chatcmpl-1"
            assert "sidecar" not in value
        else:
            [again] = statuses(sent)
            assert (again["phase"], again["text"]) == ("thinking", "Thinking…")
            assert again["seq"] == thinking["seq"] + 1
            assert again["elapsed_ms"] >= thinking["elapsed_ms"] + 15_000


@pytest.mark.parametrize("form", [Form.REASONING, Form.CONTENT])
async def test_a_heartbeat_is_never_text_of_the_answer(form: Form) -> None:
    """Not even where a status is."""
    spec = wishes(first_after=None, heartbeat=15.0, beat=Beat.STATUS, form=form)
    async with proxied(status=spec, seconds=FAR, idle=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            await begun(rig, clock, client, call)
            await call.send(framed(chunk({"reasoning_content": "hm"})))
            assert b"Thinking" in await client.chunk()
            clock.advance(15)
            assert await client.chunk() == b": keep-alive\n"


async def test_no_heartbeat_comes_before_the_answer_has_begun_or_where_it_is_off() -> None:
    async with proxied(status=SILENT, seconds=FAR, idle=FAR, first_byte=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            clock.advance(100)
            await call.send(stream_head(), framed(ROLE))
            await client.head()
            assert await client.chunk() == ROLE
            clock.advance(100)
            await call.send(framed(FINISH + DONE), LAST)
            assert await rest(client) == FINISH + DONE


async def test_heartbeats_end_with_upstreams_patience_and_an_error_in_the_protocol() -> None:
    """They do not keep a dead stream alive."""
    spec = wishes(first_after=None, heartbeat=15.0)
    async with proxied(status=spec, seconds=FAR, idle=40.0) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            await begun(rig, clock, client, call)
            for _ in range(2):
                clock.advance(15)
                assert await client.chunk() == b": keep-alive\n"
            clock.advance(11)
            error, done = payloads(await rest(client))
            await call.gone()
        scrape = await rig.scrape()
    assert error["error"]["code"] == "upstream_timeout"
    assert done == "[DONE]"
    assert 'outcome="upstream_timeout",route="chat",rule="default"} 1.0' in scrape


async def test_a_heartbeat_keeps_the_answer_that_was_begun_early_alive() -> None:
    async with proxied(status=at_once(heartbeat=15.0), seconds=FAR, first_byte=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            await client.head()
            assert phases(await client.chunk()) == ["waiting"]
            clock.advance(15)
            assert await client.chunk() == b": keep-alive\n"
            await call.send(streamed(ROLE, text("a"), FINISH, DONE))
            assert visible(await rest(client)) == "a"


async def test_lines_of_json_have_no_comments() -> None:
    """Ollama's clients parse every line: there only a chunk can be a heartbeat."""
    [wire_format] = [each for each in WIRE_FORMATS if each.name == "ollama_chat"]
    head = stream_head(content_type="application/x-ndjson")
    for beat in (Beat.COMMENT, Beat.CHUNK):
        spec = wishes(first_after=None, heartbeat=15.0, beat=beat)
        async with proxied(status=spec, seconds=FAR, idle=FAR) as rig:
            clock = Clock()
            async with rig.call(asked(wire_format)) as (client, call):
                line = b'{"model":"m","message":{"role":"assistant","content":"a"},"done":false}\n'
                await call.send(head, framed(line))
                await client.head()
                assert await client.chunk() == line
                clock.advance(15)
                if beat is Beat.CHUNK:
                    empty = {"role": "assistant", "content": ""}
                    said = json.loads(await client.chunk())
                    assert said == {"model": "m", "message": empty, "done": False}
                await call.send(framed(line))
                assert await client.chunk() == line


async def test_a_client_that_is_gone_is_not_told() -> None:
    """The heartbeat that finds nobody ends nothing but itself."""
    async with proxied(status=at_once(heartbeat=15.0), seconds=FAR, first_byte=FAR) as rig:
        clock = Clock()
        async with rig.call(chat()) as (client, call):
            await client.head()
            client.abort()
            clock.advance(15)
            await call.gone()
