"""An upstream and its clients in one process: the two ends of the streams that a proxy relays.

Bare protocols and hand-written HTTP/1.1, so that the proxy is what there is to wait for. Both ends
know each other: that is how a client acknowledges an event without another connection, and how the
time of an event is known without a word in it. Knows nothing of processes and processor time.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from functools import partial
from typing import NamedTuple, cast

from tests.bench.answers import Answer
from tests.bench.checks import WrongAnswer
from tests.bench.response import Response
from tests.bench.sending import Flood, Paced, Piece, Sender, pieces
from tests.bench.workloads import Way, Workload

_STREAM = re.compile(rb'"seed": ?(\d+)')
"""A member of the request's body says which stream it is: a body goes through any proxy whole."""

_MODELS = b'{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"o"}]}'
_MODELS_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    % (len(_MODELS), _MODELS)
)
_BACKLOG = 1024


class Stream:
    """One request and its answer: what both ends know of it. Times are in seconds."""

    __slots__ = ("arrived", "asked", "first", "response", "sender", "sent")

    def __init__(self) -> None:
        self.asked = 0.0
        """When the request was written."""
        self.first = 0.0
        """When the first of the body arrived."""
        self.sent: list[float] = []
        """When each event was."""
        self.arrived: list[float] = []
        """When each event did, if the workload is timed."""
        self.response = Response()
        self.sender: Sender | None = None


class Job(NamedTuple):
    """A workload, and the answer that is sent in it."""

    workload: Workload
    answer: Answer
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, workload: Workload) -> Job:
        """Made before it is measured."""
        answer = workload.make(workload.events)
        return cls(workload, answer, pieces(workload, answer))


class Load:
    """An upstream that listens, and its clients, for one job after another."""

    job: Job

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.waiting: deque[int] = deque()
        """Streams that no client has asked for yet."""
        self._begun = 0
        self._server: asyncio.Server | None = None

    async def listen(self) -> int:
        """Start the upstream; the port that it listens to, on loopback."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Upstream(self), "127.0.0.1", 0, backlog=_BACKLOG
        )
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def run(self, job: Job, port: int, patience: float) -> list[Stream]:
        """Every stream once, through the proxy at ``port``. Raises TimeoutError if nothing arrives
        for ``patience`` seconds, WrongAnswer if a stream is cut off."""
        self.job, workload = job, job.workload
        self.streams = [Stream() for _ in range(workload.streams * workload.repeats)]
        self.waiting.clear()
        self.waiting.extend(range(len(self.streams)))
        self._begun = 0
        loop = asyncio.get_running_loop()
        clients: list[_Client] = []
        try:
            for _ in range(workload.streams):
                _, client = await loop.create_connection(partial(_Client, self), "127.0.0.1", port)
                clients.append(client)
            await self._wait(clients, patience)
        finally:
            for client in clients:
                client.end()
        return self.streams

    async def _wait(self, clients: list[_Client], patience: float) -> None:
        """A stall is told from slowness by the bytes that arrived since the last look."""
        pending = {client.done for client in clients}
        seen = -1
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=patience, return_when=asyncio.FIRST_EXCEPTION
            )
            for future in done:
                future.result()
            arrived = sum(client.received for client in clients)
            if pending and arrived == seen:
                raise TimeoutError(f"{len(pending)} streams do not go on")
            seen = arrived

    def begin(self, number: int, upstream: _Upstream) -> Sender:
        """The request of a stream has come to the upstream: what answers it."""
        stream = self.streams[number]

        def sent(events: int) -> None:
            stream.sent.extend([time.perf_counter()] * events)

        write, way = upstream.write, self.job.workload.way
        sender: Sender
        if way is Way.FLOOD:
            sender = Flood(self.job.pieces, write, upstream.full)
        elif way is Way.PACED:
            sender = Paced(self.job.pieces, write, sent)
        else:
            sender = Sender(self.job.pieces, write, sent)
        stream.sender = sender
        sender.begin()
        self._begun += 1
        if way is Way.PACED and self._begun == len(self.streams):
            self._start_together()
        return sender

    def _start_together(self) -> None:
        """All are open: from now on they go on, evenly spread over the interval."""
        interval = self.job.workload.interval
        start = asyncio.get_running_loop().time() + interval
        for number, stream in enumerate(self.streams):
            sender = cast("Paced", stream.sender)
            sender.start(start + interval * number / len(self.streams), interval)


class _Upstream(asyncio.Protocol):
    """A connection to the model server: requests one after another, and their answers."""

    _transport: asyncio.Transport

    def __init__(self, load: Load) -> None:
        self._load = load
        self._request = bytearray()
        self._paused = False
        self._sender: Sender | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def write(self, data: bytes) -> None:
        """Send it, if the proxy is still there."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._request += data
        if self._request.startswith(b"GET "):
            # The sidecar asks once for the models that there are.
            self._request.clear()
            self.write(_MODELS_ANSWER)
            return
        stream = _STREAM.search(self._request)
        # The proxy may send the body in chunks; the seed is the last thing in it.
        if stream is not None and self._request.rstrip(b"\r\n0").endswith(b"}"):
            number = int(stream[1])
            self._request.clear()
            self._sender = self._load.begin(number, self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._sender is not None:
            self._sender.room()

    def full(self) -> bool:
        """Whether the socket takes no more for now."""
        return self._paused


class _Client(asyncio.Protocol):
    """One client: requests one after another on its connection, until none is waiting."""

    _transport: asyncio.Transport
    _stream: Stream

    def __init__(self, load: Load) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = 0
        self._load = load
        self._timed = load.job.workload.timed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        stream = self._stream
        self.received += len(data)
        try:
            piece = stream.response.feed(data)
        except (WrongAnswer, ValueError) as error:
            self._fail(str(error))
            return
        if piece:
            now = time.perf_counter()
            stream.first = stream.first or now
            if self._timed and (events := stream.response.events(piece)):
                stream.arrived.extend([now] * events)
                if stream.sender is not None:
                    stream.sender.acknowledge(events)
        if stream.response.ended:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"a stream is cut off: {error or 'closed'}")

    def end(self) -> None:
        """Hang up, whatever is still to come."""
        if self.done.cancel():
            self._transport.abort()
        elif not self.done.cancelled():
            self.done.exception()  # it was told, or another was

    def _ask(self) -> None:
        if not self._load.waiting:
            self.done.set_result(None)
            self._transport.close()
            return
        number = self._load.waiting.popleft()
        self._stream = self._load.streams[number]
        self._stream.asked = time.perf_counter()
        self._transport.write(_request(number, self._load.job.workload.way is not Way.DOCUMENT))

    def _fail(self, what: str) -> None:
        if not self.done.done():
            self.done.set_exception(WrongAnswer(what))
            self._transport.abort()


def _request(number: int, streamed: bool) -> bytes:
    body = (
        b'{"model": "m", "stream": %s, "messages": [{"role": "user", "content": "Hello"}],'
        b' "seed": %d}' % (b"true" if streamed else b"false", number)
    )
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
