"""Upstreams that answer with something else: none of it reaches a client that was promised a
filter, and what only passes is not read in two ways."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import repeat
from typing import Any

import pytest

from sidecar.server.app import serving
from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    Rig,
    chat,
    configured,
    document,
    event,
    framed,
    proxied,
    request,
    response,
    stream_head,
    streamed,
    text,
)

from .verdicts import COMPLETED, SECRET, Ended, Told, complete, refused, watched
from .wires import flood, reset

HTML = b"<html>s3cr3t-k3y</html>"
SHOWN = document({"content": "shown"})
HIDDEN = document({"content": SECRET})
WHOLE = ROLE + text("shown") + FINISH + DONE
MALFORMED, CLOSED = "upstream_malformed", "upstream_closed"


def head(*fields: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """The head of an answer with these fields, and a length if one is given."""
    lines = [f"HTTP/1.1 {status}", *fields]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


JSON, EVENTS = "Content-Type: application/json", "Content-Type: text/event-stream"

# --- answers that are none ------------------------------------------------------------------------

NO_ANSWERS = {
    # types
    "html": response("200 OK", body=HTML, content_type="text/html"),
    "text": response("200 OK", body=HTML, content_type="text/plain"),
    "octets": response("200 OK", body=HTML, content_type="application/octet-stream"),
    "ndjson": response("200 OK", body=event({"a": SECRET}), content_type="application/x-ndjson"),
    "no-type": response("200 OK", body=HIDDEN, content_type=None),
    "json-as-html": response("200 OK", body=HIDDEN, content_type="text/html"),
    "sse-as-text": response("200 OK", body=text(SECRET), content_type="text/plain"),
    "sse-as-stream+json": response(
        "200 OK", body=text(SECRET), content_type="application/stream+json"
    ),
    "a-list-of-types": response(
        "200 OK", body=text(SECRET), content_type="text/event-stream, text/html"
    ),
    # documents
    "no-json": response("200 OK", body=b"s3cr3t-k3y"),
    "json-string": response("200 OK", body=b'"s3cr3t-k3y"'),
    "json-nan": response("200 OK", body=b'{"choices":[],"x":NaN,"y":"s3cr3t-k3y"}'),
    "json-lines": response("200 OK", body=HIDDEN + b"\n" + HIDDEN),
    "no-choices": response("200 OK", body=b'{"content":"s3cr3t-k3y"}'),
    "choices-string": response("200 OK", body=b'{"choices":"s3cr3t-k3y"}'),
    "choices-twice": response("200 OK", body=b'{"choices":[],"choices":["s3cr3t-k3y"]}'),
    "not-utf-8": response(
        "200 OK", body=b'{"choices":[{"message":{"content":"\xff s3cr3t-k3y"}}]}'
    ),
    "utf-16": response(
        "200 OK", body=HIDDEN.decode().encode("utf-16"),
        content_type="application/json; charset=utf-16",
    ),
    "empty": response("200 OK", body=b""),
    "white-space": response("200 OK", body=b" \n" * 99),
    # statuses
    "201": response("201 Created", body=HIDDEN),
    "202": response("202 Accepted", body=HIDDEN),
    "203": response("203 Non-Authoritative", body=HIDDEN),
    "204": head("X: s3cr3t-k3y", status="204 s3cr3t-k3y"),
    "204-with-a-body": head(JSON, status="204 No", length=len(HIDDEN)) + HIDDEN,
    "205": response("205 Reset"),
    "206": response("206 Partial", "Content-Range: bytes 0-9/*", body=HIDDEN),
    "226": response("226 IM Used", "IM: feed", body=HIDDEN),
    "300": response("300 s3cr3t-k3y", body=HTML),
    "301": response("301 Moved", "Location: http://s3cr3t-k3y/", body=HTML),
    "302": response("302 Found", "Location: /v1/s3cr3t-k3y", body=HTML),
    "303": response("303 Other", "Location: /v1/s3cr3t-k3y", body=HTML),
    "307": response("307 Temporary", "Location: http://127.0.0.1:1/s3cr3t-k3y"),
    "308": response("308 Permanent", "Location: /v1/chat/completions"),
    "304": head("ETag: s3cr3t-k3y", status="304 Not Modified"),
    "101": head("Connection: upgrade", "Upgrade: x", status="101 Switching")
    + response("200 OK", body=HIDDEN),
    "101-without-a-protocol": head(status="101 Switching") + response("200 OK", body=HIDDEN),
    "103-with-a-body": head("Link: s3cr3t-k3y", status="103 Early", length=10)
    + b"s3cr3t-k3y" + response("200 OK", body=HIDDEN),
    # what is no HTTP
    "no-http": b"s3cr3t-k3y\r\n\r\n",
    "ssh": b"SSH-2.0-s3cr3t-k3y\r\n",
    "tls-alert": b"\x15\x03\x01\x00\x02\x02\x0a",
    "http/0.9": HTML,
    "http/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18),
    "http-9.9": b"HTTP/9.9 200 s3cr3t-k3y\r\n\r\n",
    "status-000": head(status="000 s3cr3t-k3y"),
    "status-2000": head(status="2000 s3cr3t-k3y"),
    "status-negative": head(status="-1 s3cr3t-k3y"),
    "status-no-number": head(status="s3cr3t-k3y"),
    "cr-in-the-reason": head(JSON, status="200 a\rs3cr3t-k3y", length=len(HIDDEN)) + HIDDEN,
    "field-without-a-colon": head("s3cr3t-k3y"),
    # framing
    "length-no-number": head("Content-Length: s3cr3t-k3y"),
    "length-signed": head(JSON, f"Content-Length: +{len(HIDDEN)}") + HIDDEN,
    "length-negative": head(JSON, "Content-Length: -1") + HIDDEN,
    "length-over-64-bits": head(JSON, "Content-Length: 99999999999999999999") + HIDDEN,
    "length-list": head(JSON, f"Content-Length: {len(HIDDEN)}, {len(HIDDEN)}") + HIDDEN,
    "length-twice": head(JSON, "Content-Length: 5", length=len(HIDDEN)) + HIDDEN,
    "length-and-chunked": head(JSON, "Transfer-Encoding: chunked", length=len(HIDDEN))
    + framed(HIDDEN) + LAST,
    "coded-and-chunked": head(JSON, "Transfer-Encoding: gzip, chunked") + framed(HIDDEN) + LAST,
    "chunked-twice": head(JSON, "Transfer-Encoding: chunked, chunked") + framed(HIDDEN) + LAST,
    "coded": head(JSON, "Transfer-Encoding: gzip") + HIDDEN,
    # sizes
    "field-huge": head("X: s3cr3t-k3y" + "x" * 70_000),
    "name-huge": head("s3cr3t-k3y" + "x" * 70_000 + ": 1"),
    "reason-huge": head(JSON, status="200 s3cr3t-k3y" + "x" * 70_000),
    "fields-many": head(*["X: s3cr3t-k3y"] * 500),
}  # fmt: skip


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_what_is_no_answer(name: str, stream: bool, told: Told) -> None:
    """502 with an error object of our own, and no word of upstream's; it is asked once, and nobody
    else is."""
    async with watched(first_byte=2.0, idle=2.0) as rig:
        rig.upstream.reply(NO_ANSWERS[name])
        answer = await rig.ask(chat(stream=stream))
        assert len(rig.upstream.calls) == 1
        how = await told.one(rig)
    refused(answer, 502, str(how.error))
    assert how in (Ended("upstream_error", MALFORMED), Ended("upstream_error", CLOSED))


# --- answers that are odd, and mean one thing -----------------------------------------------------

EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: s3cr3t-k3y\r\nX-Reasoning: s3cr3t-k3y\r\n\r\n"
ODD_ANSWERS = {
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + response("200 OK", body=SHOWN),
    "processing": b"HTTP/1.1 102 s3cr3t-k3y\r\n\r\n" + response("200 OK", body=SHOWN),
    "early-hints": EARLY * 3 + response("200 OK", body=SHOWN),
    "flood-of-early-hints": EARLY * 5000 + response("200 OK", body=SHOWN),
    "reason-of-its-own": response("200 s3cr3t-k3y", body=SHOWN),
    "nul-in-the-reason": response("200 a\x00s3cr3t-k3y", body=SHOWN),
    "no-reason": head(JSON, status="200", length=len(SHOWN)) + SHOWN,
    "http/1.0": head(JSON).replace(b"HTTP/1.1", b"HTTP/1.0") + SHOWN,
    "lines-end-in-lf": head(JSON, length=len(SHOWN)).replace(b"\r\n", b"\n") + SHOWN,
    "folded-line": head("X: a\r\n s3cr3t-k3y", JSON, length=len(SHOWN)) + SHOWN,
    "blank-line-before": b"\r\n" + response("200 OK", body=SHOWN),
    "another-answer-behind": response("200 OK", body=SHOWN) + response("200 OK", body=HIDDEN),
    "large-field": response("200 OK", "X: s3cr3t-k3y" + "x" * 60_000, body=SHOWN),
    "many-fields": response("200 OK", *["X: s3cr3t-k3y"] * 120, body=SHOWN),
    "another-charset": response(
        "200 OK", body=SHOWN, content_type="application/json; charset=s3cr3t-k3y"
    ),
    "type-in-capitals": response("200 OK", body=SHOWN, content_type="Application/JSON"),
    "two-types": response("200 OK", JSON, "Content-Type: text/html", body=SHOWN, content_type=None),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_ANSWERS)
async def test_an_answer_that_is_odd_and_clear(name: str, told: Told) -> None:
    """It is filtered, and nothing that is beside it passes."""
    async with watched() as rig, await rig.client() as client:
        rig.upstream.reply(ODD_ANSWERS[name])
        answer = await client.ask(chat(stream=False))
        assert await told.one(rig) == COMPLETED
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await client.ask(request("GET", "/v1/models"))).body == b"{}"
    assert answer.body == SHOWN
    assert answer.head.start == "HTTP/1.1 200 OK"
    assert answer.head.all("Content-Type") == ["application/json"]
    assert SECRET not in str(answer.head)


@pytest.mark.parametrize(
    "content_type",
    [
        "Text/Event-Stream",
        "text/event-stream; charset=utf-8",
        "text/event-stream;",
        "text/event-stream; charset=utf-16",
        "text/event-stream\r\nContent-Type: text/html",
    ],
)
async def test_ways_to_write_the_type_of_a_stream(content_type: str) -> None:
    """All of them are one: a stream is UTF-8 whatever it says (HTML Standard, 9.2.6)."""
    async with proxied() as rig:
        rig.upstream.reply(stream_head(content_type=content_type) + framed(WHOLE) + LAST)
        answer = await rig.ask(chat())
    complete(answer, "shown")
    assert answer.head.one("Content-Type") == "text/event-stream"


async def test_json_where_a_stream_was_asked_for(told: Told) -> None:
    """A whole answer is an answer, and filtered as one."""
    async with watched() as rig:
        rig.upstream.reply(
            response("200 OK", body=document({"content": f"<think>{SECRET}</think>shown"}))
        )
        answer = await rig.ask(chat(stream=True))
        assert await told.one(rig) == COMPLETED
    assert answer.body == SHOWN
    assert answer.head.one("Content-Type") == "application/json"


async def test_a_stream_where_none_was_asked_for(told: Told) -> None:
    """It is filtered as what it says it is."""
    async with watched() as rig:
        rig.upstream.reply(streamed(ROLE, text(f"<think>{SECRET}</think>shown"), FINISH, DONE))
        answer = await rig.ask(chat(stream=False))
        assert await told.one(rig) == COMPLETED
    complete(answer, "shown")


async def test_a_document_over_the_limit(told: Told) -> None:
    """It is not collected further than the limit, and upstream is left."""
    async with watched(event_limit=10_000) as rig, rig.call(chat(stream=False)) as (client, call):
        await call.request_body()
        await call.send(response("200 OK", body=b" " * 50_000)[:-20_000])
        answer = await client.answer()
        await call.gone()
        how = await told.one(rig)
    refused(answer, 502, "upstream_answer_too_large")
    assert how == Ended("upstream_error", "upstream_answer_too_large")


async def test_a_head_that_never_ends() -> None:
    """The bound is met on the way: whoever sends on and on is left."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(b"HTTP/1.1 200 OK\r\n")
        await flood(call, repeat(b"X: s3cr3t-k3y\r\n" * 1000))
        refused(await client.answer(), 502, MALFORMED)


