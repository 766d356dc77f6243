"""Bad input from either side: what the client sees is one clear error, soon, and nothing hidden."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib

import pytest

from sidecar.server import requestbody
from sidecar.server.app import serving

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    Record,
    Rig,
    chat,
    chunk,
    configured,
    document,
    event,
    framed,
    payloads,
    proxied,
    request,
    response,
    stream_head,
    streamed,
    text,
    visible,
)

SECRET = "s3cr3t-k3y"
BEFORE = ROLE + text("before")


def assert_ends_in_error(body: bytes, code: str) -> Record:
    """The text so far, one error that every SDK raises, the end mark; nothing of the secret."""
    *before, error, end = payloads(body)
    assert end == "[DONE]"
    assert set(error) == {"error"}
    assert set(error["error"]) == {"message", "type", "code", "param"}
    assert error["error"]["code"] == code
    assert error["error"]["message"]
    assert not [p for p in before if p == "[DONE]" or "error" in p]
    assert not [c for p in before for c in p.get("choices", ()) if c["finish_reason"]]
    assert SECRET.encode() not in body
    return dict(error["error"])


# --- events that cannot be read -----------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        b'data: {"choices":[{"delta":{"content":"s3cr3t-k3y"}\n\n',
        b"data: s3cr3t-k3y\n\n",
        b"data: {'choices': 's3cr3t-k3y'}\n\n",
        b'data: {"a":"s3cr3t-k3y"} trailing\n\n',
        b'data: {"choices":[],"choices":["s3cr3t-k3y"]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xff s3cr3t-k3y"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xc0\xbcthink> s3cr3t-k3y"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xed\xa0\x80 s3cr3t-k3y"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\x00 s3cr3t-k3y"}}]}\n\n',
        'data: {"choices":[{"delta":{"content":"s3cr3t-k3y"}}]}\n\n'.encode("utf-16"),
        b'data: {"created":NaN,"x":"s3cr3t-k3y"}\n\n',
        b'data: "s3cr3t-k3y"\n\n',
        b'data: ["s3cr3t-k3y"]\n\n',
        b"data: 7\n\n",
        b'data: {"choices":["s3cr3t-k3y"]}\n\n',
        b'data: {"choices":[{"index":-1,"delta":{"content":"s3cr3t-k3y"}}]}\n\n',
        b'data: {"choices":[{"index":20000,"delta":{"content":"s3cr3t-k3y"}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"choices":[{"index":0,\ndata: "delta":{"content":"s3cr3t-k3y\ndata: "}}]}\n\n',
    ],
    ids=[
        "cut", "no-json", "single-quotes", "trailing", "twice", "not-utf-8", "overlong",
        "surrogate-bytes", "raw-nul", "utf-16", "nan", "string", "array", "number",
        "choices-strings", "index-negative", "index-huge", "deep",
        "newline-in-string",
    ],
)  # fmt: skip
async def test_an_event_that_cannot_be_judged(bad: bytes) -> None:
    """It is not forwarded, what follows is not trusted, and upstream is left."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE))
        await call.send(framed(bad + text(SECRET) + FINISH + DONE))
        answer = await client.answer()
        await call.gone()
    if bad.startswith(b"\xff\xfe"):  # no event can be seen in UTF-16, the next one ends it
        assert SECRET.encode() not in answer.body
        return
    assert answer.status == 200
    assert visible(answer.body) == "before"
    assert_ends_in_error(answer.body, "upstream_malformed")


