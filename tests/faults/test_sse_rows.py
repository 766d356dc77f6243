"""Bad event streams, row by row: whole in one segment, and a few bytes at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Call,
    chat,
    chunk,
    document,
    event,
    framed,
    stream_head,
    text,
)

from .verdicts import COMPLETED, SECRET, Ended, Told, broken, complete, watched

THOUGHT = chunk({"reasoning_content": SECRET}) + text(f"<think>{SECRET}</think>")
ONE, TWO = text("one "), text("two")
AFTER = text(SECRET) + FINISH + DONE
"""What follows an event after which nothing is trusted."""


class Row(NamedTuple):
    """One stream. ``code`` is that of the error in which it must end; None: it is complete, and
    shows ``shown``, or of an error what came before it."""

    name: str
    stream: bytes
    code: str | None = None
    shown: str = "one two"


def good(name: str, *parts: bytes, shown: str = "one two") -> Row:
    """An answer with ``parts`` in its middle that does not suffer from them."""
    return Row(name, b"".join((ROLE, THOUGHT, ONE, *parts, TWO, FINISH, DONE)), None, shown)


def bad(name: str, *parts: bytes, code: str = "upstream_malformed") -> Row:
    """An answer that ends with ``parts``, whatever follows them."""
    return Row(name, b"".join((ROLE, THOUGHT, ONE, *parts, AFTER)), code, "one ")


def unfinished(name: str, *parts: bytes, code: str = "upstream_incomplete") -> Row:
    """The same of an answer that has no end."""
    return Row(name, b"".join((ROLE, THOUGHT, ONE, *parts)), code, "one ")


def ended(name: str, *parts: bytes) -> Row:
    """An answer with its finish, and ``parts`` in the place of its end mark."""
    return Row(name, b"".join((ROLE, THOUGHT, ONE, TWO, FINISH, *parts)))


WHOLE = ROLE + THOUGHT + ONE + TWO + FINISH + DONE
BOM = b"\xef\xbb\xbf"


def mixed(stream: bytes) -> bytes:
    """Each event with another kind of line end."""
    ends = (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n")
    blocks = stream.split(b"\n\n")[:-1]
    return b"".join(block + ends[number % len(ends)] for number, block in enumerate(blocks))


def over_lines(value: bytes) -> bytes:
    """An event as data lines, of which each ends after a comma."""
    return value.replace(b",", b",\ndata: ")


LINES = [
    Row("crlf", WHOLE.replace(b"\n", b"\r\n")),
    Row("cr-only", WHOLE.replace(b"\n", b"\r")),
    Row("mixed-eol", mixed(WHOLE)),
    Row("bom", BOM + WHOLE),
    good("bom-mid", BOM + text(SECRET)),
    Row("no-space", WHOLE.replace(b"data: ", b"data:")),
    Row("two-spaces", WHOLE.replace(b"data: ", b"data:  ").replace(b"  [DONE]", b" [DONE]")),
    Row("tab-after-colon", WHOLE.replace(b"data: {", b"data:\t{")),
    good("field-case", b"DATA: " + text(SECRET)[6:], b"Data: " + text(SECRET)[6:]),
    good("field-space", b" data: " + text(SECRET)[6:], b"data : " + text(SECRET)[6:]),
    good("comments", b": ping\n\n", b":\n\n", b": ping\n" + text("and ")[:-1] + b": pong\n\n",
         shown="one and two"),
    good("comment-leak", b": s3cr3t-k3y\n\n", text("and ")[:-1] + b":s3cr3t-k3y\n\n",
         shown="one and two"),
    good("event-name-leak", b"event: s3cr3t-k3y\n" + text("and "), b"event: s3cr3t-k3y\n\n",
         shown="one and two"),
    good("id-leak", b"id: s3cr3t-k3y\n" + text("and "), b"id: s3cr3t-k3y\n\n",
         shown="one and two"),
    good("retry-leak", b"retry: s3cr3t-k3y\n" + text("and "), b"retry: 1\n\n",
         shown="one and two"),
    good("unknown-field-leak", b"s3cr3t-k3y\n" + text("and "), b"error: s3cr3t-k3y\n\n",
         b"s3cr3t-k3y: 1\n\n", shown="one and two"),
    good("multi-data", over_lines(text("and ")), shown="one and two"),
    bad("multi-data-in-string", b'data: {"choices":[{"index":0,"delta":{"content":"s3cr3t-k3y\n'
        b'data: "}}]}\n\n'),
    good("empty-data", b"data:\n\n", b"data: \n\n", b"data\n\n", b"event: error\ndata:\n\n"),
    good("glued", text("and ")[:-1] + b"\n" + text("more "), shown="one and more two"),
    bad("glued-by-one-lf", text(SECRET)[:-1] + text(SECRET)),
]  # fmt: skip

ENDS = [
    ended("no-final-blank", b"data: [DONE]\n"),
    ended("no-final-newline", b"data: [DONE]"),
    ended("no-done"),
    ended("double-done", DONE, DONE),
    ended("done-space", b"data: [DONE] \n\n"),
    ended("done-no-space", b"data:[DONE]\n\n"),
    ended("done-then-more", DONE, text(SECRET), THOUGHT),
    ended("text-after-finish", text(SECRET), THOUGHT, DONE),
    ended("never-ended-after-finish", text(SECRET)[:-2]),
    unfinished("no-finish", DONE),
    unfinished("done-early", DONE, text(SECRET), FINISH),
    unfinished("done-in-lower-case", b"data: [done]\n\n", code="upstream_malformed"),
    unfinished("no-finish-no-done"),
    unfinished("no-finish-in-hidden", text(f"<think>{SECRET}")),
    unfinished("unterminated-last-event", b'data: {"choices":[{"delta":{"content":"s3cr3t-k3y'),
    unfinished("unterminated-last-event-full-json", text(SECRET)[:-2]),
    unfinished("unterminated-with-one-newline", text(SECRET)[:-1]),
    Row("held-text", ROLE + text("one <thi"), "upstream_incomplete", "one <thi"),
    Row("empty-stream", b"", "upstream_incomplete", ""),
    Row("only-comments", b": ping\n\n" * 9, "upstream_incomplete", ""),
]

BYTES = [
    Row("split-utf8", ROLE + text("né 模型 🤔 ").replace(b"n\\u00e9", "né".encode())
        + event({"choices": [{"index": 0, "delta": {"content": "two"}}]}) + FINISH + DONE,
        None, "né 模型 🤔 two"),
    good("raw-utf8", json_event := b"data: " + json.dumps(
        {"choices": [{"index": 0, "delta": {"content": "模型 🤔 "}}]}, ensure_ascii=False
    ).encode() + b"\n\n", shown="one 模型 🤔 two"),
    bad("invalid-utf8", text("\xff")[:-20].replace(b"\\u00ff", b"\xff s3cr3t-k3y") + b'"}}]}\n\n'),
    bad("invalid-utf8-cut", json_event.replace("型".encode(), "型".encode()[:2])),
    bad("overlong-utf8", b'data: {"choices":[{"delta":{"content":"\xc0\xbcthink> s3cr3t-k3y"}}]}'
        b"\n\n"),
    bad("surrogate-bytes", b'data: {"choices":[{"delta":{"content":"\xed\xa0\xbd s3cr3t-k3y"}}]}'
        b"\n\n"),
    Row("utf16-body", WHOLE.decode().encode("utf-16"), "upstream_incomplete", ""),
    good("u2028", b"data: " + json.dumps({"choices": [{"index": 0, "delta": {
        "content": "a\u2028b\u2029c\u0085d\u000be\u001cf "}}]}, ensure_ascii=False).encode()
        + b"\n\n", shown="one a\u2028b\u2029c\u0085d\u000be\u001cf two"),
    good("nul-bytes", text("a\x00b "), shown="one a\x00b two"),
    bad("raw-nul", b'data: {"choices":[{"delta":{"content":"\x00 s3cr3t-k3y"}}]}\n\n'),
    good("nul-in-a-field-name", b"\x00" + text(SECRET)),
    good("surrogates", event({"choices": [{"index": 0, "delta": {"content": "\ud83e"}}]}),
         event({"choices": [{"index": 0, "delta": {"content": "\udd14"}}]}), shown="one 🤔two"),
]  # fmt: skip


def odd(choices: Any, **more: Any) -> bytes:
    """A chunk whose choices are whatever."""
    return event({"id": "chatcmpl-1", "choices": choices} | more)


def first(**choice: Any) -> bytes:
    """A chunk with one choice that is whatever."""
    return odd([{"index": 0} | choice])


JSON = [
    bad("bad-json", b'data: {"choices":[{"delta":{"content":"s3cr3t-k3y"}\n\n'),
    bad("bad-json-prefix", b'data: s3cr3t-k3y {"choices":[]}\n\n'),
    bad("bad-json-trailing", b'data: {"choices":[]} s3cr3t-k3y\n\n'),
    bad("bad-json-two-values", b'data: {"choices":[]}{"x":"s3cr3t-k3y"}\n\n'),
    bad("bad-json-single-quotes", b"data: {'choices': 's3cr3t-k3y'}\n\n"),
    bad("bad-json-control", b'data: {"x":"s3cr3t-k3y\x01"}\n\n'),
    bad("bad-json-comment", b'data: {"choices":[]/* s3cr3t-k3y */}\n\n'),
    bad("bad-json-deep", b"data: " + b"[" * 100_000 + b"\n\n"),
    bad("bad-json-deep-valid", b'data: {"x":' + b"[" * 5000 + b"]" * 5000 + b"}\n\n"),
    good("bad-json-bigint", b'data: {"created":' + b"9" * 4000 + b',"choices":[]}\n\n'),
    good("json-exponent", b'data: {"created":1e400,"choices":[]}\n\n'),
    bad("json-nan", b'data: {"created":NaN,"x":"s3cr3t-k3y"}\n\n'),
    bad("json-infinity", b'data: {"created":-Infinity,"x":"s3cr3t-k3y"}\n\n'),
    bad("json-scalar-string", b'data: "s3cr3t-k3y"\n\n'),
    bad("json-scalar-number", b"data: 7\n\n"),
    bad("json-null", b"data: null\n\n"),
    bad("json-array", b'data: ["s3cr3t-k3y"]\n\n'),
    bad("plain-text-data", b"data: s3cr3t-k3y\n\n"),
    bad("html-as-data", b"data: <html>s3cr3t-k3y</html>\n\n"),
    bad("ndjson-as-sse", b'{"message":{"content":"s3cr3t-k3y"}}\n' * 3 + b"\ndata: x\n\n"),
    Row("ndjson-labelled-sse", b'{"message":{"content":"s3cr3t-k3y"},"done":true}\n' * 3,
        "upstream_incomplete", ""),
    Row("json-labelled-sse", document({"content": SECRET}), "upstream_incomplete", ""),
]  # fmt: skip

TYPES = [
    good("bad-type-choices-null", odd(None)),
    good("bad-type-choices-object", odd({"delta": {"content": SECRET}})),
    good("bad-type-choices-string", odd(SECRET)),
    bad("bad-type-choices-strings", odd([SECRET])),
    good("bad-type-delta-null", first(delta=None)),
    good("bad-type-delta-string", first(delta=SECRET)),
    good("bad-type-delta-list", first(delta=[{"content": SECRET}])),
    good("bad-type-content-number", first(delta={"content": 5})),
    good("bad-type-content-object", first(delta={"content": {"text": SECRET}})),
    # Nobody with an odd role is the assistant: what follows may be anybody's.
    good("bad-type-role", first(delta={"role": {"x": SECRET}}), shown="one "),
    good("bad-type-tool-calls", first(delta={"tool_calls": SECRET}),
         first(delta={"tool_calls": [SECRET]})),
    good("bad-type-finish", first(delta={}, finish_reason={"x": SECRET})),
    good("bad-type-usage", odd([], usage=SECRET), odd([], usage={"x": SECRET})),
    good("message-in-a-stream", first(message={"content": SECRET})),
    *(
        bad(f"bad-index-{index}", odd([{"index": index, "delta": {"content": SECRET}}]))
        for index in (-1, 1.5, "0", 20_000, True, [0])
    ),
    good("no-index", odd([{"delta": {"content": "and "}}]), shown="one and two"),
    bad("dup-keys-top", b'data: {"choices":[],"choices":["s3cr3t-k3y"]}\n\n'),
    bad("dup-keys-choice", b'data: {"choices":[{"index":0,"delta":{},"delta":{"content":'
        b'"s3cr3t-k3y"}}]}\n\n'),
    bad("dup-keys-delta", b'data: {"choices":[{"index":0,"delta":{"content":"a","content":'
        b'"s3cr3t-k3y"}}]}\n\n'),
    bad("dup-keys-escaped", b'data: {"choices":[{"index":0,"delta":{"content":"a",'
        b'"c\\u006fntent":"s3cr3t-k3y"}}]}\n\n'),
    good("escaped-keys", b'data: {"choices":[{"index":0,"delta":{"reasoning_c\\u006fntent":'
         b'"s3cr3t-k3y"}}]}\n\n'),
    good("escaped-marker", b'data: {"choices":[{"index":0,"delta":{"content":'
         b'"\\u003cthink\\u003es3cr3t-k3y\\u003c/think\\u003e"}}]}\n\n'),
    good("key-case", chunk({"REASONING": SECRET, "Reasoning_Content": SECRET, "Content": SECRET})),
    good("empty-object", event({})),
    good("empty-deltas", *[chunk({})] * 20),
    good("azure-first", odd([], prompt_filter_results=[{"x": SECRET}]), first(finish_reason=None)),
    good("error-null", odd([], error=None)),
]  # fmt: skip

ROWS = [*LINES, *ENDS, *BYTES, *JSON, *TYPES]


async def at_once(call: Call, stream: bytes) -> None:
    """Head and stream in one segment."""
    await call.send(stream_head(), framed(stream) if stream else b"", LAST)


async def dripping(call: Call, stream: bytes) -> None:
    """A few bytes at a time, each in a segment and a chunk of its own."""
    await call.send(stream_head())
    step = max(1, min(3, len(stream) // 1000))
    for at in range(0, min(len(stream), 6000), step):
        await call.send(framed(stream[at : at + step]))
        await asyncio.sleep(0)  # everyone has a turn
    rest = stream[6000:]
    await call.send(framed(rest) if rest else b"", LAST)


@pytest.mark.parametrize("send", [at_once, dripping])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_a_row(row: Row, send: Callable[[Call, bytes], Any], told: Told) -> None:
    """It comes out complete, or ends in a clear error after the text that was complete before."""
    async with watched() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        sending = asyncio.create_task(_send(send, call, row.stream))
        answer = await client.answer()
        await sending
        how = await told.one(rig)
    if row.code is None:
        complete(answer, row.shown)
        assert how == COMPLETED
    else:
        broken(answer, row.shown, row.code)
        assert how == Ended("upstream_incomplete", row.code)


async def _send(send: Callable[[Call, bytes], Any], call: Call, stream: bytes) -> None:
    try:
        await send(call, stream)
        call.finish()
    except ConnectionError:
        pass  # it was left: the error is certain


def test_the_names_are_ids() -> None:
    """No row hides another."""
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
