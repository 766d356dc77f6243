"""A model server that does with each request what it is told to."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio import FIRST_COMPLETED
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.server.scripted import Cut, Peer, framed
from tests.soak.scenarios import NUMBER, Act, Script

_RESET = struct.pack("ii", 1, 0)
"""Of SO_LINGER: a connection that is closed with it is reset."""
_SIGN_OF_LIFE = 1.0
"""Seconds between two of them."""


class Visit(NamedTuple):
    """Whether a request has come, and whether the upstream is done with it."""

    come: asyncio.Event
    over: asyncio.Event


class Upstream:
    """``async with``: it listens on ``port`` of loopback."""

    def __init__(self) -> None:
        self.port = 0
        self.released = asyncio.Event()
        """Whoever holds goes on, unless the sidecar has closed the connection."""
        self._expected: dict[int, tuple[Script, Visit]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open(self) -> int:
        """Requests that it has not done with."""
        return len(self._tasks)

    @contextmanager
    def expecting(self, number: int, script: Script) -> Iterator[Visit]:
        """A request with this number may come."""
        visit = Visit(asyncio.Event(), asyncio.Event())
        self._expected[number] = script, visit
        try:
            yield visit
        finally:
            del self._expected[number]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(Peer(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, peer: Peer) -> None:
        try:
            head = await peer.head()
            await peer.body(head)
            script, visit = self._expected[int(head.one(NUMBER) or "")]
            visit.come.set()
            await self._play(script, peer)
            visit.over.set()
        except Cut:
            pass  # the client had left before its request was here
        finally:
            peer.finish()

    async def _play(self, script: Script, peer: Peer) -> None:
        try:
            for step in script:
                await self._do(step, peer)
        except ConnectionError:
            pass  # the sidecar has closed the connection

    async def _do(self, step: bytes | float | Act, peer: Peer) -> None:
        if isinstance(step, bytes):
            await _send(peer, step)
        elif isinstance(step, float):
            await asyncio.sleep(step)
        elif step is Act.RESET:
            sock: socket.socket = peer.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            peer.abort()
        elif step is not Act.CLOSE:
            gone = asyncio.ensure_future(peer.gone())
            waits: set[asyncio.Future[Any]] = {gone}
            if step in (Act.HOLD, Act.HOLD_ALIVE):
                waits.add(asyncio.ensure_future(self.released.wait()))
            every = _SIGN_OF_LIFE if step in (Act.STAY, Act.HOLD_ALIVE) else None
            await self._wait(peer, waits, every)

    async def _wait(self, peer: Peer, waits: set[asyncio.Future[Any]], every: float | None) -> None:
        """Wait for one of them, and send an empty line so often."""
        try:
            while not (await asyncio.wait(waits, timeout=every, return_when=FIRST_COMPLETED))[0]:
                await _send(peer, framed(b"\n"))
        finally:
            for each in waits:
                each.cancel()


async def _send(peer: Peer, data: bytes) -> None:
    """Raises ConnectionError if the sidecar has closed the connection."""
    if peer.writer.is_closing():
        raise ConnectionResetError
    await peer.send(data)