@pytest.mark.parametrize(
    "odd",
    [
        event({"choices": None}),
        event({"choices": SECRET}),
        event({}),
        chunk({"content": 5}),
        chunk({"content": {"text": SECRET}}),
        event({"choices": [{"index": 0, "delta": None}]}),
        event({"choices": [{"index": 0, "delta": SECRET}]}),
        event({"choices": [{"index": 0, "message": {"content": SECRET}}]}),
        chunk({"role": None}),
        chunk({"tool_calls": SECRET}),
        chunk({"tool_calls": [SECRET]}),
        chunk({"Reasoning_Content": SECRET}),
        b'data: {"choices":[{"index":0,"delta":{"reasoning_c\\u006fntent":"s3cr3t-k3y"}}]}\n\n',
        b"DATA: " + text(SECRET)[6:],
        b" data: " + text(SECRET)[6:],
        b"\xef\xbb\xbf" + text(SECRET),
        b": " + SECRET.encode() + b"\n\n",
        b"event: s3cr3t-k3y\nid: s3cr3t-k3y\nretry: 1\ns3cr3t-k3y\n\n",
        b"event: error\ndata:\n\n",
        b"data\n\n",
    ],
)
async def test_an_odd_event_is_no_reason_to_stop(odd: bytes) -> None:
    """It is dropped, or what can be kept of it is, and the answer goes on."""
    async with proxied() as rig:
        rig.upstream.reply(streamed(ROLE, odd, text("shown"), FINISH, DONE))
        answer = await rig.ask(chat())
    assert visible(answer.body) == "shown"
    assert SECRET.encode() not in answer.body
    assert payloads(answer.body)[-2]["choices"][0]["finish_reason"] == "stop"
    assert payloads(answer.body)[-1] == "[DONE]"


async def test_an_endless_comment_is_bounded() -> None:
    """A line that never ends is an event over the limit, be it a comment."""
    async with proxied(event_limit=10_000) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE), framed(b": " + b"x" * 11_000))
        answer = await client.answer()
        await call.gone()
    assert_ends_in_error(answer.body, "upstream_event_too_large")


# --- streams that end too soon, or do not end ---------------------------------------------------

UNFINISHED = [
    ("eof", streamed(BEFORE)),
    ("eof-mid-event", streamed(BEFORE, b'data: {"choices":[{"delta":{"content":"s3cr3t-k3y"}}]}')),
    ("done", streamed(BEFORE, DONE)),
    ("death", stream_head() + framed(BEFORE)),
    ("death-mid-event", stream_head() + framed(BEFORE + b'data: {"choices":["s3cr3t-k3y')),
    ("death-mid-chunk", stream_head() + framed(BEFORE) + b"ff\r\ndata: s3cr3t-k3y"),
    ("death-while-hidden", stream_head() + framed(BEFORE + text("<think>s3cr3t-k3y"))),
    (
        "length",
        response("200 OK", body=BEFORE + b"x" * 99, content_type="text/event-stream")[:-99],
    ),
    (
        "close-delimited",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + BEFORE,
    ),
]


@pytest.mark.parametrize(
    "raw", [raw for _, raw in UNFINISHED], ids=[name for name, _ in UNFINISHED]
)
async def test_an_answer_without_a_finish(raw: bytes) -> None:
    """It never looks finished."""
    async with proxied() as rig:
        rig.upstream.reply(raw)
        answer = await rig.ask(chat())
    assert visible(answer.body) == "before"
    assert_ends_in_error(answer.body, "upstream_incomplete")


async def test_held_text_is_delivered_before_the_error() -> None:
    """A tail that might have become a marker is text, now that nothing follows."""
    async with proxied() as rig:
        rig.upstream.reply(streamed(BEFORE, text(" <thi")))
        answer = await rig.ask(chat())
    assert visible(answer.body) == "before <thi"
    assert_ends_in_error(answer.body, "upstream_incomplete")


@pytest.mark.parametrize(
    "raw",
    [
        streamed(BEFORE, FINISH),
        stream_head() + framed(BEFORE + FINISH),
        streamed(BEFORE, FINISH, b"data: [DONE]"),
        streamed(BEFORE, FINISH, b"data: [DONE]\n"),
        streamed(BEFORE, FINISH, b"data: [DONE] \n\n"),
        streamed(BEFORE, FINISH, b"data:[DONE]\n\n"),
        streamed(BEFORE, FINISH, DONE, DONE, text(SECRET)),
        streamed(BEFORE, FINISH, text(SECRET), DONE),
    ],
    ids=[
        "no-done",
        "death",
        "no-blank",
        "no-line-end",
        "space",
        "no-space",
        "twice",
        "after-finish",
    ],
)
async def test_an_answer_with_a_finish(raw: bytes) -> None:
    """It is whole, whatever becomes of its end mark, which comes once and last."""
    async with proxied() as rig:
        rig.upstream.reply(raw)
        answer = await rig.ask(chat())
    found = payloads(answer.body)
    assert visible(answer.body) == "before"
    assert found[-2]["choices"][0]["finish_reason"] == "stop"
    assert found.count("[DONE]") == 1
    assert found[-1] == "[DONE]"
    assert not [p for p in found[:-1] if "error" in p]