# --- answers behind answers -----------------------------------------------------------------------

FORGED = response("200 OK", "X-Forged: 1", body=b"s3cr3t-k3y")
BEHIND = {
    "length": response("200 OK", body=b"{}") + FORGED,
    "chunked": stream_head(content_type="application/json") + framed(b"{}") + LAST + FORGED,
    "trailers": stream_head(content_type="application/json") + framed(b"{}")
    + b"0\r\nX-Forged: s3cr3t-k3y\r\n\r\n" + FORGED,
    "no-body": head(status="204 No") + FORGED,
    "not-modified": head(status="304 Not Modified") + FORGED,
    "too-long": response("200 OK", body=b"{}") + b"s3cr3t-k3y",
}  # fmt: skip


@pytest.mark.parametrize("name", BEHIND)
async def test_a_forged_answer_behind_an_answer(name: str) -> None:
    """It is nobody's: not this client's, and not the next one's."""
    async with proxied() as rig, await rig.client() as client:
        for _ in range(3):
            await client.send(request("GET", "/v1/models"))
            call = await rig.upstream.accept()
            await call.send(BEHIND[name])
            answer = await client.answer(empty=name in ("no-body", "not-modified"))
            assert answer.status in (200, 204, 304, 502)
            assert answer.head.all("X-Forged") == []
            assert SECRET not in answer.body.decode()
        client.writer.write_eof()
        assert await client.gone() == b""


