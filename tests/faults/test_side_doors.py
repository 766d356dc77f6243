"""No way round the rules: every place besides the text in which hidden text could leave, over real
sockets.

What each wire format's own fields could say again is tested row by row in ``tests/wire``; here are
the doors of HTTP and of event streams, and of each kind of field one, so that nothing on the way
between the engine and the client opens them again.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from sidecar.core.framing import LINES
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    Record,
    Rig,
    chat,
    chunk,
    document,
    event,
    framed,
    proxied,
    response,
    rule,
    stream_head,
    text,
    visible,
)
from tests.server.test_wire_formats import per_format
from tests.wire.adapters import ADAPTERS
from tests.wire.conformance import Kind, Piece, Suite

from .verdicts import COMPLETED, SECRET, Told, complete, watched

BASE64 = base64.b64encode(SECRET.encode()).decode()
BYTES = list(SECRET.encode())
IDS = [904_211, 904_212]
FORMS = (
    SECRET,
    BASE64,
    SECRET.encode().hex(),
    json.dumps(BYTES),
    json.dumps(BYTES, separators=(",", ":")),
    str(IDS[0]),
)
"""How the secret may be written."""
ESCAPED = "".join(f"\\u{ord(each):04x}" for each in SECRET)

MARKED = f"<think>{SECRET}</think>"


def leaks(answer: Answer) -> list[str]:
    """The forms in which the secret has left, in the head or in the body of an answer."""
    said = str(answer.head) + answer.body.decode("utf-8", "replace")
    unescaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), said)
    return [form for form in FORMS if form.lower() in (said + unescaped).lower()]


# --- fields ---------------------------------------------------------------------------------------

REASONING = (
    "reasoning",
    "reasoning_content",
    "reasoning_text",
    "thinking",
    "thoughts",
    "thought",
    "chain_of_thought",
    "internal_reasoning",
    "analysis",
    "scratchpad",
)
TOKEN: Record = {"token": SECRET, "logprob": -0.5, "bytes": BYTES, "top_logprobs": []}
CALL: Record = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": json.dumps({"q": SECRET})},
}

DELTAS: dict[str, Record] = {
    **{f"reasoning-as-{name}": {name: SECRET} for name in REASONING},
    "reasoning-in-capitals": {"Reasoning_Content": SECRET, "THINKING": SECRET},
    "reasoning-in-an-object": {"reasoning": {"content": SECRET, "text": [SECRET]}},
    "reasoning-details": {
        "reasoning_details": [
            {"type": "reasoning.text", "text": SECRET},
            {"type": "reasoning.summary", "summary": SECRET},
            {"type": "reasoning.encrypted", "data": BASE64},
        ]
    },
    "thinking-blocks": {"thinking_blocks": [{"type": "thinking", "thinking": SECRET}]},
    "tool-calls": {"tool_calls": [CALL]},
    "function-call": {"function_call": {"name": "f", "arguments": SECRET}},
    "content-parts": {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]},
            {"type": "tool_use", "input": {"q": SECRET}},
            {"type": "unheard-of", "text": SECRET},
        ]
    },
    "unknown": {"musings": SECRET, "x": {"y": [{"z": SECRET}]}},
    "provider-fields": {"provider_specific_fields": {"thought": SECRET}},
    "token-ids": {"token_ids": IDS},
}
CHOICES: dict[str, Record] = {
    "logprobs": {"logprobs": {"content": [TOKEN], "refusal": None}},
    "logprobs-bytes-only": {"logprobs": {"content": [{"token": "", "bytes": BYTES}]}},
    "logprobs-alternatives": {
        "logprobs": {"content": [TOKEN | {"token": "", "bytes": None, "top_logprobs": [TOKEN]}]}
    },
    "choice-token-ids": {"token_ids": IDS},
    "choice-unknown": {"monologue": SECRET, "hidden_states": [[SECRET]]},
    "choice-text": {"text": SECRET},
    "whole-message": {"message": {"role": "assistant", "content": SECRET}},
    "content-filter-of-ones-own": {"content_filter_results": {"x": {"details": SECRET}}},
}
ENVELOPES: dict[str, Record] = {
    "verbose": {"__verbose": {"prompt": SECRET, "content": SECRET, "tokens": IDS}},
    "debug": {"debug": {"raw": SECRET}, "metadata": {"x": SECRET}},
    "prompt-token-ids": {"prompt_token_ids": IDS},
    "usage-text": {"usage": {"total_tokens": 3, "reasoning_text": SECRET}},
    "usage-details": {
        "usage": {"total_tokens": 3, "completion_tokens_details": {"x": SECRET, "y": [SECRET]}}
    },
    "usage-is-text": {"usage": SECRET},
    "unknown-envelope": {"thoughts": SECRET, "data": [{"x": SECRET}]},
    "escaped-key": {"reasoning\u200b": SECRET},
}
ROLES = ("tool", "reasoning", "function", "system", "analysis", "s3cr3t-k3y")
FIELDS = {**DELTAS, **CHOICES, **ENVELOPES}


def with_field(name: str) -> bytes:
    """A chunk that has it, and hidden text."""
    delta = {"content": MARKED} | DELTAS.get(name, {})
    choice = {"index": 0, "delta": delta, "finish_reason": None} | CHOICES.get(name, {})
    return event({"id": "1", "choices": [choice]} | ENVELOPES.get(name, {}))


async def streamed_by(rig: Rig, *events: bytes, head: bytes = b"", end: bytes = LAST) -> Answer:
    """The answer to a chat request whose upstream streams these events."""
    rig.upstream.reply((head or stream_head()) + b"".join(map(framed, events)) + end)
    return await rig.ask(chat())


@pytest.mark.parametrize("name", FIELDS)
async def test_a_field_of_a_stream(name: str, told: Told) -> None:
    """It is dropped, or what may hide in it is, and the answer is whole."""
    async with watched() as rig:
        answer = await streamed_by(rig, ROLE, text("shown"), with_field(name), FINISH, DONE)
        assert await told.one(rig) == COMPLETED
    assert leaks(answer) == []
    complete(answer, "shown")


@pytest.mark.parametrize("name", FIELDS)
async def test_a_field_of_a_document(name: str, told: Told) -> None:
    """The same in one piece."""
    said = json.loads(document({}))
    [choice] = said["choices"]
    choice["message"] |= DELTAS.get(name, {}) | {"content": f"{MARKED}shown"}
    said["choices"] = [CHOICES.get(name, {}) | choice]
    async with watched() as rig:
        rig.upstream.reply(
            response("200 OK", body=json.dumps(said | ENVELOPES.get(name, {})).encode())
        )
        answer = await rig.ask(chat(stream=False))
        assert await told.one(rig) == COMPLETED
    assert leaks(answer) == []
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "shown"


async def test_a_finish_of_its_own(told: Told) -> None:
    """A reason that nobody knows has room for anything."""
    finish = chunk({}, f"because {SECRET}")
    async with watched() as rig:
        answer = await streamed_by(rig, ROLE, text("shown"), finish, DONE)
        assert await told.one(rig) == COMPLETED
    assert leaks(answer) == []
    complete(answer, "shown")


@pytest.mark.parametrize("role", ROLES)
async def test_what_somebody_else_says(role: str, told: Told) -> None:
    """Only the assistant is shown."""
    async with watched() as rig:
        answer = await streamed_by(
            rig, ROLE, text("shown"), chunk({"role": role, "content": SECRET}), FINISH, DONE
        )
        await told.one(rig)
    assert leaks(answer) == []


# --- text -----------------------------------------------------------------------------------------

IN_TEXT: dict[str, list[bytes]] = {
    "in-one": [text(f"{MARKED}shown")],
    "escaped": [
        text("@").replace(b"@", f"\\u003cthink\\u003e{ESCAPED}\\u003c/think\\u003eshown".encode())
    ],
    "by-the-character": [text(each) for each in f"{MARKED}shown"],
    "with-pings-between": [
        part for each in f"{MARKED}shown" for part in (text(each), b": ping\n\n", chunk({}))
    ],
    "in-the-finish": [chunk({"content": f"shown{MARKED}"}, "stop")],
    "unclosed": [text(f"shown<think>{SECRET}")],
    "in-parts": [
        chunk({"content": [{"type": "text", "text": "<thi"}, {"type": "text", "text": "nk>"}]}),
        chunk({"content": [{"type": "text", "text": f"{SECRET}</think>"}]}),
        text("shown"),
    ],
    "one-index-twice": [
        event({"choices": [{"index": 0, "delta": {"content": "<thi"}},
                           {"index": 0, "delta": {"content": f"nk>{SECRET}</think>shown"}}]}),
    ],
    "reasoning-between": [text("<thi"), chunk({"reasoning": SECRET}), text(f"nk>{SECRET}</think>"),
                          text("shown")],
    "after-a-tool": [text("<tool_call>{"), text(f'"name": "f", "arguments": {{"q": "{SECRET}"}}'),
                     text("}</tool_call>shown")],
}  # fmt: skip


@pytest.mark.parametrize("name", IN_TEXT)
async def test_text(name: str, told: Told) -> None:
    """However it is written and wherever it is cut."""
    async with watched() as rig:
        answer = await streamed_by(rig, ROLE, *IN_TEXT[name], FINISH, DONE)
        assert await told.one(rig) == COMPLETED
    assert leaks(answer) == []
    complete(answer, "shown")


async def test_two_choices_that_take_turns() -> None:
    """A marker that is cut over both is none, and each hides its own."""
    turns = [
        part
        for one, other in zip(MARKED + "shown", MARKED + "shown", strict=True)
        for part in (text(one, index=0), text(other, index=1))
    ]
    ends = chunk({}, "stop", index=0) + chunk({}, "stop", index=1)
    async with proxied() as rig:
        answer = await streamed_by(rig, ROLE, *turns, ends, DONE)
    assert leaks(answer) == []
    for index in (0, 1):
        assert visible(answer.body, index) == "shown"


BY_OPTION = {
    "case_insensitive": f"<THINK>{SECRET}</Think>shown",
    "attributes": f'<think lang="en">{SECRET}</think>shown',
    "spaced_tags": f"< think >{SECRET}</ think >shown",
    "html_escaped": f"&lt;think&gt;{SECRET}&lt;/think&gt;shown",
}


@pytest.mark.parametrize("option", BY_OPTION)
async def test_tags_in_other_spellings(option: str) -> None:
    """By option, in a stream cut anywhere and in one piece."""
    wishes: dict[str, Any] = {option: True}
    async with proxied(rules=[rule(**wishes)]) as rig:
        answer = await streamed_by(rig, ROLE, *map(text, BY_OPTION[option]), FINISH, DONE)
        assert leaks(answer) == []
        complete(answer, "shown")
        rig.upstream.reply(response("200 OK", body=document({"content": BY_OPTION[option]})))
        answer = await rig.ask(chat(stream=False))
    assert leaks(answer) == []
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "shown"


# --- HTTP -----------------------------------------------------------------------------------------

HEADERS = (
    "X-Reasoning",
    "X-Thinking",
    "X-Debug",
    "X-Prompt",
    "Set-Cookie",
    "Link",
    "ETag",
    "Location",
    "Content-Location",
    "Content-Disposition",
    "Content-Language",
    "Content-MD5",
    "Digest",
    "Last-Modified",
    "Age",
    "Warning",
    "Via",
    "Server",
    "Server-Timing",
    "SourceMap",
    "Refresh",
    "Alt-Svc",
    "X-Sidecar-Status",
    "X-Accel-Redirect",
    "Trailer",
    "Keep-Alive",
    "Upgrade",
    "Proxy-Authenticate",
    "Transfer-Encoding-Hint",
)
FIELDS_OF_HTTP = tuple(f"{name}: {SECRET}" for name in HEADERS)
TRAILERS = b"0\r\n" + b"X-Reasoning: s3cr3t-k3y\r\n" * 50 + b"\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nX-Reasoning: s3cr3t-k3y\r\n\r\n"
SUITES = {each.name: Suite(each, ADAPTERS[each.name]) for each in WIRE_FORMATS}
WHOLE = [Piece(Kind.TEXT, MARKED), Piece(Kind.TEXT, "shown"), Piece(Kind.FINISH, "stop")]


def with_secret_reason(head: bytes) -> bytes:
    """A head whose reason phrase says it."""
    return head.replace(b"200 OK", b"200 s3cr3t-k3y", 1)


@per_format
async def test_http_around_a_stream(wire_format: WireFormat, told: Told) -> None:
    """Early hints, the reason, headers and trailers are upstream's, and none of them leaves."""
    suite = SUITES[wire_format.name]
    head = stream_head(*FIELDS_OF_HTTP, content_type=suite.framing.content_type)
    async with watched() as rig:
        rig.upstream.reply(EARLY + with_secret_reason(head) + framed(suite.sent(WHOLE)) + TRAILERS)
        answer = await rig.ask(chat(path=wire_format.path))
        assert await told.one(rig, route=wire_format.name) == COMPLETED
    assert leaks(answer) == []
    assert answer.head.start == "HTTP/1.1 200 OK"
    assert suite.read(answer.body).visible == {0: "shown"}