@pytest.mark.parametrize("bad", [b"zz\r\nxx\r\n", b"-5\r\n", b"\r\n\r\n", b"5\r\nabcdefgh\r\n"])
async def test_a_framing_error_in_the_body(bad: bytes) -> None:
    """The idle time ends what the parser does not."""
    async with proxied(idle=0.3, seconds=5) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE))
        await client.head()
        first = await client.chunk()
        await call.send(bad)
        rest = b"".join([data async for data in client.chunks()])
        await call.gone()
    assert first == BEFORE
    error = payloads(rest)[-2]["error"]
    assert error["code"] in ("upstream_timeout", "upstream_incomplete", "upstream_malformed")
    assert payloads(rest)[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_framing_error_at_the_start_of_the_body(stream: bool) -> None:
    """The same before the first event, and in a document."""
    content_type = "text/event-stream" if stream else "application/json"
    async with (
        proxied(idle=0.3, first_byte=0.3, seconds=5) as rig,
        rig.call(chat(stream=stream)) as (client, call),
    ):
        await call.request_body()
        await call.send(stream_head(content_type=content_type))
        await call.send(b"zz\r\nxx\r\n")
        answer = await client.answer()
    if answer.status == 200:  # the head was there before the error was
        assert payloads(answer.body)[-1] == "[DONE]"
        assert "error" in payloads(answer.body)[-2]
    else:
        assert answer.status in (502, 504)
        assert answer.error["type"] == "upstream_error"


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
async def test_upstream_never_answers(rules: tuple[object, ...] | None) -> None:
    """504 after the time for the first byte, and the connection is closed."""
    async with (
        proxied(rules=rules, first_byte=0.3, seconds=5) as rig,
        rig.call(chat()) as (client, call),
    ):
        await call.request_body()
        answer = await client.answer()
        await call.gone()
    assert answer.status == 504
    assert answer.error["code"] == "upstream_timeout"


@pytest.mark.parametrize("stream", [True, False])
async def test_upstream_sends_a_head_and_no_more(stream: bool) -> None:
    """The first byte of the body is waited for as long as for the head."""
    async with (
        proxied(first_byte=0.3, seconds=5) as rig,
        rig.call(chat(stream=stream)) as (client, call),
    ):
        await call.request_body()
        if stream:
            await call.send(stream_head())
        else:
            await call.send(response("200 OK", body=b"{}")[:-2])
        answer = await client.answer()
        await call.gone()
    if stream:
        assert_ends_in_error(answer.body, "upstream_timeout")
    else:
        assert answer.status == 504
        assert answer.error["code"] == "upstream_timeout"


async def test_upstream_falls_silent() -> None:
    """What was said, then the error, then the end."""
    async with proxied(idle=0.3, seconds=5) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE + text(" <thi")))
        answer = await client.answer()
        await call.gone()
    assert visible(answer.body) == "before <thi"
    assert_ends_in_error(answer.body, "upstream_timeout")


async def test_upstream_falls_silent_after_the_finish() -> None:
    """The answer is whole; only its end mark is missing."""
    async with proxied(idle=0.3, seconds=5) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE + FINISH))
        answer = await client.answer()
        await call.gone()
    assert answer.body == BEFORE + FINISH + DONE


async def test_a_slow_stream_is_not_cut() -> None:
    """The idle time is that between two reads: together they may take longer."""
    async with proxied(idle=1.0, first_byte=1.0) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(ROLE))
        await client.head()
        assert await client.chunk() == ROLE
        for number in range(6):
            await asyncio.sleep(0.25)  # the passing of time is what is tested
            await call.send(framed(text(str(number))))
            assert await client.chunk() == text(str(number))


# --- answers that are no answers ----------------------------------------------------------------

HTML = b"<html>s3cr3t-k3y</html>"


