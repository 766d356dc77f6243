"""Clients that leave, crawl, or ask for little: upstream works for nobody, and nobody waits for
them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import pytest

from sidecar.server import listener, requestbody
from sidecar.wire.formats import WIRE_FORMATS
from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    Call,
    Peer,
    chat,
    chunk,
    document,
    framed,
    proxied,
    request,
    response,
    stream_head,
    streamed,
    text,
)
from tests.server.test_slow_clients import lazy_client

from .verdicts import COMPLETED, GONE, SECRET, Ended, Told, complete, refused, watched
from .wires import flood, reset

SOON: Final = 5.0
"""Seconds in which upstream must have been left: a hundredth of it is enough but on a machine with
much to do, and much less than any time-out."""

EMBEDDINGS, FILES = "/v1/embeddings", "/v1/files"


async def left(call: Call) -> bytes:
    """Wait until the connection at the upstream is closed; what came before."""
    async with asyncio.timeout(SOON):
        return await call.gone()


# --- they leave -----------------------------------------------------------------------------------

End = Callable[[Peer], None]


def half_close(client: Peer) -> None:
    """Nothing more will be sent: whoever wants an answer does not do that in HTTP/1.1."""
    client.writer.write_eof()


each_end = pytest.mark.parametrize("end", [Peer.finish, reset, half_close])

ASKED = {
    **{
        f"{each.name}-{'stream' if streams else 'document'}": (
            each.name,
            chat(path=each.path, stream=streams),
        )
        for each in WIRE_FORMATS
        for streams in (True, False)
    },
    "embeddings": ("api", chat(path=EMBEDDINGS)),
    "models": ("api", request("GET", "/v1/models")),
    "stored": ("stored", request("GET", "/v1/responses/resp_1")),
}


@pytest.mark.parametrize("name", ASKED)
async def test_before_the_head(name: str, told: Told) -> None:
    """Nobody waits for a prefill that nobody wants, streamed or not, in any format."""
    route, raw = ASKED[name]
    async with watched() as rig, rig.call(raw) as (client, call):
        await call.request_body()
        client.finish()
        await left(call)
        assert await told.one(rig, route=route) == GONE


@each_end
@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
async def test_before_the_head_in_each_way(
    rules: tuple[()] | None, end: End, stream: bool, told: Told
) -> None:
    """However it leaves, and whether there is a rule."""
    async with watched(rules=rules) as rig, rig.call(chat(stream=stream)) as (client, call):
        await call.request_body()
        end(client)
        await left(call)
        assert await told.one(rig) == GONE


STREAMS = {
    "before-the-first-token": (b"", b""),
    "in-mid-stream": (framed(ROLE + text("a")), ROLE + text("a")),
    "while-it-is-hidden": (framed(chunk({"reasoning": SECRET}) + text(f"<think>{SECRET}")), b""),
    "while-text-is-held": (framed(text("<thi")), b""),
    "in-mid-event": (framed(ROLE + text(SECRET)[:-20]), ROLE),
}


@each_end
@pytest.mark.parametrize("where", STREAMS)
async def test_in_a_stream(where: str, end: End, told: Told) -> None:
    """Upstream says nothing more, and nothing is written: it is noticed all the same."""
    sent, seen = STREAMS[where]
    async with watched() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), sent)
        await client.head()
        if seen:
            assert await client.chunk() == seen
        end(client)
        await left(call)
        assert await told.one(rig) == GONE


async def test_in_a_stream_that_only_passes(told: Told) -> None:
    """The same where no rule matches."""
    async with watched(rules=()) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(ROLE))
        await client.head()
        client.finish()
        await left(call)
        assert await told.one(rig) == GONE


async def test_in_a_document(told: Told) -> None:
    """Half of it has come from upstream, and nothing of it has gone out."""
    async with watched() as rig, rig.call(chat(stream=False)) as (client, call):
        await call.request_body()
        await call.send(response("200 OK", body=document({"content": "a"}))[:-5])
        client.finish()
        await left(call)
        assert await told.one(rig) == GONE


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
async def test_while_upstream_floods(rules: tuple[()] | None, told: Told) -> None:
    """A write that fails ends the request, and is nobody's error."""
    async with watched(rules=rules) as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(ROLE))
        await client.head()
        flooding = asyncio.create_task(flood(call, iter(lambda: framed(text("x" * 10_000)), b"")))
        while b"xxx" not in await client.chunk():
            pass
        client.abort()
        async with asyncio.timeout(SOON):
            await flooding
        assert await told.one(rig) == GONE


