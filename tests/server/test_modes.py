"""The wishes of a rule, and which rule is asked, as a client meets them; streamed and not."""

from __future__ import annotations

import gzip
import json
import re
from typing import Any

import pytest

from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match, Tools

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Cut,
    Record,
    chat,
    chunk,
    document,
    event,
    framed,
    payloads,
    proxied,
    response,
    rule,
    stream_head,
    streamed,
    text,
    visible,
)

CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL: Record = {"type": "function", "function": {"name": "f"}}
REASONED: Record = {"content": "<think>in</think>shown", "reasoning_content": "field"}


def observing(**wishes: Any) -> list[RuleSpec]:
    """One rule that only watches."""
    return [rule(mode="observe", **wishes)]


async def asked_for(message: Record, *rules: RuleSpec, **more: Any) -> Record:
    """The message of an answer in one piece, behind ``rules``; its finish reason under a key."""
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(response("200 OK", body=document(message)))
        answer = await rig.ask(chat(stream=False, **more))
    assert answer.status == 200
    choice = json.loads(answer.body)["choices"][0]
    found: Record = choice["message"] | {"finish": choice["finish_reason"]}
    return found


async def streamed_for(events: list[bytes], *rules: RuleSpec, **more: Any) -> bytes:
    """The same for a stream; its bytes."""
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(streamed(*events))
        answer = await rig.ask(chat(**more))
    assert answer.status == 200
    return answer.body


# --- observe ------------------------------------------------------------------------------------

ODD = [
    b": comment\n\n",
    ROLE,
    chunk({"reasoning_content": "hm", "unheard": 1}),
    text("<think>hidden</think>"),
    b"event: x\r\nid: 7\r\ndata: {}\r\n\r\n",
    chunk({"tool_calls": [CALL]}),
    text("shown"),
    FINISH,
    event({"choices": [], "usage": {"total_tokens": 3}}),
]


async def test_observe_changes_no_byte_of_a_stream() -> None:
    """What would be hidden arrives, comments and all, and is counted."""
    async with proxied(rules=observing()) as rig:
        rig.upstream.reply(streamed(*ODD, DONE))
        answer = await rig.ask(chat())
        scrape = await rig.scrape()
    assert answer.body == b"".join(ODD) + DONE
    assert 'hidden_characters_total{channel="reasoning",format="field",rule="only"} 2.0' in scrape
    assert 'hidden_characters_total{channel="reasoning",format="think",rule="only"}' in scrape


@pytest.mark.parametrize(
    ("bad", "rest"),
    [
        (b"data: {not json}\n\n", text("after") + FINISH + DONE),
        (b"data: \xff\n\n", text("after") + FINISH + DONE),
        (event({"error": {"message": "m"}}), text("after") + DONE),
        (b"data: " + b"x" * 5000 + b"\n\n", text("after") + FINISH + DONE),
        (DONE, b": after\n\ndata: after\n\n"),
    ],
    ids=["malformed", "not-utf-8", "error", "too-large", "end-mark"],
)
async def test_observe_passes_what_follows_what_it_cannot_judge(bad: bytes, rest: bytes) -> None:
    """A rule that only watches does not end a stream that would have gone on."""
    async with (
        proxied(rules=observing(), event_limit=4000) as rig,
        rig.call(chat()) as (client, call),
    ):
        await call.send(stream_head(), framed(ROLE))
        await client.head()
        assert await client.chunk() == ROLE
        await call.send(framed(bad))
        received = await client.chunk()
        await call.send(framed(rest), LAST)
        async for data in client.chunks():
            received += data
    assert received == bad + rest


async def test_observe_adds_nothing_to_an_incomplete_stream() -> None:
    """No error and no end mark that upstream did not send."""
    assert await streamed_for([ROLE, text("a")], *observing()) == ROLE + text("a")