@per_format
async def test_http_around_a_document(wire_format: WireFormat, told: Told) -> None:
    """The same in one piece, and where it is an error."""
    suite = SUITES[wire_format.name]
    async with watched() as rig:
        rig.upstream.reply(
            EARLY + with_secret_reason(response("200 OK", *FIELDS_OF_HTTP, body=suite.body(WHOLE)))
        )
        answer = await rig.ask(chat(path=wire_format.path, stream=False))
        assert await told.one(rig, route=wire_format.name) == COMPLETED
        assert leaks(answer) == []
        assert suite.read_document(answer.body).visible == {0: "shown"}
        for status in ("400 s3cr3t-k3y", "500 s3cr3t-k3y"):
            rig.upstream.reply(EARLY + response(status, *FIELDS_OF_HTTP, body=b"s3cr3t-k3y"))
            failed = await rig.ask(chat(path=wire_format.path, stream=False))
            assert failed.status == int(status[:3])
            assert leaks(failed) == []


AROUND_EVENTS = {
    "comments": b": s3cr3t-k3y\n\n:s3cr3t-k3y\n\n",
    "names": b"event: s3cr3t-k3y\n\n",
    "ids": b"id: s3cr3t-k3y\n\n",
    "retry": b"retry: s3cr3t-k3y\n\n",
    "unknown-fields": b"s3cr3t-k3y\ns3cr3t-k3y: 1\nDATA: s3cr3t-k3y\n data: s3cr3t-k3y\n\n",
    "error-field": b'error: {"message":"s3cr3t-k3y"}\n\n',
    "empty-data": b"data:\nevent: s3cr3t-k3y\n\n",
}
OF_EVENTS = [each for each in WIRE_FORMATS if SUITES[each.name].framing is not LINES]


