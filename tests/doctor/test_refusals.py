"""Where there is no stream, one sentence says why: over real sockets, and real TLS."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trustme

from sidecar.doctor.asking import Question, ask
from sidecar.doctor.pace import Pace
from sidecar.doctor.refusals import NoStream
from sidecar.doctor.run import examine_chat, examine_drip
from tests.server.scripted import (
    DONE,
    Upstream,
    framed,
    proxied,
    response,
    stream_head,
    streamed,
    text,
)
from tests.server.test_access import ACCESS, MOBILE
from tests.test_cli import free_port

PATIENCE = 20.0


async def why(url: str, patience: float = PATIENCE) -> str:
    with pytest.raises(NoStream) as none:
        await ask(Question(url, {}, patience))
    return str(none.value)


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[str]:
    server = Upstream("127.0.0.1")
    async with asyncio.timeout(PATIENCE), server.listening("/v1") as url:
        server.reply(raw)
        yield url


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (response("401 Unauthorized"), "SIDECAR_DOCTOR_KEY"),
        (response("404 Not Found"), "--model NAME"),
        (response("421 Misdirected Request"), "`hosts`"),
        (response("502 Bad Gateway"), "cannot reach the sidecar"),
        (response("418 Teapot"), "It answers with 418."),
        (response("200 OK", content_type="text/html", body=b"<html>"), "login page"),
        (response("200 OK"), "application/json instead of an event stream"),
        (
            response("302 Found", "Location: https://login.example/?x"),
            "to https://login.example/?x",
        ),
        (
            response("400 Bad Request", body=b'{"error": {"message": "no \\u001b[31mway"}}'),
            "It says: no \ufffd[31mway",
        ),
        (b"HTTP/1.1 banana\r\n\r\n", "not HTTP/1.1"),
        (b"", "without an answer"),
    ],
)
async def test_what_is_no_stream_is_told_in_a_sentence(raw: bytes, said: str) -> None:
    async with answering(raw) as url:
        assert said in await why(url)


async def test_nobody_listens() -> None:
    assert "cannot be connected to" in await why(f"http://127.0.0.1:{free_port()}/v1")


async def test_a_name_without_an_address() -> None:
    """``.invalid`` never has one (RFC 6761)."""
    assert "no address for the name a.invalid" in await why("http://a.invalid/v1")


async def test_a_certificate_of_nobody_we_know() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert "certificate is not valid" in await why(f"https://127.0.0.1:{port}/v1")


async def test_tls_where_there_is_none() -> None:
    async with proxied() as rig:
        assert "http:// instead" in await why(rig.base_url.replace("http:", "https:"))


async def test_an_answer_that_does_not_come() -> None:
    """It is given up, and that says so too."""
    server = Upstream("127.0.0.1")
    async with server.listening("/v1") as url:
        assert "came in time" in await why(url, patience=0.05)


async def test_a_stream_that_does_not_end_is_read_as_far_as_it_came() -> None:
    server = Upstream("127.0.0.1")
    async with server.listening("/v1") as url:
        asking = asyncio.create_task(ask(Question(url, {}, 0.3)))
        call = await server.accept()
        await call.send(stream_head(), framed(b'data: {"n":1}\n\n'))
        stream = await asking
    assert [event.value for event in stream.events] == [{"n": 1}]
    assert not stream.done


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 65_536, b'data: {"n":1}\n\n' * 4_096])
async def test_an_endless_stream_is_given_up(piece: bytes) -> None:
    """A hostile server fills no memory, in one event or in many: we hang up."""
    server = Upstream("127.0.0.1")
    async with asyncio.timeout(PATIENCE), server.listening("/v1") as url:
        asking = asyncio.create_task(ask(Question(url, {}, PATIENCE)))
        call = await server.accept()
        await call.send(stream_head())
        with suppress(ConnectionError):
            while True:
                await call.send(framed(piece))
        stream = await asking
    assert not stream.done
    assert len(stream.events) <= 2**20 // 14


async def test_gzip_is_read_and_told() -> None:
    body = gzip.compress(text("a") + text("b") + DONE)
    async with answering(
        stream_head("Content-Encoding: gzip") + framed(body) + b"0\r\n\r\n"
    ) as url:
        stream = await ask(Question(url, {}, PATIENCE))
    assert (len(stream.events), stream.done) == (2, True)
    assert stream.headers["content-encoding"] == "gzip"


async def test_a_key_is_shown_and_a_sidecar_that_wants_one_answers() -> None:
    async with proxied(access=ACCESS) as rig:
        with pytest.raises(NoStream, match="It wants a key"):
            await examine_drip(rig.base_url, {}, events=5, interval=0.05, idle=0)
        key = {"Authorization": f"Bearer {MOBILE}"}
        examined = await examine_drip(rig.base_url, key, events=5, interval=0.05, idle=0)
    assert examined.stream.done
    assert len(examined.stream.events) == 5


async def test_a_chat_is_asked_of_the_model() -> None:
    async with proxied() as rig:
        rig.upstream.reply(streamed(*map(text, "abc"), DONE))
        examined = await examine_chat(rig.base_url, {}, "m")
        call = rig.upstream.calls[0].request
    assert call.target == "/v1/chat/completions"
    assert examined.stream.done
    assert len(examined.stream.events) >= 3


async def test_one_answer_at_a_time_is_enough() -> None:
    """For a client that may not have more (`limits.streams_per_client`)."""
    async with proxied(streams_per_client=1) as rig:
        examined = await examine_drip(rig.base_url, {}, events=5, interval=0.2, idle=0)
    assert (examined.diagnosis.pace, examined.diagnosis.plain) == (Pace.IN_STEP, Pace.IN_STEP)
