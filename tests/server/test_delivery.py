"""When bytes move: at once, in one piece, and no further than somebody reads."""

from __future__ import annotations

import gzip
import os
import socket
import zlib
from collections.abc import Iterator

import pytest

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Call,
    Peer,
    chat,
    chunk,
    document,
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

STREAMING = stream_head()


async def test_each_event_arrives_before_the_next_is_sent() -> None:
    """The head, every event and the end are delivered without waiting for what follows."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.send(STREAMING)
        assert (await client.head()).status == 200
        for sent in (ROLE, text("one"), text(" two"), FINISH, DONE):
            await call.send(framed(sent))
            assert await client.chunk() == sent
        assert await client.chunk() == b""


async def test_hidden_events_write_nothing_and_the_next_visible_one_passes() -> None:
    """What is hidden leaves no empty write behind, which would end the body."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.send(STREAMING, framed(ROLE))
        await client.head()
        assert await client.chunk() == ROLE
        for _ in range(100):
            await call.send(framed(chunk({"reasoning_content": "hm"})))
        await call.send(framed(text("<think>and")), framed(text(" more</think>")))
        await call.send(framed(text("answer")))
        assert visible(await client.chunk()) == "answer"


async def test_held_text_is_released_by_the_finish() -> None:
    """A tail that may still be a marker waits, and comes before the finish chunk."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.send(STREAMING, framed(ROLE))
        await client.head()
        assert await client.chunk() == ROLE
        await call.send(framed(text("a <thi")))
        assert visible(await client.chunk()) == "a "
        await call.send(framed(FINISH))
        out = await client.chunk()
        assert visible(out) == "<thi"
        assert payloads(out)[-1]["choices"][0]["finish_reason"] == "stop"


async def test_one_read_is_one_write() -> None:
    """Many events that upstream sends in one piece leave in one piece."""
    events = b"".join(text(f"{number} ") for number in range(200))
    hidden = chunk({"reasoning_content": "hm"})
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.send(STREAMING, framed(ROLE))
        await client.head()
        assert await client.chunk() == ROLE
        await call.send(framed(events))
        assert await client.chunk() == events
        await call.send(framed(hidden + events + hidden))
        assert await client.chunk() == events


async def test_one_read_is_one_write_of_bytes_that_nobody_reads() -> None:
    """The same where no rule matches."""
    async with proxied(rules=()) as rig, rig.call(chat()) as (client, call):
        await call.send(STREAMING)
        await client.head()
        for piece in (b"data: a\n\n" * 100, b"da", b"ta: [DONE]\n\n"):
            await call.send(framed(piece))
            assert await client.chunk() == piece


async def test_the_headers_of_an_event_stream() -> None:
    """Nothing on the way may collect or compress it, whatever the client accepts."""
    async with proxied() as rig, rig.call(chat("Accept-Encoding: gzip, br")) as (client, call):
        assert call.request.all("Accept-Encoding") == ["identity"]
        await call.send(stream_head("Content-Encoding: identity", "Cache-Control: private"))
        head = await client.head()
    assert head.start == "HTTP/1.1 200 OK"
    assert head.one("Content-Type") == "text/event-stream"
    assert head.one("Cache-Control") == "no-cache, no-transform"
    assert head.one("X-Accel-Buffering") == "no"
    assert head.one("Transfer-Encoding") == "chunked"
    assert head.one("Content-Length") is None
    assert head.one("Content-Encoding") is None
    assert head.one("Server") == "sidecar"


async def test_a_length_that_upstream_gave_its_stream_is_not_repeated() -> None:
    """A filtered stream has another length."""
    events = ROLE + chunk({"reasoning": "hm"}) + text("x") + FINISH + DONE
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", body=events, content_type="text/event-stream"))
        answer = await rig.ask(chat())
    assert answer.body == ROLE + text("x") + FINISH + DONE


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_an_encoded_stream_is_decoded(coding: str) -> None:
    """Upstream was asked for none; what it compresses all the same is filtered all the same."""
    events = ROLE + chunk({"reasoning": "SECRET"}) + text("shown") + FINISH + DONE
    packed = zlib.compress(events) if coding == "deflate" else gzip.compress(events)
    async with proxied() as rig:
        rig.upstream.reply(
            stream_head(f"Content-Encoding: {coding}")
            + b"".join(framed(packed[at : at + 7]) for at in range(0, len(packed), 7))
            + LAST
        )
        answer = await rig.ask(chat())
    assert answer.head.one("Content-Encoding") is None
    assert answer.body == ROLE + text("shown") + FINISH + DONE


async def test_an_encoded_stream_is_decoded_event_by_event() -> None:
    """Decoding does not wait for the end."""
    packer = zlib.compressobj(wbits=31)

    def packed(data: bytes) -> bytes:
        return framed(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))

    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.send(stream_head("Content-Encoding: gzip"), packed(ROLE))
        await client.head()
        assert await client.chunk() == ROLE
        for sent in (text("one"), text("two")):
            await call.send(packed(sent))
            assert await client.chunk() == sent


async def test_an_encoded_document_is_decoded() -> None:
    """The same for an answer in one piece."""
    body = gzip.compress(document({"content": "<think>SECRET</think>shown"}))
    async with proxied() as rig:
        rig.upstream.reply(response("200 OK", "Content-Encoding: gzip", body=body))
        answer = await rig.ask(chat(stream=False))
    assert answer.body == document({"content": "shown"})
    assert answer.head.one("Content-Encoding") is None


async def test_small_writes_are_not_collected_by_the_kernel() -> None:
    """TCP_NODELAY is set on the way to the client and on the way to the upstream."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.send(STREAMING)
        await client.head()
        ends = {
            "to the client": client.writer.get_extra_info("sockname"),
            "to the upstream": call.writer.get_extra_info("sockname"),
        }
        found = {}
        for one in _own_sockets():
            for way, end in ends.items():
                if _peer_of(one) == end:
                    found[way] = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert set(found) == set(ends)
    assert all(found.values())


