"""An upstream and its clients in one process: the two ends of the streams that a proxy relays.

Bare protocols and hand-written HTTP/1.1, so that the proxy is what there is to wait for. Both ends
know each other, which is how a client acknowledges an event without another connection. Knows
nothing of processes and processor time.
"""

from __future__ import annotations

import asyncio
import re
from enum import StrEnum
from functools import partial
from typing import cast

from tests.bench.workloads import DONE_EVENT, Workload

_STREAM = re.compile(rb'"seed": ?(\d+)')
"""A member of the request's body says which stream it is: a body goes through any proxy whole."""

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_BATCH = 32
"""Events of one write, where they are sent as fast as possible."""


class Mode(StrEnum):
    """When the upstream sends the next event."""

    LOCKSTEP = "lockstep"
    """Once the client has received the one before."""
    BURST = "burst"
    """At once."""


class Load:
    """``streams`` answers at a time, all of the same workload."""

    def __init__(self, workload: Workload, streams: int, mode: Mode) -> None:
        self.lockstep = mode is Mode.LOCKSTEP
        self.pieces = tuple(map(_http_chunk, _pieces(workload, mode)))
        self._streams = streams
        self._upstreams: dict[int, _Upstream] = {}
        self._received = 0
        self._server: asyncio.Server | None = None

    async def listen(self) -> int:
        """Start the upstream; the port that it listens to, on loopback."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Upstream(self), "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def run(self, port: int, patience: float) -> list[bytes]:
        """Every stream once, through the proxy at ``port``: what each client received, its event
        stream without HTTP. Raises TimeoutError if nothing arrives for ``patience`` seconds."""
        self._upstreams.clear()
        loop = asyncio.get_running_loop()
        clients = [_Client(self, number) for number in range(self._streams)]
        for client in clients:
            await loop.create_connection(partial(_itself, client), "127.0.0.1", port)
        await self._wait(clients, patience)
        return [_body(bytes(client.received)) for client in clients]

    async def _wait(self, clients: list[_Client], patience: float) -> None:
        """A stall is told from slowness by the bytes that arrived since the last look."""
        waiting = {asyncio.ensure_future(client.done.wait()) for client in clients}
        seen = -1
        while waiting:
            arrived = sum(len(client.received) for client in clients)
            if arrived == seen:
                raise TimeoutError(f"{len(waiting)} streams do not go on")
            seen = arrived
            _, waiting = await asyncio.wait(waiting, timeout=patience)

    def begin(self, stream: int, upstream: _Upstream) -> None:
        """The request of ``stream`` has come to the upstream."""
        self._upstreams[stream] = upstream
        upstream.send()

    def acknowledge(self, stream: int, events: int) -> None:
        """The client of ``stream`` has received so many more events."""
        upstream = self._upstreams[stream]
        for _ in range(events):
            upstream.send()


class _Upstream(asyncio.Protocol):
    """One request to the model server, and its answer."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._request = bytearray()
        self._pieces = iter(load.pieces)
        self._paused = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._request += data
        stream = _STREAM.search(self._request)
        # The proxy may send the body in chunks; the seed is the last thing in it.
        if stream is not None and self._request.rstrip(b"\r\n0").endswith(b"}"):
            self._transport.write(_HEAD)
            self._load.begin(int(stream[1]), self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self.send()

    def send(self) -> None:
        """The next piece; or, if nobody acknowledges them, all that there is room for."""
        if self._load.lockstep:
            self._transport.write(next(self._pieces, b""))
            return
        while not self._paused and (piece := next(self._pieces, b"")):
            self._transport.write(piece)


class _Client(asyncio.Protocol):
    """One client: a request, and all that comes back."""

    def __init__(self, load: Load, stream: int) -> None:
        self.received = bytearray()
        self.done = asyncio.Event()
        self._load = load
        self._stream = stream
        self._searched = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_request(self._stream))

    def data_received(self, data: bytes) -> None:
        received = self.received
        received += data
        if self._load.lockstep:
            events = 0
            while (end := received.find(b"\n\n", self._searched)) >= 0:
                self._searched = end + 2
                events += 1
            if events:
                self._load.acknowledge(self._stream, events)
        if received.endswith(b"\r\n0\r\n\r\n"):
            self.done.set()
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.done.set()


def _itself(client: _Client) -> _Client:
    return client


def _request(stream: int) -> bytes:
    body = (
        b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "Hello"}],'
        b' "seed": %d}' % stream
    )
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )


def _pieces(workload: Workload, mode: Mode) -> list[bytes]:
    """What is sent at a time; the last piece, without data, ends the body."""
    events = [*workload.events, DONE_EVENT]
    size = 1 if mode is Mode.LOCKSTEP else _BATCH
    starts = range(0, len(events), size)
    return [*(b"".join(events[start : start + size]) for start in starts), b""]


def _http_chunk(data: bytes) -> bytes:
    """RFC 9112, 7.1; without data it is the last one."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _body(response: bytes) -> bytes:
    """The body of a whole response in chunks."""
    if not response.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"the proxy answered {response[:300]!r}")
    parts: list[bytes] = []
    start = response.index(b"\r\n\r\n") + 4
    while True:
        end = response.index(b"\r\n", start)
        size = int(response[start:end], 16)
        if not size:
            return b"".join(parts)
        parts.append(response[end + 2 : end + 2 + size])
        start = end + 2 + size + 2