@each_end
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_in_an_upload(framing: str, end: End, told: Told) -> None:
    """Half a file is not a file: upstream sees the connection end, and not the body."""
    field = "Content-Length: 1000" if framing == "length" else "Transfer-Encoding: chunked"
    half = b"half" if framing == "length" else framed(b"half")
    async with watched() as rig, rig.call(request("POST", FILES, field) + half) as (client, call):
        assert await call.reader.readexactly(len(half)) == half
        end(client)
        assert LAST not in await left(call)
        how = await told.one(rig, route="api")
    assert how in (GONE, Ended("refused", "bad_request"))


async def test_in_the_body_of_a_chat_request(told: Told) -> None:
    """Upstream never hears of it."""
    async with watched() as rig:
        async with await rig.client() as client:
            await client.send(chat()[:-5])
            client.writer.write_eof()
            await client.gone()
        how = await told.one(rig)
        assert rig.upstream.calls == []
    assert how in (GONE, Ended("refused", "bad_request"))


async def test_in_the_head_of_a_request(told: Told) -> None:
    """There is nobody to be answered, and nothing to be told."""
    async with watched() as rig:
        async with await rig.client() as client:
            await client.send(chat()[:30])
            client.writer.write_eof()
            assert await client.gone() == b""
        assert await told.all(rig) == []


async def test_after_the_end() -> None:
    """Whoever leaves then has got everything."""
    async with watched() as rig, rig.call(chat()) as (client, call):
        await call.send(streamed(ROLE, text("a"), FINISH, DONE))
        complete(await client.answer(), "a")
        client.abort()
        await left(call)


# --- they crawl -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
async def test_who_crawls_gets_everything(rules: tuple[()] | None, told: Told) -> None:
    """Upstream is not read meanwhile, others are served, and not a byte is lost."""
    count, piece = 400, text("Z" * 65_000)  # more than the buffers on the way hold
    async with watched(rules=rules) as rig, lazy_client(rig) as client:
        await client.send(chat())
        call = await rig.upstream.accept()
        await call.request_body()

        async def talk() -> None:
            await call.send(stream_head(), framed(ROLE))
            for _ in range(count):
                await call.send(framed(piece))
            await call.send(framed(FINISH), framed(DONE), LAST)

        talking = asyncio.create_task(talk())
        head = await client.head()
        crawled = b""
        for _ in range(1000):
            crawled += await client.reader.readexactly(1)
            await asyncio.sleep(0)
        assert not talking.done()
        async with await rig.client() as other:
            await other.send(chat(stream=False))
            second = await rig.upstream.accept()
            await second.send(response("200 OK", body=document({"content": "b"})))
            assert (await other.answer()).status == 200
        came = crawled + await _all_of(client)
        await talking
        assert await told.all(rig) == [COMPLETED, COMPLETED]
    assert head.status == 200
    assert came.count(b"Z") == count * 65_000
    assert came.endswith(DONE + b"\r\n" + LAST)


async def _all_of(client: Peer) -> bytes:
    came = bytearray()
    while not came.endswith(LAST):
        data = await client.reader.read(65_536)
        assert data
        came += data
    return bytes(came)


HALF_HEADS = {
    "nothing": b"",
    "half-a-line": b"GET /v1/mod",
    "half-a-head": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: s3cr3t-k3y",
    "all-but-the-end": b"GET /v1/models HTTP/1.1\r\nHost: x\r\n",
}