async def test_observe_cuts_off_where_upstream_died() -> None:
    """As it would be without a rule."""
    async with proxied(rules=observing()) as rig:
        rig.upstream.reply(stream_head() + framed(ROLE) + framed(text("a")))
        with pytest.raises(Cut):
            await rig.ask(chat())


@pytest.mark.parametrize(
    "body",
    [
        document(REASONED),
        b' {"choices" : [ ] }',
        b"not json",
        b'{"a":1,"a":2}',
        document({"content": "x" * 9000}),
    ],
    ids=["answer", "no-choices", "not-json", "twice", "over-the-limit"],
)
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "503 Busy"])
async def test_observe_changes_no_byte_of_a_document(body: bytes, status: str) -> None:
    """Whatever it is, and whatever its status."""
    async with proxied(rules=observing(), event_limit=4000) as rig:
        rig.upstream.reply(response(status, "X-Any: 1", body=body))
        answer = await rig.ask(chat(stream=False))
    assert answer.status == int(status[:3])
    assert answer.body == body
    assert answer.head.one("X-Any") == "1"
    assert answer.head.one("Content-Type") == "application/json"


async def test_observe_does_not_judge_an_error_document_by_its_status() -> None:
    """An error object with status 200 stays one with status 200."""
    body = b'{"error":{"message":"m"}}'
    async with proxied(rules=observing()) as rig:
        rig.upstream.reply(response("200 OK", body=body))
        answer = await rig.ask(chat(stream=False))
    assert (answer.status, answer.body) == (200, body)


@pytest.mark.parametrize("content_type", ["text/html", "text/plain; charset=latin-1", None])
async def test_observe_passes_what_is_no_answer(content_type: str | None) -> None:
    """A page is a page."""
    async with proxied(rules=observing()) as rig:
        rig.upstream.reply(response("200 OK", body=b"<html>", content_type=content_type))
        answer = await rig.ask(chat())
    assert answer.body == b"<html>"
    if content_type is not None:
        assert answer.head.one("Content-Type") == content_type


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "unheard-of"])
@pytest.mark.parametrize("status", ["200 OK", "500 Oops"])
@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_observe_says_how_the_body_is_encoded(
    coding: str, status: str, content_type: str
) -> None:
    """It is decoded and said to be, or passes as it came and is said to be that."""
    plain = document(REASONED) if content_type.endswith("json") else b"".join(ODD) + DONE
    packed = gzip.compress(plain)
    async with proxied(rules=observing()) as rig:
        rig.upstream.reply(
            response(status, f"Content-Encoding: {coding}", body=packed, content_type=content_type)
        )
        answer = await rig.ask(chat())
    expected = plain if answer.head.one("Content-Encoding") is None else packed
    assert answer.body == expected


# --- on_empty -----------------------------------------------------------------------------------


async def test_promote_sends_the_reasoning_of_an_empty_answer() -> None:
    """Before the finish chunk, so that a client shows it."""
    out = await streamed_for(
        [ROLE, text("<think>only this</think>"), FINISH, DONE], rule(on_empty="promote")
    )
    assert visible(out) == "only this"
    assert payloads(out)[-2]["choices"][0]["finish_reason"] == "stop"


async def test_promote_sends_nothing_where_there_is_an_answer() -> None:
    """Reasoning is promoted instead of an answer, not before one."""
    out = await streamed_for(
        [ROLE, chunk({"reasoning": "hm"}), text("answer"), FINISH, DONE], rule(on_empty="promote")
    )
    assert visible(out) == "answer"


async def test_promote_in_a_document() -> None:
    """The same in one piece."""
    message = await asked_for({"content": "<think>only</think>"}, rule(on_empty="promote"))
    assert message["content"] == "only"


async def test_an_empty_answer_as_an_error() -> None:
    """The stream ends with an error that every client raises."""
    out = await streamed_for(
        [ROLE, chunk({"reasoning": "SECRET"}), FINISH, DONE], rule(on_empty="error")
    )
    *_, error, end = payloads(out)
    assert error["error"]["code"] == "empty_answer"
    assert end == "[DONE]"
    assert b'finish_reason":"stop' not in out
    assert b"SECRET" not in out