def is_own_error(answer: Answer, status: int, code: str) -> None:
    """An error object of ours, in JSON, that repeats nothing."""
    assert answer.status == status
    assert answer.error["code"] == code
    assert answer.error["type"] == ("upstream_error" if status >= 500 else "invalid_request_error")
    assert answer.head.one("Content-Type") == "application/json"
    assert answer.head.one("Server") == "sidecar"
    assert SECRET not in answer.body.decode() + str(answer.head)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "raw",
    [
        response("200 OK", body=HTML, content_type="text/html"),
        response("200 OK", body=HTML, content_type="text/plain"),
        response("200 OK", body=HTML, content_type="application/octet-stream"),
        response("200 OK", body=event({"a": SECRET}), content_type="application/x-ndjson"),
        response("200 OK", body=document({"content": SECRET}), content_type=None),
        response("200 OK", body=document({"content": SECRET}), content_type="text/html"),
        response("200 OK", "Content-Encoding: s3cr3t-k3y", body=document({"content": SECRET})),
        response("200 OK", "Content-Encoding: gzip", body=b"s3cr3t-k3y"),
        response("200 OK", "Content-Encoding: br", body=b"s3cr3t-k3y"),
        response("200 OK", "Content-Encoding: zstd", body=b"s3cr3t-k3y"),
        response("200 OK", "Content-Encoding: gzip, gzip", body=gzip.compress(b"s3cr3t-k3y")),
        response("200 OK", body=b"s3cr3t-k3y"),
        response("200 OK", body=b'"s3cr3t-k3y"'),
        response("200 OK", body=b'{"content":"s3cr3t-k3y"}'),
        response("200 OK", body=b'{"choices":"s3cr3t-k3y"}'),
        response("200 OK", body=b'{"choices":[],"choices":["s3cr3t-k3y"]}'),
        response("200 OK", body=b'{"choices":[{"message":{"content":"\xff s3cr3t-k3y"}}]}'),
        response("200 OK", body=b""),
        response("200 OK", body=document({"content": SECRET}))[:-5],
        response("201 Created", body=document({"content": SECRET})),
        response("202 Accepted", body=document({"content": SECRET})),
        b"HTTP/1.1 204 s3cr3t-k3y\r\n\r\n",
        response("206 Partial", "Content-Range: bytes 0-9/*", body=document({"content": SECRET})),
        response("300 s3cr3t-k3y", body=HTML),
        response("301 Moved", "Location: http://s3cr3t-k3y/", body=HTML),
        response("307 Temporary", "Location: http://127.0.0.1:1/s3cr3t-k3y"),
        b"HTTP/1.1 304 Not Modified\r\nETag: s3cr3t-k3y\r\n\r\n",
        b"s3cr3t-k3y\r\n\r\n",
        b"HTTP/9.9 200 s3cr3t-k3y\r\n\r\n",
        b"HTTP/1.1 2000 s3cr3t-k3y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ns3cr3t-k3y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: s3cr3t-k3y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: s3cr3t-k3y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\ns3cr3t-k3y",
        b"",
    ],
    ids=[
        "html", "text", "octets", "ndjson", "no-type", "json-as-html", "coding-unknown",
        "gzip-broken", "br", "zstd", "gzip-twice", "no-json", "json-string", "no-choices",
        "choices-string", "choices-twice", "not-utf-8", "empty", "cut", "201", "202", "204",
        "206", "300", "301", "307", "304", "no-http", "http-9", "status-2000", "field-without",
        "length-no-number", "field-huge", "fields-many", "head-cut", "101", "nothing",
    ],
)  # fmt: skip
async def test_what_is_no_answer_is_a_bad_gateway(raw: bytes, stream: bool) -> None:
    """502 with an error object of our own, and no word of upstream's."""
    async with proxied(seconds=5, first_byte=2.0, idle=2.0) as rig:
        rig.upstream.reply(raw)
        answer = await rig.ask(chat(stream=stream))
        assert len(rig.upstream.calls) == 1
    assert answer.status == 502
    assert answer.error["code"] in ("upstream_malformed", "upstream_incomplete")
    is_own_error(answer, 502, answer.error["code"])


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "deflate"])
async def test_a_stream_in_a_broken_coding(coding: str) -> None:
    """What cannot be decoded is an error, before the head or in the stream."""
    async with proxied(seconds=5, first_byte=2.0, idle=2.0) as rig:
        rig.upstream.reply(
            stream_head(f"Content-Encoding: {coding}") + framed(SECRET.encode() * 99) + LAST
        )
        answer = await rig.ask(chat())
    if answer.status == 200:
        *_, error, end = payloads(answer.body)
        assert error["error"]["type"] == "upstream_error"
        assert end == "[DONE]"
    else:
        assert answer.status == 502
        assert answer.error["type"] == "upstream_error"
    assert SECRET.encode() not in answer.body


