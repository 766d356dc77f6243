"""An upstream that dies, hangs or loses the thread: what it said counts, and nothing is made up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest

from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    Cut,
    Peer,
    chat,
    document,
    event,
    framed,
    proxied,
    request,
    response,
    stream_head,
    text,
)

from .verdicts import COMPLETED, SECRET, Ended, Told, broken, complete, refused, watched
from .wires import reset

BEFORE: Final = ROLE + text("before")
CHUNKED, CLOSING = stream_head(), b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
WITH_LENGTH = CLOSING.replace(b"\r\n\r\n", b"\r\nContent-Length: 9999\r\n\r\n")
INCOMPLETE = Ended("upstream_incomplete", "upstream_incomplete")
TIMEOUT = Ended("upstream_timeout", "upstream_timeout")
NO_ANSWER = Ended("upstream_error", "upstream_closed")

each_end = pytest.mark.parametrize("end", [Peer.finish, reset], ids=["fin", "rst"])
End = Callable[[Peer], None]

EMOJI = event({"choices": [{"index": 0, "delta": {"content": "x"}}]}).replace(b"x", "🤔".encode())


# --- it dies --------------------------------------------------------------------------------------

DEATHS = {
    "between-events": (CHUNKED, framed(BEFORE), b""),
    "mid-event": (CHUNKED, framed(BEFORE), framed(text(SECRET)[:-20])),
    "at-the-end-of-an-event": (CHUNKED, framed(BEFORE), framed(text(SECRET)[:-1])),
    "mid-utf-8": (CHUNKED, framed(BEFORE), framed(EMOJI[: EMOJI.index("🤔".encode()) + 2])),
    "mid-chunk": (CHUNKED, framed(BEFORE), framed(text(SECRET))[:-20]),
    "mid-chunk-size": (CHUNKED, framed(BEFORE), b"f"),
    "mid-hidden": (CHUNKED, framed(BEFORE + text("<think>")), framed(text(SECRET))),
    "before-the-last-chunk": (CHUNKED, framed(BEFORE), LAST[:-2]),
    "under-a-length": (WITH_LENGTH, BEFORE, text(SECRET)[:-20]),
    "close-delimited": (CLOSING, BEFORE, b""),
    "close-delimited-mid-event": (CLOSING, BEFORE, text(SECRET)[:-20]),
}
"""By where it dies: a head, what arrives of the body for certain, and what comes with the death."""


@each_end
@pytest.mark.parametrize("where", DEATHS)
async def test_it_dies_in_an_answer(where: str, end: End, told: Told) -> None:
    """The text that was complete, an error, and no finish: in each framing, by FIN and by RST."""
    head, arrives, last = DEATHS[where]
    async with watched() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(head, arrives)
        answer_head = await client.head()
        first = await client.chunk()
        await call.send(last)
        end(call)
        rest = b"".join([data async for data in client.chunks()])
        how = await told.one(rig)
    broken(Answer(answer_head, first + rest), "before", "upstream_incomplete")
    assert how == INCOMPLETE


@each_end
@pytest.mark.parametrize(
    ("said", "then"),
    [
        (framed(BEFORE + FINISH), b""),
        (framed(BEFORE + FINISH), framed(b"data: [DO")),
        (framed(BEFORE + FINISH), framed(text(SECRET)[:-20])),
        (framed(BEFORE + FINISH + DONE), b""),
        (framed(BEFORE + FINISH + DONE), framed(text(SECRET))),
    ],
    ids=["finish", "mid-mark", "mid-event", "done", "after-done"],
)
async def test_it_dies_when_all_was_said(said: bytes, then: bytes, end: End, told: Told) -> None:
    """An answer that has its finish is whole, whatever becomes of the connection."""
    async with watched() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), said)
        head = await client.head()
        first = await client.chunk()
        await call.send(then)
        end(call)
        rest = b"".join([data async for data in client.chunks()])
        assert await told.one(rig) == COMPLETED
    complete(Answer(head, first + rest), "before")


@each_end
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "said",
    [b"", b"HTT", b"HTTP/1.1 200 OK\r\nX: s3cr3t-k3y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"],
    ids=["nothing", "mid-status", "mid-head", "after-100"],
)
async def test_it_dies_before_it_answers(said: bytes, stream: bool, end: End, told: Told) -> None:
    """502: nothing was sent yet, so the status can say it."""
    async with watched() as rig, rig.call(chat(stream=stream)) as (client, call):
        await call.request_body()
        await call.send(said)
        end(call)
        answer = await client.answer()
        how = await told.one(rig)
    refused(answer, 502, "upstream_closed")
    assert how == NO_ANSWER


@each_end
@pytest.mark.parametrize(
    "raw",
    [
        response("200 OK", body=document({"content": SECRET}))[:-5],
        stream_head(content_type="application/json") + framed(document({"content": SECRET})),
        stream_head(content_type="application/json") + framed(document({"content": SECRET})[:-5]),
    ],
    ids=["length", "chunked", "chunked-mid-json"],
)
async def test_it_dies_in_a_document(raw: bytes, end: End, told: Told) -> None:
    """502, although upstream's status was 200: half a document is none."""
    async with watched() as rig, rig.call(chat(stream=False)) as (client, call):
        await call.request_body()
        await call.send(raw)
        end(call)
        answer = await client.answer()
        how = await told.one(rig)
    # A RST may overtake the head.
    code = how.error if end is reset else "upstream_incomplete"
    assert code in ("upstream_incomplete", "upstream_closed")
    refused(answer, 502, code)
    assert how == Ended("upstream_error", code)