@pytest.mark.parametrize("name", AROUND_EVENTS)
@pytest.mark.parametrize("wire_format", OF_EVENTS, ids=[each.name for each in OF_EVENTS])
async def test_what_stands_around_events(wire_format: WireFormat, name: str, told: Told) -> None:
    """Comments, names, ids and the rest are upstream's; the client gets events and their data."""
    suite = SUITES[wire_format.name]
    blocks = [suite.one(each) for each in suite.adapter.events(WHOLE)]
    around = AROUND_EVENTS[name]
    # Alone between the events, and as a part of each.
    within = around.strip(b"\n").replace(b"\n\n", b"\n") + b"\n" if name != "empty-data" else b""
    if name == "names":
        within = b""  # the last name would be that of the event, which tells what it is
    stream = b"".join(around + within + block for block in blocks) + suite.framing.mark
    async with watched() as rig:
        head = stream_head(content_type=suite.framing.content_type)
        rig.upstream.reply(head + framed(stream) + LAST)
        answer = await rig.ask(chat(path=wire_format.path))
        assert await told.one(rig, route=wire_format.name) == COMPLETED
    assert leaks(answer) == []
    assert suite.read(answer.body).visible == {0: "shown"}


BODIES: dict[str, tuple[str, bytes]] = {
    "byte-order-mark": ("application/json", b"\xef\xbb\xbf" + document({"content": MARKED})),
    "utf-16": ("application/json", document({"content": MARKED}).decode().encode("utf-16")),
    "utf-32": ("application/json", document({"content": MARKED}).decode().encode("utf-32")),
    "utf-7": ("application/json; charset=utf-7", b'{"choices":[{"message":{"content":"+AHM-'
              b's3cr3t-k3y"}}]}\xff'),
    "javascript": ("application/javascript", b"callback(" + document({"content": SECRET}) + b")"),
    "json-sequence": ("application/json-seq", b"\x1e" + document({"content": SECRET}) + b"\n"),
    "problem": ("application/problem+json", document({"content": SECRET})),
    "multipart": ("multipart/mixed; boundary=x", b"--x\r\n\r\n" + document({"content": SECRET})),
    "xml": ("application/xml", f"<think>{SECRET}</think>".encode()),
}  # fmt: skip


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize("name", BODIES)
async def test_a_body_in_another_writing(name: str, stream: bool, told: Told) -> None:
    """What a client could read, and no rule can, does not pass."""
    content_type, body = BODIES[name]
    async with watched() as rig:
        rig.upstream.reply(response("200 OK", body=body, content_type=content_type))
        answer = await rig.ask(chat(stream=stream))
        assert (await told.one(rig)).outcome in ("completed", "upstream_error")
    assert leaks(answer) == []
    assert b"\xff" not in answer.body


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": f"cannot go on after <think>{SECRET}</think>"}},
        {"error": {"message": "m", "param": SECRET + " x", "code": f"not {SECRET}"}},
        {"error": {"message": "m", "metadata": {"raw": SECRET}}, "prompt": SECRET},
        {"detail": [{"loc": ["body"], "msg": "bad", "input": SECRET, "ctx": {"x": SECRET}}]},
        {"detail": {"error": {"message": "m", "debug": SECRET}}},
        {"message": "m", "object": "error", "stack": SECRET},
    ],
    ids=["marked", "code-and-param", "metadata", "validation", "detail", "flat"],
)
async def test_an_error_that_echoes(body: Any, told: Told) -> None:
    """What it quotes stays, in an answer of its own and in a stream."""
    async with watched() as rig:
        rig.upstream.reply(response("400 Bad", body=json.dumps(body).encode()))
        answer = await rig.ask(chat())
        assert answer.status == 400
        assert leaks(answer) == []
        answer = await streamed_by(rig, ROLE, event(body), text(SECRET), FINISH, DONE)
        assert len(await told.all(rig)) == 2
    if "error" in body:
        assert leaks(answer) == []


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        "X-Sidecar-Rule: none",
        "X-Sidecar-Mode: observe",
        "X-Sidecar-Filter: off",
        "X-Sidecar-Status: typed",
        "Cache-Control: no-transform",
        "Accept: application/x-ndjson",
        "Accept-Encoding: gzip, br",
        "Range: bytes=5-",
        "If-Range: x",
        "TE: trailers",
        "Prefer: return=representation",
        "X-Forwarded-Uri: /v1/models",
        "X-Original-URL: /v1/models",
        "X-HTTP-Method-Override: GET",
        "User-Agent: kube-probe/1.30",
        "Upgrade: h2c",
    ],
)
async def test_no_header_of_a_request_loosens_a_rule(field: str) -> None:
    """The rule is chosen by what it says, and by nothing else."""
    async with proxied() as rig:
        stream = framed(ROLE + text(MARKED + "shown") + FINISH + DONE)
        rig.upstream.reply(stream_head() + stream + LAST)
        answer = await rig.ask(chat(field))
        [call] = rig.upstream.calls
    assert leaks(answer) == []
    complete(answer, "shown")
    name = field.partition(":")[0]
    if name.startswith("X-Sidecar") or name in ("Range", "If-Range", "TE", "Upgrade"):
        assert call.request.all(name) == []


async def test_another_path_is_no_way_round() -> None:
    """A path that some server takes for the same is not served."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=document({"content": MARKED})))
        for path in ("/v1//chat/completions", "/v1/chat/completions/", "/v1/chat/%63ompletions"):
            answer = await rig.ask(chat(path=path, stream=False))
            assert answer.status == 404
        assert rig.upstream.calls == []