async def test_a_compressed_stream_that_is_cut() -> None:
    """What was decoded is delivered, and the rest is missed."""
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(BEFORE) + packer.flush(zlib.Z_SYNC_FLUSH)
    async with proxied() as rig:
        rig.upstream.reply(stream_head("Content-Encoding: gzip") + framed(packed) + LAST)
        answer = await rig.ask(chat())
    assert visible(answer.body) == "before"
    assert_ends_in_error(answer.body, "upstream_incomplete")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_bomb(stream: bool) -> None:
    """A hundred megabytes in a hundred kilobytes are an answer over the limit."""
    packer = zlib.compressobj(wbits=31)
    block = b"x" * 1_000_000
    packed = packer.compress(b"data: ") + b"".join(packer.compress(block) for _ in range(100))
    content_type = "text/event-stream" if stream else "application/json"
    async with proxied(event_limit=100_000, seconds=10) as rig:
        rig.upstream.reply(
            response(
                "200 OK", "Content-Encoding: gzip", body=packed + packer.flush(),
                content_type=content_type,
            )
        )  # fmt: skip
        answer = await rig.ask(chat(stream=stream))
    assert b"xxxx" not in answer.body
    if stream:
        assert payloads(answer.body)[-1] == "[DONE]"
        assert payloads(answer.body)[-2]["error"]["type"] == "upstream_error"
    else:
        is_own_error(answer, 502, answer.error["code"])


async def test_a_document_over_the_limit() -> None:
    """It is not collected further than the limit."""
    async with proxied(event_limit=10_000) as rig, rig.call(chat(stream=False)) as (client, call):
        await call.request_body()
        await call.send(response("200 OK", body=b" " * 50_000)[:-20_000])
        answer = await client.answer()
        await call.gone()
    is_own_error(answer, 502, "upstream_answer_too_large")


async def test_json_where_a_stream_was_asked_for() -> None:
    """A whole answer is an answer, and filtered as one."""
    async with proxied() as rig:
        rig.upstream.reply(
            response("200 OK", body=document({"content": "<think>s3cr3t-k3y</think>shown"}))
        )
        answer = await rig.ask(chat(stream=True))
    assert answer.body == document({"content": "shown"})
    assert answer.head.one("Content-Type") == "application/json"


async def test_a_stream_where_none_was_asked_for() -> None:
    """It is filtered as what it says it is."""
    async with proxied() as rig:
        rig.upstream.reply(streamed(ROLE, text("<think>s3cr3t-k3y</think>shown"), FINISH, DONE))
        answer = await rig.ask(chat(stream=False))
    assert visible(answer.body) == "shown"
    assert SECRET.encode() not in answer.body
    assert answer.head.one("Content-Type") == "text/event-stream"


@pytest.mark.parametrize(
    "content_type", ["Text/Event-Stream", "text/event-stream; charset=utf-8", "text/event-stream;"]
)
async def test_ways_to_write_the_type_of_a_stream(content_type: str) -> None:
    """All of them are one."""
    async with proxied() as rig:
        rig.upstream.reply(
            stream_head(content_type=content_type) + framed(BEFORE + FINISH + DONE) + LAST
        )
        answer = await rig.ask(chat())
    assert answer.body == BEFORE + FINISH + DONE
    assert answer.head.one("Content-Type") == "text/event-stream"