async def test_a_forged_answer_that_comes_late() -> None:
    """The same when the next request is already on its way."""
    async with proxied() as rig, await rig.client() as client, await rig.client() as other:
        await client.send(request("GET", "/v1/models?1"))
        first = await rig.upstream.accept()
        await first.send(response("200 OK", body=b"1"))
        assert (await client.answer()).body == b"1"
        with suppress(ConnectionError):  # it was left, which is as good
            await first.send(FORGED)
        await other.send(request("GET", "/v1/models?2"))
        second = await rig.upstream.accept()
        assert second.request.target == "/v1/models?2"
        await second.send(response("200 OK", body=b"2"))
        assert (await other.answer()).body == b"2"


async def test_a_body_in_answer_to_head() -> None:
    """Head has none (RFC 9110, 9.3.2), whatever upstream sends: the next answer is in step."""
    async with proxied() as rig, await rig.client() as client:
        rig.upstream.reply(response("200 OK", body=b"s3cr3t-k3y"))
        await client.send(request("HEAD", "/v1/models"))
        assert (await client.answer(empty=True)).status in (200, 502)
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await client.ask(request("GET", "/v1/models"))).body == b"{}"


# --- answers to what was not asked yet ------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (streamed(ROLE, text("shown"), FINISH, DONE), 200),
        (response("429 Slow", "Retry-After: 7", body=b'{"error":{"message":"m"}}'), 429),
        (response("413 Large", body=b'{"error":{"message":"m"}}'), 413),
    ],
    ids=["stream", "429", "413"],
)
async def test_an_answer_before_the_request_is_sent_whole(
    raw: bytes, status: int, told: Told
) -> None:
    """It is the answer, though upstream has not read the request and never will."""
    async with watched() as rig, rig.call(chat(filler="x" * 20_000_000)) as (client, call):
        await call.send(raw)
        answer = await client.answer()
        await call.gone()
        how = await told.one(rig)
    assert answer.status == status
    if status == 200:
        complete(answer, "shown")
        assert how == COMPLETED
    else:
        assert answer.error["message"] == "m"
        assert how == Ended("upstream_error", "upstream_error")