async def test_a_document_that_ends_with_its_connection(told: Told) -> None:
    """Without a length its JSON says whether it is whole."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    async with watched() as rig:
        rig.upstream.reply(head + document({"content": "whole"}))
        assert (await rig.ask(chat(stream=False))).body == document({"content": "whole"})
        rig.upstream.reply(head + document({"content": SECRET})[:-5])
        refused(await rig.ask(chat(stream=False)), 502, "upstream_malformed")
        assert await told.all(rig) == [COMPLETED, Ended("upstream_error", "upstream_malformed")]


@each_end
@pytest.mark.parametrize(
    "head",
    [stream_head(content_type="audio/mpeg"), response("200 OK", body=b"x" * 99)[:-99]],
    ids=["chunked", "length"],
)
async def test_it_dies_in_what_only_passes(head: bytes, end: End, told: Told) -> None:
    """Half a file does not look like a file: the client's connection is cut too."""
    part = framed(b"x" * 50) if b"chunked" in head else b"x" * 50
    async with watched() as rig, rig.call(request("GET", "/v1/files/f")) as (client, call):
        await call.send(head, part)
        answer_head = await client.head()
        end(call)
        with pytest.raises(Cut):
            await client.body(answer_head)
        assert await told.one(rig, route="api") == INCOMPLETE


# --- it loses the thread --------------------------------------------------------------------------

BAD_CHUNKS = {
    "not-hex": b"zz\r\nxx\r\n",
    "negative": b"-5\r\ns3cr3t-k3y\r\n",
    "signed": b"+5\r\nabcde\r\n",
    "0x": b"0x5\r\nabcde\r\n",
    "empty": b"\r\n\r\n",
    "overrun": b"5\r\ns3cr3t-k3y\r\n",
    "no-end": b"5\r\nabcdeff\r\n",
    "huge": b"ffffffffffffffffff\r\ns3cr3t-k3y",
    "endless-size": b"0" * 70_000,
    "bare-lf": b"5\nabcde\n",
    "response-in-a-body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ns3cr3t-k3y",
}


@pytest.mark.parametrize("bad", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_bad_chunk(bad: bytes, told: Told) -> None:
    """The idle time ends what the parser does not."""
    async with watched(idle=0.3) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE))
        head = await client.head()
        first = await client.chunk()
        await call.send(bad)
        rest = b"".join([data async for data in client.chunks()])
        await call.gone()
        how = await told.one(rig)
    assert how in (TIMEOUT, INCOMPLETE)
    broken(Answer(head, first + rest), "before", str(how.error))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_bad_chunk_at_the_start_of_the_body(stream: bool, told: Told) -> None:
    """The same before the first event, and in a document."""
    content_type = "text/event-stream" if stream else "application/json"
    async with (
        watched(idle=0.3, first_byte=0.3) as rig,
        rig.call(chat(stream=stream)) as (client, call),
    ):
        await call.request_body()
        await call.send(stream_head(content_type=content_type))
        await call.send(b"zz\r\nxx\r\n")
        answer = await client.answer()
        how = await told.one(rig)
    assert how.error is not None
    if answer.status == 200:  # the head was there before the error was
        broken(answer, "", how.error)
    else:
        refused(answer, answer.status, how.error)
        assert answer.status in (502, 504)