# --- no answer at all ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
async def test_upstream_is_down(path: str) -> None:
    """502, at once, for every request until it is back."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        async with proxied() as rig:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
            async with serving(configured(url)) as running:
                for _ in range(3):
                    answer = await Rig(rig.upstream, running).ask(chat(path=path))
                    is_own_error(answer, 502, "upstream_unreachable")


# --- headers with control characters ------------------------------------------------------------


@pytest.mark.parametrize("value", ["a\x01b", "a\x0bb", "a\x7fb", "a\xffb", "a\x85b", "a\rb"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_control_characters_in_a_response_header(path: str, value: str) -> None:
    """The field is dropped or the answer refused; nothing is injected and nothing fails."""
    async with proxied() as rig, await rig.client() as client:
        rig.upstream.reply(
            response(
                "200 OK", f"X-Request-Id: {value}", "Retry-After: 1",
                body=document({"content": "a"}),
            )
        )  # fmt: skip
        answer = await client.ask(chat(path=path))
        assert answer.status in (200, 502)
        if answer.status == 200:
            assert answer.body == document({"content": "a"})
            assert answer.head.one("Retry-After") == "1"
        found = answer.head.one("X-Request-Id")
        assert found is None or found.isprintable()
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await client.ask(request("GET", "/v1/models"))).body == b"{}"


@pytest.mark.parametrize("name", ["x-ratelimit-\x01", "x-ratelimit-\xe9", "x-ratelimit- a", "x-r:"])
async def test_odd_names_of_response_headers(name: str) -> None:
    """The same for names that are none."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", f"{name}: 1", body=document({"content": "a"})))
        answer = await rig.ask(chat())
        assert answer.status in (200, 502)
        assert all(found.isascii() and found.isprintable() for found, _ in answer.head.fields)


@pytest.mark.parametrize("status", ["999 Odd", "600 Odd", "418 Teapot"])
async def test_odd_statuses(status: str) -> None:
    """An error is an error, whatever its number."""
    async with proxied() as rig:
        rig.upstream.reply(response(status, body=HTML))
        answer = await rig.ask(chat())
    assert answer.status in (int(status[:3]), 502)
    assert answer.error["type"] in ("upstream_error", "invalid_request_error")
    assert SECRET.encode() not in answer.body


async def test_upstream_resets_the_connection() -> None:
    """What was read before counts, the rest is an error."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE))
        await client.head()
        first = await client.chunk()
        call.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0"
        )
        call.abort()
        rest = b"".join([data async for data in client.chunks()])
    assert first == BEFORE
    assert_ends_in_error(rest, "upstream_incomplete")


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
async def test_client_leaves_while_upstream_floods(rules: tuple[object, ...] | None) -> None:
    """A write that fails ends the request, and is nobody's error."""
    async with proxied(rules=rules) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE))
        await client.head()
        await client.chunk()

        async def flood() -> None:
            while True:
                await call.send(framed(text("x" * 10_000)))

        flooding = asyncio.create_task(flood())
        await client.chunk()
        client.abort()
        with pytest.raises(ConnectionError):
            await flooding