@pytest.mark.parametrize("name", HALF_HEADS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
async def test_a_head_that_does_not_come(
    name: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed in the time that an idle one has, the first request or not."""
    monkeypatch.setattr(listener, "_IDLE_CONNECTION", 0.3)
    async with proxied() as rig, await rig.client() as client:
        if not first:
            rig.upstream.reply(response("200 OK", body=b"{}"))
            assert (await client.ask(request("GET", "/v1/models"))).body == b"{}"
        await client.send(HALF_HEADS[name])
        assert await client.gone() == b""
        assert len(rig.upstream.calls) == (0 if first else 1)


async def test_a_head_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another byte now and then is no reason to wait for longer."""
    monkeypatch.setattr(listener, "_IDLE_CONNECTION", 0.5)
    async with proxied() as rig, await rig.client() as client:
        assert await _drip(client, b"GET /v1/models HTTP/1.1\r\nX: ") == b""
        assert rig.upstream.calls == []


async def test_a_body_that_drips(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a body that is collected: it has a time in all."""
    monkeypatch.setattr(requestbody, "_WHOLE", 0.5)
    async with watched() as rig, await rig.client() as client:
        head = request("POST", "/v1/chat/completions", "Content-Length: 1000")
        came = await _drip(client, head + b'{"model":"')
        assert rig.upstream.calls == []
        assert await told.one(rig) == Ended("refused", "request_timeout")
    assert came.startswith(b"HTTP/1.1 408 ")


async def _drip(client: Peer, first: bytes) -> bytes:
    """Send this, and then a byte every now and then; what came until the other end closed, or had
    something to say."""
    await client.send(first)
    while True:
        try:
            async with asyncio.timeout(0.05):
                return await client.reader.read(65_536)
        except TimeoutError:
            await client.send(b"x")


async def test_many_who_crawl_keep_nobody_waiting(told: Told) -> None:
    """Two hundred half requests, and one whole."""
    async with watched() as rig:
        clients = [await rig.client() for _ in range(200)]
        for number, client in enumerate(clients):
            raw = chat() if number % 2 else chat(path=EMBEDDINGS)
            await client.send(raw[: len(raw) // (number % 3 + 2)])
        rig.upstream.reply(streamed(ROLE, text("a"), FINISH, DONE))
        complete(await rig.ask(chat()), "a")
        for client in clients:
            client.abort()


# --- they ask for little --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target", ["/v1/models", "/v1/chat/completions", "/v1/responses/resp_1", "/v1/messages"]
)
async def test_head(target: str) -> None:
    """An answer to HEAD has no body, wherever it comes from: the next one is in step."""
    async with proxied() as rig, await rig.client() as client:
        await client.send(request("HEAD", target))
        call = await rig.upstream.accept()
        assert call.request.start == f"HEAD {target} HTTP/1.1"
        await call.send(response("200 OK", body=b"x" * 10)[:-10])
        answer = await client.answer(empty=True)
        assert answer.status == 200
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await client.ask(request("GET", "/v1/models"))).body == b"{}"


@pytest.mark.parametrize("target", ["/nowhere", "/v1/models?" + "x" * 9000])
async def test_head_of_an_error(target: str) -> None:
    """The same where the answer is ours."""
    async with proxied() as rig, await rig.client() as client:
        await client.send(request("HEAD", target))
        head = await client.head()
        assert head.status in (404, 431)
        if head.status == 404:
            rig.upstream.reply(response("200 OK", body=b"{}"))
            assert (await client.ask(request("GET", "/v1/models"))).body == b"{}"


async def test_head_of_an_upstream_that_fails() -> None:
    """And where it stands for upstream's."""
    async with proxied() as rig, await rig.client() as client:
        rig.upstream.reply(b"")
        await client.send(request("HEAD", "/v1/models"))
        assert (await client.answer(empty=True)).status == 502
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await client.ask(request("GET", "/v1/models"))).body == b"{}"


async def test_options() -> None:
    """They are upstream's to answer: headers, an empty body, and the next answer in step."""
    asked = request(
        "OPTIONS",
        "/v1/chat/completions",
        "Origin: https://page.example",
        "Access-Control-Request-Method: POST",
    )
    async with proxied() as rig, await rig.client() as client:
        await client.send(asked)
        call = await rig.upstream.accept()
        assert call.request.start == "OPTIONS /v1/chat/completions HTTP/1.1"
        assert call.request.one("Origin") == "https://page.example"
        await call.send(b"HTTP/1.1 204 No Content\r\nAllow: POST\r\nX-Any: 1\r\n\r\n")
        answer = await client.answer(empty=True)
        assert (answer.status, answer.head.one("Allow")) == (204, "POST")
        assert answer.head.one("X-Any") == "1"
        rig.upstream.reply(response("200 OK", body=b"{}"))
        assert (await client.ask(request("GET", "/v1/models"))).body == b"{}"


async def test_a_body_that_is_not_asked_for_is_not_waited_for(told: Told) -> None:
    """Expect: a client that waits to be asked is told at once that it is not, and asks again."""
    head = request(
        "POST", "/v1/chat/completions", "Expect: 100-continue", "Content-Encoding: br",
        "Content-Length: 1000",
    )  # fmt: skip
    async with watched() as rig, await rig.client() as client:
        await client.send(head)
        answer: Answer = await client.answer()
        assert await told.one(rig) == Ended("refused", "unsupported_encoding")
    refused(answer, 415, "unsupported_encoding")
    assert answer.head.one("Connection") == "close"