def _own_sockets() -> Iterator[socket.socket]:
    """A copy of each TCP socket of this process."""
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            one = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        with one:
            if one.family == socket.AF_INET and one.type == socket.SOCK_STREAM:
                yield one


def _peer_of(one: socket.socket) -> object:
    try:
        return one.getpeername()
    except OSError:
        return None


# --- connections ----------------------------------------------------------------------------------


async def test_upstream_is_left_at_the_end_mark() -> None:
    """What upstream does after [DONE], or that it does nothing, does not matter."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(STREAMING, framed(ROLE), framed(text("a")), framed(FINISH))
        await call.send(framed(DONE + text("SECRET")))
        answer = await client.answer()
        await call.gone()
    assert answer.body == ROLE + text("a") + FINISH + DONE


async def test_the_connection_serves_the_next_request() -> None:
    """A client keeps its connection after a stream, and upstream gets one for each request."""
    async with proxied() as rig, await rig.client() as client:
        rig.upstream.reply(streamed(ROLE, text("a"), FINISH, DONE))
        first = await client.ask(chat())
        second = await client.ask(chat())
        rig.upstream.reply(response("200 OK", body=b"{}"))
        third = await client.ask(request("GET", "/v1/models"))
    assert first == second
    assert third.body == b"{}"
    assert len(rig.upstream.calls) == 3


async def test_streams_do_not_mix() -> None:
    """Twenty at a time, event by event in turn: each client gets its own."""
    async with proxied() as rig:
        clients: dict[str, Peer] = {}
        calls: dict[str, Call] = {}
        for number in range(20):
            name = f"client-{number}"
            clients[name] = await rig.client()
            await clients[name].send(chat(f"X-Request-Id: {name}"))
            calls[name] = await rig.upstream.accept()
            assert calls[name].request.one("X-Request-Id") == name
        for call in calls.values():
            await call.send(STREAMING, framed(ROLE))
        for word in ("<think>no", " no</think>", "yes ", "yes"):
            for name, call in calls.items():
                await call.send(framed(text(word + name)))
        for call in calls.values():
            await call.send(framed(FINISH + DONE), LAST)
        for name, client in clients.items():
            assert visible((await client.answer()).body) == f"{name}yes {name}yes{name}"
            client.abort()


# --- events that are large -------------------------------------------


async def test_a_large_event_passes() -> None:
    """Two megabytes in one event, of which a line reader would choke."""
    large = text("x" * 2_000_000)
    async with proxied() as rig:
        rig.upstream.reply(streamed(ROLE, large, FINISH, DONE))
        answer = await rig.ask(chat())
    assert answer.body == ROLE + large + FINISH + DONE


async def test_a_large_hidden_event_is_hidden() -> None:
    """The same for one that is dropped."""
    async with proxied() as rig:
        rig.upstream.reply(
            streamed(ROLE, chunk({"reasoning": "x" * 2_000_000}), text("a"), FINISH, DONE)
        )
        answer = await rig.ask(chat())
    assert answer.body == ROLE + text("a") + FINISH + DONE


async def test_an_event_over_the_limit_is_an_error_in_the_stream() -> None:
    """What came before is delivered, then the error, then the end; upstream is left."""
    async with proxied(event_limit=10_000) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(STREAMING, framed(ROLE), framed(text("before")))
        await call.send(framed(b"data: " + b"x" * 10_000))
        answer = await client.answer()
        await call.gone()
    *before, error, end = payloads(answer.body)
    assert visible(answer.body) == "before"
    assert len(before) == 2
    assert error["error"]["code"] == "upstream_event_too_large"
    assert end == "[DONE]"


async def test_byte_by_byte() -> None:
    """A stream in chunks of one byte is the same stream."""
    events = ROLE + text("<think>SECRET</think>") + text("sh<ow>n") + FINISH + DONE
    async with proxied() as rig:
        rig.upstream.reply(
            STREAMING + b"".join(framed(events[at : at + 1]) for at in range(len(events))) + LAST
        )
        answer = await rig.ask(chat())
    assert visible(answer.body) == "sh<ow>n"
    assert b"SECRET" not in answer.body
    assert answer.body.endswith(FINISH + DONE)


async def test_head_and_stream_in_one_segment() -> None:
    """The first bytes of the body come with the head and are not lost."""
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.send(streamed(ROLE, text("a"), FINISH, DONE))
        assert (await client.answer()).body == ROLE + text("a") + FINISH + DONE


async def test_a_client_of_http_1_0() -> None:
    """It cannot read chunks: the end of the connection is the end of the stream."""
    asked = chat().replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    async with proxied() as rig:
        rig.upstream.reply(streamed(ROLE, chunk({"reasoning": "hm"}), text("a"), FINISH, DONE))
        answer = await rig.ask(asked)
    assert answer.head.one("Transfer-Encoding") is None
    assert answer.head.one("Content-Length") is None
    assert answer.body == ROLE + text("a") + FINISH + DONE