# --- it hangs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX: s3"], ids=["nothing", "mid-head"])
async def test_it_never_answers(rules: tuple[object, ...] | None, said: bytes, told: Told) -> None:
    """504 after the time for the first byte, and the connection is closed."""
    async with (
        watched(rules=rules, first_byte=0.3) as rig,
        rig.call(chat()) as (client, call),
    ):
        await call.request_body()
        await call.send(said)
        answer = await client.answer()
        await call.gone()
        how = await told.one(rig)
    refused(answer, 504, "upstream_timeout")
    assert how == TIMEOUT


async def test_it_never_reads(told: Told) -> None:
    """The same where the request is larger than what the buffers on the way hold."""
    async with (
        watched(first_byte=0.3) as rig,
        rig.call(chat(filler="x" * 20_000_000)) as (client, _),
    ):
        # Its reader stops the transport at twice its limit.
        refused(await client.answer(), 504, "upstream_timeout")
        assert await told.one(rig) == TIMEOUT


@pytest.mark.parametrize("stream", [True, False])
async def test_a_head_and_no_more(stream: bool, told: Told) -> None:
    """The first byte of the body is waited for as long as for the head."""
    async with (
        watched(first_byte=0.3) as rig,
        rig.call(chat(stream=stream)) as (client, call),
    ):
        await call.request_body()
        await call.send(stream_head() if stream else response("200 OK", body=b"{}")[:-2])
        answer = await client.answer()
        await call.gone()
        how = await told.one(rig)
    if stream:
        broken(answer, "", "upstream_timeout")
    else:
        refused(answer, 504, "upstream_timeout")
    assert how == TIMEOUT


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (framed(BEFORE), "before"),
        (framed(BEFORE + b'data: {"choices":[{"delta":{"content":"s3cr3t-k3y'), "before"),
        (framed(BEFORE) + b"ff\r\ndata: s3cr3t-k3y", "before"),
        (framed(BEFORE + text("<think>s3cr3t-k3y")), "before"),
        (framed(BEFORE + text(" <thi")), "before <thi"),
    ],
    ids=["between-events", "mid-line", "mid-chunk", "hidden", "held"],
)
async def test_it_falls_silent(said: bytes, shown: str, told: Told) -> None:
    """What was said, what was held back of it, then the error, then the end."""
    async with watched(idle=0.3) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), said)
        answer = await client.answer()
        await call.gone()
        assert await told.one(rig) == TIMEOUT
    broken(answer, shown, "upstream_timeout")


async def test_it_falls_silent_in_a_document(told: Told) -> None:
    """504, since nothing was sent."""
    async with watched(idle=0.3) as rig, rig.call(chat(stream=False)) as (client, call):
        await call.request_body()
        await call.send(response("200 OK", body=document({"content": SECRET}))[:-5])
        answer = await client.answer()
        await call.gone()
        assert await told.one(rig) == TIMEOUT
    refused(answer, 504, "upstream_timeout")


async def test_it_falls_silent_after_the_finish(told: Told) -> None:
    """The answer is whole; only its end mark is missing."""
    async with watched(idle=0.3) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE + FINISH))
        answer = await client.answer()
        await call.gone()
        assert await told.one(rig) == COMPLETED
    assert answer.body == BEFORE + FINISH + DONE


async def test_it_does_not_close_after_its_end_mark(told: Told) -> None:
    """The answer is over at once."""
    async with watched() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE + FINISH + DONE))
        answer = await client.answer()
        await call.gone()
        assert await told.one(rig) == COMPLETED
    assert answer.body == BEFORE + FINISH + DONE


async def test_it_falls_silent_in_what_only_passes(told: Told) -> None:
    """The idle time ends it, and the client can see that it is not whole."""
    async with watched(idle=0.3) as rig, rig.call(request("GET", "/v1/files/f")) as (client, call):
        await call.send(stream_head(content_type="audio/mpeg"), framed(b"x"))
        with pytest.raises(Cut):
            await client.answer()
        await call.gone()
        assert await told.one(rig, route="api") == TIMEOUT


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