# --- requests that are none ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"s3cr3t-k3y",
        b'{"model":"s3cr3t-k3y"',
        b'{"model":"s3cr3t-k3y"} {}',
        b'{"model":"a","model":"s3cr3t-k3y"}',
        b'{"stream":true,"str\\u0065am":false,"x":"s3cr3t-k3y"}',
        b'{"messages":[{"role":"user","role":"s3cr3t-k3y"}]}',
        b'{"model":"\xff s3cr3t-k3y"}',
        b'{"temperature":NaN,"x":"s3cr3t-k3y"}',
        b'["s3cr3t-k3y"]',
        b'"s3cr3t-k3y"',
        b"null",
        b"[" * 100_000,
        '{"model":"s3cr3t-k3y"}'.encode("utf-16"),
    ],
)
async def test_a_body_that_cannot_be_read(body: bytes) -> None:
    """400, what is wrong in a few words, and nothing reaches upstream."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK"))
        answer = await rig.ask(request("POST", "/v1/chat/completions", body=body))
        assert rig.upstream.calls == []
    is_own_error(answer, 400, "invalid_json")


@pytest.mark.parametrize("declared", [True, False], ids=["length", "chunked"])
async def test_a_body_over_the_limit(declared: bool) -> None:
    """413, also for a client that reads nothing before it has sent everything."""
    body = b'{"model":"' + b"x" * 200_000 + b'"}'
    path = "/v1/chat/completions"
    raw = (
        request("POST", path, body=body)
        if declared
        else request("POST", path, "Transfer-Encoding: chunked") + framed(body) + LAST
    )
    async with proxied(request_limit=10_000) as rig:
        rig.upstream.reply(response("200 OK"))
        answer = await rig.ask(raw)
        assert rig.upstream.calls == []
    is_own_error(answer, 413, "request_too_large")


async def test_a_body_at_the_limit() -> None:
    """The limit itself is allowed."""
    raw = chat()
    size = len(raw.partition(b"\r\n\r\n")[2])
    async with proxied(request_limit=size) as rig:
        rig.upstream.reply(streamed(BEFORE, FINISH, DONE))
        assert (await rig.ask(raw)).status == 200
    async with proxied(request_limit=size - 1) as rig:
        assert (await rig.ask(raw)).status == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "x-y"])
async def test_a_compressed_chat_request(coding: str) -> None:
    """415: what it says cannot be read, so no rule can be chosen."""
    asked = request(
        "POST", "/v1/chat/completions", f"Content-Encoding: {coding}",
        body=gzip.compress(b'{"model":"m"}'),
    )  # fmt: skip
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK"))
        answer = await rig.ask(asked)
        assert rig.upstream.calls == []
    is_own_error(answer, 415, "unsupported_encoding")


MALFORMED = [
    b"GET /v1/models s3cr3t-k3y HTTP/1.1\r\nHost: x\r\n\r\n",
    b"s3cr3t-k3y\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization s3cr3t-k3y\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization : s3cr3t-k3y\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: a\r\n s3cr3t-k3y\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: s3cr3t-k3y\x00\r\n\r\n",
    b"GET /v1/models HTTP/1.1\nHost: s3cr3t-k3y\n\n",
    b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: s3cr3t-k3y\r\n\r\n",
    b"POST /v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n"
    b"\r\ns3cr3t-k3y",
    b"POST /v1/files HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: s3cr3t-k3y\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: s3cr3t-k3y"
    + b"x" * 200_000
    + b"\r\n\r\n",
    b"GET /v1/models?k=s3cr3t-k3y" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03s3cr3t-k3y\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("raw", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_not_http_is_not_quoted(raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It may be a key or a prompt: neither the client nor the log gets it back."""
    caplog.set_level("DEBUG")
    async with proxied() as rig, await rig.client() as client:
        await client.send(raw)
        answer = await client.answer()
        rest = await client.gone()
        assert rig.upstream.calls == []
    is_own_error(answer, answer.status, "bad_request")
    assert 400 <= answer.status < 500
    assert rest == b""
    assert SECRET not in caplog.text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
@pytest.mark.parametrize("bad", [b"zz\r\ns3cr3t-k3y\r\n", b"5\r\nabcdefghij\r\n"])
async def test_a_framing_error_in_a_request_body(
    path: str, bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not hang: the request ends with an error, and the upstream's with it."""
    monkeypatch.setattr(requestbody, "_IDLE", 0.3)
    head = request("POST", path, "Transfer-Encoding: chunked") + framed(b'{"mod')
    async with proxied(seconds=5) as rig, await rig.client() as client:
        await client.send(head)
        if path == "/v1/files":
            call = await rig.upstream.accept()
            assert await call.chunk() == b'{"mod'
        await client.send(bad)
        answer = await client.answer()
        if path == "/v1/files":
            assert LAST not in await call.gone()
    assert answer.status in (400, 408)
    is_own_error(answer, answer.status, answer.error["code"])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
async def test_a_request_body_that_does_not_arrive(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408 after the idle time of a request."""
    monkeypatch.setattr(requestbody, "_IDLE", 0.3)
    head = request("POST", path, "Content-Length: 100") + b"half"
    async with proxied(seconds=5) as rig, await rig.client() as client:
        await client.send(head)
        answer = await client.answer()
    is_own_error(answer, 408, "request_timeout")
