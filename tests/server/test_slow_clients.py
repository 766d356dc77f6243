"""Clients that read slowly, and clients that do not read: on a clock of the test's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .clock import Clock
from .scripted import (
    ROLE,
    Call,
    Peer,
    Rig,
    chat,
    document,
    framed,
    proxied,
    response,
    stream_head,
    text,
)

PATIENCE = 60.0
HOURS = 10_000.0
"""Of the clock, which jumps."""
FLOOD = framed(text("x" * 60_000))
ROUNDS = 2_000
"""Turns of the loop in which bytes would have moved on loopback, if anybody took them."""


@asynccontextmanager
async def lazy_client(rig: Rig) -> AsyncIterator[Peer]:
    """A client whose system takes little before the client reads."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    sock.setblocking(False)
    at = rig.running.data
    await asyncio.get_running_loop().sock_connect(sock, (at.host, at.port))
    # A small limit, so that the test's own end does not read ahead either.
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    async with Peer(reader, writer) as peer:
        yield peer


class Flood:
    """Upstream sends as much as is taken."""

    def __init__(self, call: Call) -> None:
        self.sent = 0
        self._call = call
        self._task = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while True:
            await self._call.send(FLOOD)
            self.sent += 1

    async def stuck(self) -> None:
        """Wait until nothing is taken any more."""
        before = -1
        while before != self.sent:
            before = self.sent
            for _ in range(ROUNDS):
                await asyncio.sleep(0)

    async def end(self) -> None:
        """Stop sending."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def broken(self) -> None:
        """Wait until the connection is closed."""
        with pytest.raises(ConnectionError):
            await self._task


@asynccontextmanager
async def flooded(rig: Rig, raw: bytes) -> AsyncIterator[tuple[Peer, Flood]]:
    """A client that has read nothing of a stream without end."""
    async with lazy_client(rig) as client:
        await client.send(raw)
        call = await rig.upstream.accept()
        await call.request_body()
        await call.send(stream_head(), framed(ROLE))
        flood = Flood(call)
        try:
            yield client, flood
        finally:
            await flood.end()


@pytest.mark.parametrize("rules", [None, ()], ids=["filtered", "untouched"])
async def test_who_takes_nothing_is_cut_off(rules: tuple[()] | None) -> None:
    """After the write timeout and not before; upstream is told at once, and metrics say why."""
    options: dict[str, Any] = {"rules": rules, "write_timeout": PATIENCE, "seconds": HOURS}
    async with proxied(**options) as rig, flooded(rig, chat()) as (_, flood):
        clock = Clock()
        await flood.stuck()
        clock.advance(PATIENCE - 5)
        await flood.stuck()
        clock.advance(6)
        await flood.broken()
        assert 'outcome="client_timeout"' in await rig.scrape()


async def test_upstream_is_paused_meanwhile() -> None:
    """What lies between the two ends is a few buffers, not the answer."""
    async with proxied() as rig, flooded(rig, chat()) as (_, flood):
        await flood.stuck()
        assert flood.sent * len(FLOOD) < 16 * 2**20


async def test_who_takes_a_little_is_waited_for() -> None:
    """However slow: each time something is taken, the time begins anew."""
    async with (
        proxied(write_timeout=PATIENCE, seconds=HOURS) as rig,
        flooded(rig, chat()) as (client, flood),
    ):
        clock = Clock()
        await flood.stuck()
        for _ in range(8):
            clock.advance(PATIENCE - 5)
            await asyncio.sleep(0)
            await client.reader.readexactly(200_000)
            await flood.stuck()
        clock.advance(PATIENCE + 1)
        await flood.stuck()
        clock.advance(PATIENCE + 1)
        await flood.broken()


async def test_a_document_that_nobody_reads_is_given_up() -> None:
    """It is larger than what the system takes, and the handler's work is done."""
    body = document({"content": "x" * 7_000_000})
    async with proxied(write_timeout=PATIENCE, seconds=HOURS) as rig, lazy_client(rig) as client:
        rig.upstream.reply(response("200 OK", body=body))
        clock = Clock()
        await client.send(chat(stream=False))
        while "completed" not in await rig.scrape():
            pass
        clock.advance(PATIENCE + 1)
        await asyncio.sleep(0)
        assert len(await client.gone()) < len(body)