async def test_an_empty_document_as_an_error() -> None:
    """502, and an error object."""
    async with proxied(rules=[rule(on_empty="error")]) as rig:
        rig.upstream.reply(response("200 OK", body=document({"content": "<think>SECRET"})))
        answer = await rig.ask(chat(stream=False))
    assert answer.status == 502
    assert answer.error["code"] == "empty_answer"
    assert b"SECRET" not in answer.body


# --- the other wishes ---------------------------------------------------------------------------


async def test_unknown_fields() -> None:
    """Dropped at every level by default, passed at every level by wish."""
    unknown = event(
        {
            "id": "1",
            "thoughts": "SECRET",
            "choices": [
                {
                    "index": 0,
                    "delta": {"content": "a", "musings": "SECRET"},
                    "finish_reason": None,
                    "monologue": "SECRET",
                }
            ],
        }
    )
    events = [ROLE, unknown, FINISH, DONE]
    out = await streamed_for(events, rule())
    assert b"SECRET" not in out
    assert visible(out) == "a"
    assert await streamed_for(events, rule(unknown_fields="pass")) == b"".join(events)


async def test_unknown_fields_of_a_document() -> None:
    """The same in one piece."""
    message = {"content": "a", "musings": "hm"}
    assert "musings" not in await asked_for(message, rule())
    assert (await asked_for(message, rule(unknown_fields="pass")))["musings"] == "hm"


async def test_moved_reasoning() -> None:
    """In-band reasoning leaves the answer for a field of its own; what has one stays there."""
    out = await streamed_for(
        [ROLE, text("<think>in band</think>"), text("shown"), FINISH, DONE], rule(reasoning="move")
    )
    deltas = [p["choices"][0]["delta"] for p in payloads(out) if p != "[DONE]"]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "in band"
    assert visible(out) == "shown"
    kept = chunk({"reasoning": "field"})
    assert kept in await streamed_for(
        [ROLE, kept, text("shown"), FINISH, DONE], rule(reasoning="move")
    )


async def test_moved_reasoning_of_a_document() -> None:
    """The same in one piece."""
    message = await asked_for({"content": "<think>in</think>shown"}, rule(reasoning="move"))
    assert message["content"] == "shown"
    assert message["reasoning_content"] == "in"


@pytest.mark.parametrize(
    ("wishes", "left"),
    [
        ({}, {"content": "shown"}),
        (
            {"reasoning": "keep"},
            {"content": "<think>in</think>shown", "reasoning_content": "field"},
        ),
        ({"tool_calls": "keep"}, {"content": "shown", "tool_calls": [CALL]}),
        ({"tool_calls": "declared"}, {"content": "shown", "tool_calls": [CALL]}),
        ({"formats": ()}, {"content": "<think>in</think>shown"}),
    ],
    ids=["default", "keep-reasoning", "keep-calls", "declared-calls", "no-formats"],
)
async def test_the_channels_of_a_document(wishes: Record, left: Record) -> None:
    """Each channel by its own wish."""
    message = await asked_for(REASONED | {"tool_calls": [CALL]}, rule(**wishes), tools=[TOOL])
    del message["finish"]
    assert message == {"role": "assistant"} | left


@pytest.mark.parametrize(
    ("wishes", "content", "shown"),
    [
        ({"starts_in": "reasoning"}, "hm</think>shown", "shown"),
        ({"unclosed": "hide"}, "shown<think>hm", "shown"),
        ({"unclosed": "show"}, "shown<think>hm", "shown<think>hm"),
        ({"quoted": "keep"}, "write `<think>x</think>`", "write `<think>x</think>`"),
        ({"quoted": "drop"}, "write `<think>x</think>`", "write ``"),
    ],
)
async def test_the_wishes_about_text(wishes: Record, content: str, shown: str) -> None:
    """Streamed and in one piece alike."""
    assert (await asked_for({"content": content}, rule(**wishes)))["content"] == shown
    for events in ([text(content)], [text(character) for character in content]):
        out = await streamed_for([ROLE, *events, FINISH, DONE], rule(**wishes))
        assert visible(out) == shown


