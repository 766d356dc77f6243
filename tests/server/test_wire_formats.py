"""Every wire format over real sockets: at its path, piece by piece, counted by its name."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from sidecar.core.policy import Policy
from sidecar.wire.formats import WIRE_FORMATS, WireFormat
from tests.wire.adapters import ADAPTERS, compact
from tests.wire.conformance import Kind, Piece, declared_ruling

from .scripted import LAST, Answer, Rig, chat, framed, proxied, response, rule, stream_head

SECRET = "wherefore"
PIECES = [
    Piece(Kind.TEXT, "First. "),
    Piece(Kind.TEXT, f"<think>{SECRET}</think>Last."),
    Piece(Kind.FINISH, "stop"),
]
SHOWN = "First. Last."

per_format = pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda each: each.name)


def events(wire_format: WireFormat, pieces: Sequence[Piece] = PIECES) -> list[bytes]:
    """The events of an answer, and the end mark if the format has one."""
    framing = wire_format.answer(declared_ruling(Policy())).framing
    said = ADAPTERS[wire_format.name].events(pieces)
    written = [framing.write(compact(each).encode(), name.encode()) for name, each in said]
    return [*written, framing.mark] if framing.mark else written


def content_type(wire_format: WireFormat) -> str:
    """That of its streams."""
    return wire_format.answer(declared_ruling(Policy())).framing.content_type


def document(wire_format: WireFormat) -> bytes:
    """An answer as one document."""
    body = compact(ADAPTERS[wire_format.name].document(PIECES)).encode()
    return response("200 OK", "Content-Type: application/json; charset=utf-8", body=body)


async def asked(rig: Rig, wire_format: WireFormat, raw: bytes) -> Answer:
    """The answer to one request whose upstream answers ``raw``."""
    rig.upstream.reply(raw)
    return await rig.ask(chat(path=wire_format.path))


@per_format
async def test_a_stream_is_filtered_as_it_comes(wire_format: WireFormat) -> None:
    """The first text is out before the second has come, with headers that stop proxies from
    collecting."""
    sent = events(wire_format)
    (first,) = (i for i, each in enumerate(sent) if b"First." in each and b"Last." not in each)
    async with proxied() as rig, rig.call(chat(path=wire_format.path)) as (client, call):
        await call.send(stream_head(content_type=content_type(wire_format)))
        await call.send(framed(b"".join(sent[: first + 1])))
        head = await client.head()
        came = b""
        while b"First." not in came:
            came += await client.chunk()
        await call.send(framed(b"".join(sent[first + 1 :])), LAST)
        async for chunk in client.chunks():
            came += chunk
        scraped = await rig.scrape()
    assert head.one("Content-Type") == content_type(wire_format)
    assert head.one("X-Accel-Buffering") == "no"
    assert head.one("Cache-Control") == "no-cache, no-transform"
    assert SECRET.encode() not in came
    assert b"Last." in came
    labels = f'model="other",outcome="completed",route="{wire_format.name}",rule="default"'
    assert f"sidecar_requests_total{{{labels}}} 1.0" in scraped


@per_format
async def test_a_document_is_filtered(wire_format: WireFormat) -> None:
    """And says the same."""
    async with proxied() as rig:
        answer = await asked(rig, wire_format, document(wire_format))
    assert answer.status == 200
    assert answer.head.one("Content-Type") == "application/json"
    read = ADAPTERS[wire_format.name].read_document(json.loads(answer.body))
    assert "".join(piece.text for piece in read if piece.kind is Kind.TEXT) == SHOWN


@per_format
@pytest.mark.parametrize("observes", [False, True], ids=["no rule", "observe"])
async def test_nothing_changes_without_a_rule(wire_format: WireFormat, observes: bool) -> None:
    """Or under one that only looks, which counts all the same."""
    body = b"".join(events(wire_format))
    stream = stream_head(content_type=content_type(wire_format)) + framed(body) + LAST
    async with proxied(rules=[rule(mode="observe")] if observes else []) as rig:
        assert (await asked(rig, wire_format, stream)).body == body
        raw = document(wire_format)
        assert (await asked(rig, wire_format, raw)).body == raw.partition(b"\r\n\r\n")[2]
        scraped = await rig.scrape()
    assert ("sidecar_hidden_characters_total{" in scraped) is observes


@per_format
async def test_another_framing_is_not_taken_for_its_own(wire_format: WireFormat) -> None:
    """NDJSON where events were expected, or events where lines were."""
    own = content_type(wire_format)
    other = "application/x-ndjson" if own == "text/event-stream" else "text/event-stream"
    stream = stream_head(content_type=other) + framed(b"".join(events(wire_format))) + LAST
    async with proxied() as rig:
        answer = await asked(rig, wire_format, stream)
    assert answer.status == 502
    assert SECRET.encode() not in answer.body


@per_format
async def test_an_upstream_that_dies(wire_format: WireFormat) -> None:
    """The client is told in the protocol, and the outcome says so."""
    sent = b"".join(events(wire_format, PIECES[:1]))
    stream = stream_head(content_type=content_type(wire_format)) + framed(sent)
    async with proxied() as rig:
        answer = await asked(rig, wire_format, stream)
        scraped = await rig.scrape()
    assert answer.status == 200
    assert b"First." in answer.body
    assert b"ended the stream" in answer.body
    assert f'outcome="upstream_incomplete",route="{wire_format.name}"' in scraped
