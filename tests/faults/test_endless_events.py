"""Events that are too large, or never end: a bound, and an error at it."""

from __future__ import annotations

from itertools import repeat

import pytest

from sidecar.wire.formats import WireFormat
from tests.server.scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    chat,
    chunk,
    framed,
    stream_head,
    text,
)
from tests.server.test_wire_formats import content_type, per_format

from .verdicts import COMPLETED, SECRET, Ended, Told, broken, complete, watched
from .wires import flood

BEFORE = ROLE + text("before")
MIB = 2**20
BLOCK = 65_536


ENDLESS = {
    "huge-line-100m": [b"data: ", b"x" * BLOCK],
    "endless-comment": [b": ", b"x" * BLOCK],
    "endless-name": [b"x", b"x" * BLOCK],
    "endless-event": [b"data: {\n", b"data: s3cr3t-k3y\n" * 4096],
    "endless-carriage-return": [b"data: ", b"s3cr3t-k3y\rx" * 5000],
    "endless-string": [b'data: {"choices":[{"delta":{"content":"', b"s3cr3t-k3y" * 6000],
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_an_event_that_never_ends(name: str, told: Told) -> None:
    """It ends the answer at the limit, of 8 MiB by default, and upstream is left."""
    first, rest = ENDLESS[name]
    async with watched() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), framed(BEFORE))
        await call.send(framed(first))
        sent = await flood(call, repeat(framed(rest)))
        answer = await client.answer()
        how = await told.one(rig)
    broken(answer, "before", "upstream_event_too_large")
    assert how == Ended("upstream_incomplete", "upstream_event_too_large")
    # What the buffers on the way hold comes on top.
    assert 8 * MIB <= sent < 32 * MIB


@per_format
async def test_a_line_that_never_ends_in_any_format(wire_format: WireFormat, told: Told) -> None:
    """The same in the words of each."""
    async with (
        watched(event_limit=100_000) as rig,
        rig.call(chat(path=wire_format.path)) as (client, call),
    ):
        await call.request_body()
        await call.send(stream_head(content_type=content_type(wire_format)))
        await flood(call, repeat(framed(b'{"x":"s3cr3t-k3y' * 1000)))
        answer = await client.answer()
        how = await told.one(rig, route=wire_format.name)
    assert answer.status == 200
    assert b"over the configured limit" in answer.body
    assert SECRET.encode() not in answer.body
    assert how == Ended("upstream_incomplete", "upstream_event_too_large")


async def test_a_large_hidden_event_and_a_large_visible_one(told: Told) -> None:
    """Seven megabytes are dropped and one passes, within the limit."""
    hidden, shown = chunk({"reasoning": "x" * 7_000_000}), "y" * 1_000_000
    async with watched() as rig, rig.call(chat()) as (client, call):
        await call.request_body()
        await call.send(stream_head(), *map(framed, (ROLE, hidden, text(shown), FINISH, DONE)))
        answer = await client.answer()
        assert await told.one(rig) == COMPLETED
    complete(answer, shown)


async def test_an_explosion_of_choices(told: Told) -> None:
    """A stream has a bounded number of answers, of which each costs memory."""
    stream = b"".join(text("x", index=index) for index in range(20_000))
    async with watched() as rig:
        rig.upstream.reply(stream_head() + framed(text("before") + stream) + LAST)
        answer = await rig.ask(chat())
        how = await told.one(rig)
    assert how == Ended("upstream_incomplete", "upstream_malformed")
    assert answer.body.count(b'"index"') < 1000
