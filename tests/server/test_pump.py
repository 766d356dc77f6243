"""What comes is written in the call that brings it: all of it, however it comes, and however slowly
it is read."""

from __future__ import annotations

import asyncio
import gc
import gzip
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from sidecar.core.stream import StreamFilter
from sidecar.server.pump import Pump, _without_waiting
from sidecar.server.turns import Turns

from .scripted import (
    DONE,
    FINISH,
    LAST,
    ROLE,
    Cut,
    chat,
    framed,
    proxied,
    stream_head,
    text,
    visible,
)
from .test_slow_clients import lazy_client

Run = Callable[[Coroutine[Any, Any, None]], None]

LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}
WORDS = [f"{number} and so on. " * 60 for number in range(1_000)]
EVENTS = b"".join([ROLE, *map(text, WORDS), FINISH, DONE])


def whole() -> bytes:
    """As fast as the sockets take it."""
    return stream_head() + framed(EVENTS) + LAST


def until_it_closes() -> bytes:
    """In no coding, so that only the end of the connection is the end."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + EVENTS


def packed() -> bytes:
    """A megabyte in a few kilobytes: the parser is told to wait in the middle of what it has."""
    return stream_head("Content-Encoding: gzip") + framed(gzip.compress(EVENTS)) + LAST


def crumbs() -> bytes:
    """More chunks than aiohttp reads in one go, with a byte in each."""
    return stream_head() + b"".join(b"1\r\n%c\r\n" % byte for byte in EVENTS) + LAST


@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
@pytest.mark.parametrize("sent", [whole, until_it_closes, packed, crumbs])
def test_nothing_is_lost(sent: Callable[[], bytes], rules: tuple[()] | None, run: Run) -> None:
    """A client whose system takes little gets every byte, in order, and the end."""

    async def relayed() -> None:
        async with proxied(rules=rules) as rig, lazy_client(rig) as client:
            rig.upstream.reply(sent())
            await client.send(chat())
            head = await client.head()
            body = b""
            while part := await client.chunk():
                body += part
            if head.one("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert visible(body) == "".join(WORDS)
            assert body.endswith(DONE)

    run(relayed())


async def test_a_mistake_of_our_own_cuts_the_answer_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Told by its class alone, though it happens outside of the request's own task."""
    feed = StreamFilter.feed

    def fails(stream: StreamFilter, chunk: bytes) -> bytes:
        if b"SECRET" in chunk:
            raise KeyError(chunk)
        return feed(stream, chunk)

    monkeypatch.setattr(StreamFilter, "feed", fails)
    async with proxied() as rig, rig.call(chat()) as (client, call):
        await call.send(stream_head(), framed(ROLE))
        await client.head()
        assert await client.chunk() == ROLE
        await call.send(framed(text("SECRET")))
        with pytest.raises(Cut):
            await client.chunk()
        assert 'outcome="failed"' in await rig.scrape()
    assert "KeyError" in caplog.text
    assert "SECRET" not in caplog.text
    caplog.clear()


async def test_an_answer_that_is_over_leaves_no_circle() -> None:
    """Each that did would be kept, with all that it knows, until somebody looked for it."""
    gc.collect()
    gc.disable()
    try:
        async with proxied() as rig:
            rig.upstream.reply(whole())
            assert (await rig.ask(chat())).status == 200
            relayed = [each for each in gc.get_objects() if isinstance(each, Pump)]
    finally:
        gc.enable()
    assert not relayed


class Standing:
    """An event loop whose time is set."""

    def __init__(self) -> None:
        self.now = 0.0
        self.soon: list[Callable[[], None]] = []

    def time(self) -> float:
        """As it was set."""
        return self.now

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Called by the test."""
        self.soon.append(callback)


def test_what_comes_together_is_read_before_anything_is_written() -> None:
    """The first is told at once, the others when all have come, and whoever comes alone at once."""
    loop, told = Standing(), list[str]()
    turns: Any = Turns(loop)  # type: ignore[arg-type]
    for name in "abc":
        turns.take(lambda name=name: told.append(name))
    assert told == ["a"]
    assert len(loop.soon) == 1
    loop.soon.pop()()
    assert told == ["a", "b", "c"]
    loop.now = 0.001
    turns.take(lambda: told.append("d"))
    assert told == ["a", "b", "c", "d"]
    assert not loop.soon


async def test_a_write_that_waits_is_noticed() -> None:
    """Should aiohttp wait where it is told not to, nothing is lost in silence."""
    writing = asyncio.sleep(0)
    with pytest.raises(TypeError, match="no longer writes at once"):
        _without_waiting(writing)
    writing.close()