# --- which rule ---------------------------------------------------------------------------------

BY_PATH = rule("path", match=Match(path="/v1/chat/*"))
BY_MODEL = rule("model", match=Match(model=("gpt-*", "qwen?")))
BY_HEADER = rule("header", match=Match(headers=(("x-client", "agent*"),)))
BY_TOOLS = rule("tools", match=Match(tools=Tools.DECLARED))
BY_ABSENCE = rule("absent", match=Match(tools=Tools.ABSENT))
ALL_OF_IT = rule(
    "all", match=Match(("gpt-*",), "/v1/*", (("x-client", "*"),), Tools.DECLARED)
)  # fmt: skip
REST = rule("rest")


@pytest.mark.parametrize(
    ("rules", "fields", "more", "chosen"),
    [
        ([BY_MODEL, REST], (), {"model": "gpt-5"}, "model"),
        ([BY_MODEL, REST], (), {"model": "qwen3"}, "model"),
        ([BY_MODEL, REST], (), {"model": "GPT-5"}, "rest"),
        ([BY_MODEL, REST], (), {"model": ["gpt-5"]}, "rest"),
        ([BY_MODEL, REST], (), {"model": None}, "rest"),
        ([BY_HEADER, REST], ("X-Client: agent-7",), {}, "header"),
        ([BY_HEADER, REST], ("X-Client: person", "x-client: agent"), {}, "header"),
        ([BY_HEADER, REST], ("X-Client: person",), {}, "rest"),
        ([BY_HEADER, REST], (), {}, "rest"),
        ([BY_TOOLS, REST], (), {"tools": [TOOL]}, "tools"),
        ([BY_TOOLS, REST], (), {"functions": [{"name": "f"}]}, "tools"),
        ([BY_TOOLS, REST], (), {"tools": []}, "rest"),
        ([BY_TOOLS, REST], (), {"tools": "f"}, "rest"),
        ([BY_ABSENCE, REST], (), {}, "absent"),
        ([BY_ABSENCE, REST], (), {"tools": [TOOL]}, "rest"),
        ([BY_PATH, REST], (), {}, "path"),
        ([REST, BY_PATH], (), {}, "rest"),
        ([ALL_OF_IT, REST], ("X-Client: a",), {"model": "gpt-5", "tools": [TOOL]}, "all"),
        ([ALL_OF_IT, REST], ("X-Client: a",), {"model": "gpt-5"}, "rest"),
        ([BY_MODEL], (), {"model": "another"}, "none"),
    ],
)
async def test_the_first_rule_that_matches_is_asked(
    rules: list[RuleSpec], fields: tuple[str, ...], more: Record, chosen: str
) -> None:
    """By model, path, headers and declared tools, all of which must hold."""
    async with proxied(rules=rules) as rig:
        rig.upstream.reply(response("200 OK", body=document({"content": "a"})))
        assert (await rig.ask(chat(*fields, **more))).status == 200
        scrape = await rig.scrape()
    labels = f'outcome="completed",route="chat",rule="{chosen}"'
    assert re.search(rf'sidecar_requests_total{{model="[a-z]+",{labels}}} 1.0', scrape)


async def test_a_query_is_no_part_of_the_path() -> None:
    """A rule that pins a path cannot be left by adding a query."""
    pinned = rule("pinned", match=Match(path="/v1/chat/completions"))
    async with proxied(rules=[pinned]) as rig:
        rig.upstream.reply(streamed(ROLE, text("<think>SECRET</think>a"), FINISH, DONE))
        answer = await rig.ask(chat(path="/v1/chat/completions?x=1"))
    assert visible(answer.body) == "a"
