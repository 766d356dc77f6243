"""Bodies of requests that cannot be read, are too large, or do not come."""

from __future__ import annotations

import gzip

import pytest

from sidecar.server import requestbody
from sidecar.wire.formats import WireFormat
from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Cut,
    chat,
    framed,
    proxied,
    request,
    response,
    streamed,
    text,
)
from tests.server.test_wire_formats import per_format

from .verdicts import SECRET, Ended, Told, refused, watched

CHAT, FILES = "/v1/chat/completions", "/v1/files"

UNREADABLE = {
    "empty": b"",
    "no-json": b"s3cr3t-k3y",
    "cut": b'{"model":"s3cr3t-k3y"',
    "two-values": b'{"model":"s3cr3t-k3y"} {}',
    "key-twice": b'{"model":"a","model":"s3cr3t-k3y"}',
    "key-twice-by-an-escape": b'{"stream":true,"str\\u0065am":false,"x":"s3cr3t-k3y"}',
    "not-utf-8": b'{"model":"\xff s3cr3t-k3y"}',
    "overlong": b'{"model":"\xc0\xbcs3cr3t-k3y"}',
    "raw-nul": b'{"model":"s3cr3t-k3y\x00"}',
    "nan": b'{"temperature":NaN,"x":"s3cr3t-k3y"}',
    "array": b'["s3cr3t-k3y"]',
    "string": b'"s3cr3t-k3y"',
    "null": b"null",
    "deep": b"[" * 100_000,
    "deep-object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "utf-16": '{"model":"s3cr3t-k3y"}'.encode("utf-16"),
    "gzip": gzip.compress(b'{"model":"s3cr3t-k3y"}'),
    "form": b"model=s3cr3t-k3y&stream=true",
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_body_that_cannot_be_read(
    name: str, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """400, what is wrong in a few words that quote nothing, and nothing reaches upstream."""
    caplog.set_level("DEBUG")
    async with watched() as rig:
        rig.upstream.reply(response("200 OK"))
        answer = await rig.ask(request("POST", CHAT, body=UNREADABLE[name]))
        assert rig.upstream.calls == []
        code = answer.error["code"]
        assert await told.one(rig) == Ended("refused", code)
    refused(answer, 400, code)
    assert SECRET not in caplog.text


@per_format
async def test_a_body_that_cannot_be_read_in_any_format(
    wire_format: WireFormat, told: Told
) -> None:
    """The same in the words of each."""
    async with watched() as rig:
        answer = await rig.ask(request("POST", wire_format.path, body=b"s3cr3t-k3y"))
        assert (await told.one(rig, route=wire_format.name)).outcome == "refused"
    assert answer.status == 400
    assert b"JSON" in answer.body
    assert SECRET.encode() not in answer.body


@pytest.mark.parametrize("declared", [True, False], ids=["length", "chunked"])
async def test_a_body_over_the_limit(declared: bool, told: Told) -> None:
    """413, also for a client that reads nothing before it has sent everything."""
    body = b'{"model":"' + b"x" * 200_000 + b'"}'
    raw = (
        request("POST", CHAT, body=body)
        if declared
        else request("POST", CHAT, "Transfer-Encoding: chunked") + framed(body) + LAST
    )
    async with watched(request_limit=10_000) as rig:
        rig.upstream.reply(response("200 OK"))
        answer = await rig.ask(raw)
        assert rig.upstream.calls == []
        assert await told.one(rig) == Ended("refused", "request_too_large")
    refused(answer, 413, "request_too_large")


async def test_a_body_at_the_limit() -> None:
    """The limit itself is allowed."""
    raw = chat()
    size = len(raw.partition(b"\r\n\r\n")[2])
    async with proxied(request_limit=size) as rig:
        rig.upstream.reply(streamed(ROLE, text("a"), FINISH, DONE))
        assert (await rig.ask(raw)).status == 200
    async with proxied(request_limit=size - 1) as rig:
        assert (await rig.ask(raw)).status == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "x-y"])
async def test_a_packed_chat_request(coding: str, told: Told) -> None:
    """415: what it says cannot be read, so no rule can be chosen."""
    asked = request(
        "POST", CHAT, f"Content-Encoding: {coding}", body=gzip.compress(b'{"model":"m"}')
    )
    async with watched() as rig:
        rig.upstream.reply(response("200 OK"))
        answer = await rig.ask(asked)
        assert rig.upstream.calls == []
        assert await told.one(rig) == Ended("refused", "unsupported_encoding")
    refused(answer, 415, "unsupported_encoding")


async def test_a_packed_body_that_only_passes_is_not_undone() -> None:
    """A bomb among them is upstream's to refuse, and costs nothing here."""
    packed = gzip.compress(bytes(30_000_000))
    asked = request("POST", FILES, "Content-Encoding: gzip", body=packed)
    async with proxied() as rig, rig.call(asked) as (client, call):
        assert await call.request_body() == packed
        await call.send(response("200 OK", body=b"{}"))
        assert (await client.answer()).body == b"{}"


# --- bodies that break off ------------------------------------------------------------------------


@pytest.mark.parametrize("path", [CHAT, FILES])
@pytest.mark.parametrize("bad", [b"zz\r\ns3cr3t-k3y\r\n", b"5\r\nabcdefghij\r\n"])
async def test_a_bad_chunk(path: str, bad: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not hang: the request ends with an error, and the upstream's with it."""
    monkeypatch.setattr(requestbody, "_IDLE", 0.3)
    head = request("POST", path, "Transfer-Encoding: chunked") + framed(b'{"mod')
    async with proxied() as rig, await rig.client() as client:
        await client.send(head)
        if path == FILES:
            call = await rig.upstream.accept()
            assert await call.chunk() == b'{"mod'
        await client.send(bad)
        answer = await client.answer()
        if path == FILES:
            assert LAST not in await call.gone()
    assert answer.status in (400, 408)
    refused(answer, answer.status, answer.error["code"])


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("path", [CHAT, FILES])
async def test_a_body_that_does_not_arrive(
    path: str, framing: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408 after the idle time of a request, and upstream is left without an end of it."""
    monkeypatch.setattr(requestbody, "_IDLE", 0.3)
    half = framed(b"half") if framing.endswith("chunked") else b"half"
    async with watched() as rig, await rig.client() as client:
        await client.send(request("POST", path, framing), half)
        answer = await client.answer()
        if path == FILES:
            call = await rig.upstream.accept()
            with pytest.raises(Cut):
                await call.request_body()
        else:
            assert rig.upstream.calls == []
        how = await told.one(rig, route="chat" if path == CHAT else "api")
    refused(answer, 408, "request_timeout")
    assert how == Ended("refused", "request_timeout")
