"""Requests that two readers read in two ways: neither reading is served, and nothing behind them.

What is sent behind each of them is a request that must never reach upstream.
"""

from __future__ import annotations

from itertools import repeat
from typing import Final

import pytest

from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Answer,
    Cut,
    document,
    framed,
    proxied,
    request,
    response,
    streamed,
    text,
)

from .verdicts import SECRET, Ended, Told, complete, refused, watched
from .wires import flood

BEHIND: Final = b"GET /v1/files/behind HTTP/1.1\r\nHost: x\r\nX: s3cr3t-k3y\r\n\r\n"
CHUNKED: Final = "Transfer-Encoding: chunked"
ONE_CHUNK: Final = framed(b"abc") + LAST

EMBEDDINGS, CHAT = "/v1/embeddings", "/v1/chat/completions"


def post(*fields: str, path: str = EMBEDDINGS, version: str = "HTTP/1.1") -> bytes:
    """The head of a request with these fields and no other that says where its body ends."""
    lines = [f"POST {path} {version}", "Host: x", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def get(*fields: str, target: str = "/v1/models", version: str = "HTTP/1.1") -> bytes:
    """The same without a body."""
    lines = [f"GET {target} {version}", "Host: x", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def told_off(raw: bytes, told: Told) -> Answer:
    """The only answer to ``raw``, after which the connection is closed: an error of ours, which
    is counted and told of, and nothing reaches upstream."""
    async with watched() as rig, await rig.client() as client:
        rig.upstream.reply(response("200 OK", body=document({"content": "LEAK"})))
        await client.send(raw)
        answer = await client.answer()
        assert await client.gone() == b""
        assert rig.upstream.calls == []
        how = await told.one(rig, route="refused")
    assert how == Ended("refused", answer.error["code"])
    refused_here(answer)
    return answer


# --- where the body ends --------------------------------------------------------------------------

FRAMINGS = {
    "length-and-chunked": post("Content-Length: 4", CHUNKED) + LAST,
    "chunked-and-length": post(CHUNKED, "Content-Length: 4") + LAST,
    "two-lengths": post("Content-Length: 3", "Content-Length: 4") + b"abc",
    "two-equal-lengths": post("Content-Length: 3", "Content-Length: 3") + b"abc",
    "list-of-lengths": post("Content-Length: 3, 3") + b"abc",
    "signed-length": post("Content-Length: +3") + b"abc",
    "negative-length": post("Content-Length: -3") + b"abc",
    "hexadecimal-length": post("Content-Length: 0x3") + b"abc",
    "fractional-length": post("Content-Length: 3.0") + b"abc",
    "grouped-length": post("Content-Length: 1_0") + b"0123456789",
    "two-words-of-length": post("Content-Length: 3 4") + b"abc",
    "empty-length": post("Content-Length:") + b"abc",
    "length-with-nul": post("Content-Length: 3\x00") + b"abc",
    "length-in-other-digits": post("Content-Length: \xd9\xa3") + b"abc",
    "length-over-64-bits": post("Content-Length: 18446744073709551619") + b"abc",
    "length-after-a-space": post("Content-Length : 3") + b"abc",
    "coded-and-chunked": post("Transfer-Encoding: gzip, chunked") + ONE_CHUNK,
    "coded-and-chunked-in-two": post("Transfer-Encoding: gzip", CHUNKED) + ONE_CHUNK,
    "coded": post("Transfer-Encoding: gzip") + b"abc",
    "identity": post("Transfer-Encoding: identity", "Content-Length: 3") + b"abc",
    "not-quite-chunked": post("Transfer-Encoding: xchunked") + ONE_CHUNK,
    "chunked-with-a-parameter": post("Transfer-Encoding: chunked;q=1") + ONE_CHUNK,
    "chunked-in-quotes": post('Transfer-Encoding: "chunked"') + ONE_CHUNK,
    "chunked-after-a-tabulator": post("Transfer-Encoding: \x0bchunked") + ONE_CHUNK,
    "chunked-not-last": post("Transfer-Encoding: chunked, identity") + ONE_CHUNK,
    "chunked-twice": post("Transfer-Encoding: chunked, chunked") + ONE_CHUNK,
    "chunked-in-two-fields": post(CHUNKED, CHUNKED) + ONE_CHUNK,
    "chunked-after-a-comma": post("Transfer-Encoding: ,chunked") + ONE_CHUNK,
    "chunked-before-a-comma": post("Transfer-Encoding: chunked,") + ONE_CHUNK,
    "empty-coding-and-length": post("Transfer-Encoding:", "Content-Length: 3") + b"abc",
    "chunked-on-a-folded-line": post("Transfer-Encoding:\r\n chunked") + ONE_CHUNK,
    "chunked-behind-a-bare-lf": post("X: a\nTransfer-Encoding: chunked") + ONE_CHUNK,
    "chunked-behind-a-bare-cr": post("X: a\rTransfer-Encoding: chunked") + ONE_CHUNK,
    "chunked-after-a-space": post("Transfer-Encoding : chunked") + ONE_CHUNK,
    "chunked-in-http-1.0": post(CHUNKED, version="HTTP/1.0") + ONE_CHUNK,
    "chunked-in-http-1.0-kept": post(CHUNKED, "Connection: keep-alive", version="HTTP/1.0")
    + ONE_CHUNK,
}  # fmt: skip


@pytest.mark.parametrize("path", [EMBEDDINGS, CHAT])
@pytest.mark.parametrize("name", FRAMINGS)
async def test_a_body_whose_end_is_in_doubt(name: str, path: str, told: Told) -> None:
    """RFC 9112, 6.3: 400, and a closed connection; upstream hears of nothing."""
    raw = FRAMINGS[name].replace(EMBEDDINGS.encode(), path.encode()) + BEHIND
    assert (await told_off(raw, told)).status == 400


CHUNKS = {
    "bare-lf": b"3\nabc\n0\n\n",
    "bare-cr": b"3\rabc\r0\r\r",
    "space-before": b" 3\r\nabc\r\n" + LAST,
    "space-after": b"3 \r\nabc\r\n" + LAST,
    "hexadecimal-prefix": b"0x3\r\nabc\r\n" + LAST,
    "grouped": b"0_3\r\nabc\r\n" + LAST,
    "signed": b"+3\r\nabc\r\n" + LAST,
    "negative": b"-3\r\nabc\r\n" + LAST,
    "empty": b"\r\nabc\r\n" + LAST,
    "over-64-bits": b"10000000000000003\r\nabc\r\n" + LAST,
    "too-short": b"2\r\nabc\r\n" + LAST,
    "lf-in-an-extension": b"3;a=b\nabc\r\n" + LAST,
    "cr-in-an-extension": b"3;a=\rb\r\nabc\r\n" + LAST,
    "nul-in-an-extension": b"3;a=\x00b\r\nabc\r\n" + LAST,
    "end-in-lf": b"3\r\nabc\r\n0\n\n",
    "length-in-the-trailers": b"3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n",
    "chunked-in-the-trailers": b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "flood-of-trailers": b"3\r\nabc\r\n0\r\n" + b"X: s3cr3t-k3y\r\n" * 1000 + b"\r\n",
}


@pytest.mark.parametrize("name", CHUNKS)
async def test_chunks_whose_end_is_in_doubt(name: str) -> None:
    """The same for a body that says itself where it ends. If upstream has its beginning, it sees
    the connection end before the body does."""
    async with proxied() as rig, await rig.client() as client:
        await client.send(post(CHUNKED), CHUNKS[name], BEHIND)
        answer = await client.answer()
        rest = await client.gone()
        for call in rig.upstream.calls:
            assert call.request.target == EMBEDDINGS
            with pytest.raises(Cut):
                await call.request_body()
    refused_here(answer)
    assert answer.status in (400, 431)
    assert rest == b""


# --- where the head ends --------------------------------------------------------------------------

HEADS = {
    "obs-fold": get("X: a", " b"),
    "obs-fold-by-a-tabulator": get("X: a", "\tb"),
    "obs-fold-at-once": b"GET /v1/models HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare-lf": get().replace(b"\r\n", b"\n"),
    "bare-cr": get().replace(b"\r\n", b"\r"),
    "bare-lf-in-a-value": get("X: a\nY: s3cr3t-k3y"),
    "bare-cr-in-a-value": get("X: a\rY: s3cr3t-k3y"),
    "nul-in-a-value": get("X: s3cr3t-k3y\x00"),
    "nul-in-a-name": get("X\x00: s3cr3t-k3y"),
    "control-in-a-value": get("X: \x01s3cr3t-k3y"),
    "latin-1-in-a-name": get("X\xe9: s3cr3t-k3y"),
    "space-in-a-name": get("X Y: s3cr3t-k3y"),
    "space-after-a-name": get("Authorization : s3cr3t-k3y"),
    "empty-name": get(": s3cr3t-k3y"),
    "no-colon": get("Authorization s3cr3t-k3y"),
    "odd-name": get("X(y): s3cr3t-k3y"),
    "no-host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two-hosts": get("Host: y"),
    "space-in-the-target": get(target="/v1/models s3cr3t-k3y"),
    "nul-in-the-target": get(target="/v1/models\x00"),
    "tabulators": get().replace(b" ", b"\t", 2),
    "space-at-the-end": get().replace(b"1.1\r", b"1.1 \r", 1),
    "space-at-the-beginning": b" " + get(),
    "lower-case-method": get().replace(b"GET", b"get"),
    "odd-method": get().replace(b"GET", b"G@T"),
    "unknown-method": get().replace(b"GET", b"S3CR3T"),
    "lower-case-version": get(version="http/1.1"),
    "padded-version": get(version="HTTP/01.1"),
    "version-1.2": get(version="HTTP/1.2"),
    "version-9.9": get(version="HTTP/9.9"),
    "another-protocol": get(version="ICE/1.0"),
    "http/2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "tls": b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03s3cr3t-k3y" + bytes(180),
    "socks": b"\x05\x01\x00" + bytes(64),
    "rubbish": b"s3cr3t-k3y\r\n\r\n",
    "authority-form": get(target="s3cr3t-k3y:80"),
    "asterisk-form": get(target="*"),
    "pipelined-rubbish": get() + b"s3cr3t-k3y\r\n\r\n",
    "pipelined-behind-a-body": post("Content-Length: 3") + b"abcs3cr3t-k3y\r\n\r\n",
}


@pytest.mark.parametrize("name", HEADS)
async def test_a_head_that_is_none(name: str, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    """400 and a closed connection, and nobody gets back what may be a key: not the client, and not
    the log."""
    caplog.set_level("DEBUG")
    answer = await told_off(HEADS[name] + BEHIND, told)
    refused(answer, 400, "bad_request")
    assert SECRET not in caplog.text


BOMBS = {
    "long-value": get("Authorization: s3cr3t-k3y" + "x" * 9_000),
    "longer-value": get("Authorization: s3cr3t-k3y" + "x" * 200_000),
    "long-name": get("s3cr3t-k3y" + "x" * 9_000 + ": 1"),
    "long-target": get(target="/v1/models?k=s3cr3t-k3y" + "x" * 200_000),
    "many-fields": get(*(["X: s3cr3t-k3y"] * 150)),
    "more-fields": get(*(["X: s3cr3t-k3y"] * 5000)),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_head_that_is_too_large(
    name: str, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    """431, and the same."""
    caplog.set_level("DEBUG")
    refused(await told_off(BOMBS[name], told), 431, "request_too_large")
    assert SECRET not in caplog.text


@pytest.mark.parametrize("piece", [b"x" * 65_536, b"X: y\r\n" * 10_000], ids=["value", "fields"])
async def test_a_head_that_never_ends(piece: bytes) -> None:
    """The bound is met on the way: whoever sends on and on is cut off."""
    async with proxied() as rig, await rig.client() as client:
        await client.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX: ")
        await flood(client, repeat(piece))
        assert rig.upstream.calls == []


# --- requests that are not for an answer ----------------------------------------------------------

NOT_SERVED = {
    "http/0.9": b"GET /v1/models\r\n\r\n",
    "http/2-without-a-preface": get(version="HTTP/2.0"),
    "connect": get().replace(b"GET", b"CONNECT"),
    "connect-to-a-host": b"CONNECT evil.example:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "trace": get("Max-Forwards: 0").replace(b"GET", b"TRACE"),
}


@pytest.mark.parametrize("name", NOT_SERVED)
async def test_what_is_not_served(name: str, told: Told) -> None:
    """No tunnel is opened, and upstream is not asked what it was sent: it has a key of ours."""
    async with watched(api_key=SECRET) as rig, await rig.client() as client:
        rig.upstream.reply(response("200 OK", body=b"LEAK"))
        await client.send(NOT_SERVED[name])
        answer = await client.answer()
        assert await client.gone() == b""
        assert rig.upstream.calls == []
        code = answer.error["code"]
        assert await told.one(rig, route="refused") == Ended("refused", code)
    refused_here(answer)
    if name.startswith("http"):
        assert (answer.status, code) == (400, "bad_request")
    else:
        assert (answer.status, code) == (405, "method_not_allowed")
        assert "GET" in str(answer.head.one("Allow"))


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/v1/models",
        "http://x/v1/chat/completions",
        "//evil.example/v1/models",
        "/v1/models#fragment",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_a_target_that_is_no_path(target: str, method: str) -> None:
    """404 for what might lead somewhere else; the next request on the connection is in step."""
    async with proxied() as rig, await rig.client() as client:
        rig.upstream.reply(response("200 OK", body=b"{}"))
        await client.send(request(method, target), request("GET", "/v1/models"))
        refused(await client.answer(), 404, "not_found")
        assert (await client.answer()).body == b"{}"
        assert [call.request.target for call in rig.upstream.calls] == ["/v1/models"]


# --- requests that are odd, and mean one thing ----------------------------------------------------

HARMLESS = {
    "leading-zeros": post("Content-Length: 0003") + b"abc",
    "underscored-length": post("Content_Length: 9", "Content-Length: 3") + b"abc",
    "blank-lines-before": b"\r\n\r\n" + post("Content-Length: 3") + b"abc",
    "http/1.0": post("Content-Length: 3", "Connection: keep-alive", version="HTTP/1.0") + b"abc",
    "expect-something-else": post("Content-Length: 3", "Expect: s3cr3t-k3y") + b"abc",
    "get-with-a-body": get("Content-Length: 3", target=EMBEDDINGS) + b"abc",
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_a_request_that_is_odd_and_clear(name: str) -> None:
    """It is served, upstream gets it in a form that is not odd, and the next one is in step."""
    async with proxied() as rig, await rig.client() as client:
        await client.send(HARMLESS[name], request("GET", "/v1/models"))
        for target, body in ((EMBEDDINGS, b"abc"), ("/v1/models", b"")):
            call = await rig.upstream.accept()
            assert call.request.target == target
            assert await call.request_body() == body
            assert call.request.one("Expect") is None
            await call.send(response("200 OK", body=target.encode()))
            assert (await client.answer()).body == target.encode()
        assert len(rig.upstream.calls) == 2


H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQA")
LAST_ONES = {
    "chunked": post(CHUNKED) + ONE_CHUNK,
    "chunked-in-capitals": post("TRANSFER-ENCODING: CHUNKED") + ONE_CHUNK,
    "chunk-extension": post(CHUNKED) + b"3;s3cr3t-k3y=b;c\r\nabc\r\n" + LAST,
    "get-with-chunks": get(CHUNKED, target=EMBEDDINGS) + ONE_CHUNK,
    # The parser makes the last trailer a header of the next request.
    "trailers": post(CHUNKED, "Trailer: X") + b"3\r\nabc\r\n0\r\nX: 1\r\nY: s3cr3t-k3y\r\n\r\n",
    # It throws away what comes behind these in one piece.
    "offer-of-h2c": post(*H2C, "Content-Length: 3") + b"abc",
    "offer-of-the-unknown": post("Connection: upgrade", "Upgrade: x", "Content-Length: 3") + b"abc",
}


@pytest.mark.parametrize("name", LAST_ONES)
async def test_a_request_behind_which_nothing_is_served(name: str, told: Told) -> None:
    """It is served, without its trailers, its extensions and its offer; then the connection ends,
    which the answer says."""
    async with watched() as rig, await rig.client() as client:
        await client.send(LAST_ONES[name], BEHIND)
        call = await rig.upstream.accept()
        assert call.request.target == EMBEDDINGS
        assert SECRET not in str(call.request)
        assert {name.lower() for name, _ in call.request.fields} <= {
            "host",
            "accept-encoding",
            "connection",
            "content-length",
            "transfer-encoding",
            "via",
        }
        assert await call.request_body() == b"abc"
        await call.send(response("200 OK", body=b"{}"))
        answer = await client.answer()
        assert await client.gone() == b""
        assert len(rig.upstream.calls) == 1
        assert await told.one(rig, route="api") == Ended("completed")
    assert answer.head.one("Connection") == "close"


async def test_a_stream_behind_which_nothing_is_served() -> None:
    """The same where the answer is a stream that is filtered."""
    body = b'{"model":"m","messages":[],"stream":true}'
    raw = post(CHUNKED, path=CHAT) + framed(body) + b"0\r\nX-Any: s3cr3t-k3y\r\n\r\n"
    async with proxied() as rig, await rig.client() as client:
        rig.upstream.reply(streamed(ROLE, text("a"), FINISH, DONE))
        await client.send(raw, BEHIND)
        answer = await client.answer()
        assert await client.gone() == b""
        assert len(rig.upstream.calls) == 1
    complete(answer, "a")
    assert answer.head.one("Connection") == "close"


def refused_here(answer: Answer) -> None:
    """An error object of ours, that repeats nothing."""
    refused(answer, answer.status, answer.error["code"])
    if answer.head.start.startswith("HTTP/1.1"):
        assert answer.head.one("Connection") == "close"