@pytest.mark.parametrize("end", [lambda call: call.finish(), reset], ids=["fin", "rst"])
async def test_a_connection_closed_before_the_request_is_sent_whole(
    end: Callable[[Any], None], told: Told
) -> None:
    """502, in our words."""
    async with watched() as rig, rig.call(chat(filler="x" * 20_000_000)) as (client, call):
        end(call)
        answer = await client.answer()
        how = await told.one(rig)
    refused(answer, 502, CLOSED)
    assert how == Ended("upstream_error", CLOSED)


# --- headers with control characters --------------------------------------------------------------


@pytest.mark.parametrize("value", ["a\x01b", "a\x0bb", "a\x7fb", "a\xffb", "a\x85b", "a\rb"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_control_characters_in_a_response_header(path: str, value: str) -> None:
    """The field is dropped or the answer refused; nothing is injected and nothing fails."""
    async with proxied() as rig, await rig.client() as client:
        rig.upstream.reply(
            response("200 OK", f"X-Request-Id: {value}", "Retry-After: 1", body=SHOWN)
        )
        answer = await client.ask(chat(path=path))
        assert answer.status in (200, 502)
        if answer.status == 200:
            assert answer.body == SHOWN
            assert answer.head.one("Retry-After") == "1"
        found = answer.head.one("X-Request-Id")
        assert found is None or found.isprintable()
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await client.ask(request("GET", "/v1/models"))).body == b"{}"


@pytest.mark.parametrize("name", ["x-ratelimit-\x01", "x-ratelimit-\xe9", "x-ratelimit- a", "x-r:"])
async def test_odd_names_of_response_headers(name: str) -> None:
    """The same for names that are none."""
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", f"{name}: 1", body=SHOWN))
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


# --- no answer at all -----------------------------------------------------------------------------


def unreachable(answer: Answer) -> None:
    """502, in our words."""
    refused(answer, 502, "upstream_unreachable")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
async def test_it_is_down_and_comes_back(path: str) -> None:
    """502, at once, for every request until it is back; then it is asked again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        async with proxied() as rig:
            config = configured(f"http://127.0.0.1:{port}/v1")
            async with serving(config) as running:
                behind = Rig(rig.upstream, running)
                for _ in range(3):
                    unreachable(await behind.ask(chat(path=path)))
                taken.listen()
                taken.setblocking(False)
                asking = asyncio.create_task(behind.ask(chat(path=path, stream=False)))
                connection, _ = await asyncio.get_running_loop().sock_accept(taken)
                with connection:
                    await asyncio.get_running_loop().sock_sendall(
                        connection, response("200 OK", body=SHOWN)
                    )
                    assert (await asking).body == SHOWN


async def test_its_name_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where its name cannot be resolved."""
    asked = []

    async def fail(host: str, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, SECRET)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    async with proxied() as rig, serving(configured("http://upstream.invalid/v1")) as running:
        unreachable(await Rig(rig.upstream, running).ask(chat()))
    assert set(asked) == {"upstream.invalid"}
