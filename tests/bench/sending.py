"""How upstream sends one answer, by :class:`tests.bench.workloads.Way`.

An event is an HTTP chunk of its own, as servers write them. What is sent is made beforehand and is
the same for all streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.bench.answers import DONE_EVENT, Answer
from tests.bench.workloads import Way, Workload

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_DOCUMENT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_TEAR = 0.001
"""Seconds between two segments of an event: the least that an event loop's timer knows."""


class Piece(NamedTuple):
    """What is sent at a time."""

    segments: tuple[bytes, ...]
    """One, unless the event is torn."""
    events: int


Write = Callable[[bytes], None]
Sent = Callable[[int], None]
"""Is told of so many events that are written."""


def pieces(workload: Workload, answer: Answer) -> tuple[Piece, ...]:
    """An answer as it is sent, with the head in the first piece and the end in the last."""
    if workload.way is Way.DOCUMENT:
        (body,) = answer.events
        return (Piece((_DOCUMENT_HEAD % len(body) + body,), 1),)
    chunks = [_chunk(event) for event in (*answer.events, DONE_EVENT)]
    chunks[0] = _HEAD + chunks[0]
    chunks[-1] += _LAST_CHUNK
    return tuple(_pieces(chunks, workload.step, 3 if workload.way is Way.TORN else 1))


def _pieces(chunks: list[bytes], size: int, segments: int) -> Iterator[Piece]:
    for start in range(0, len(chunks), size):
        group = chunks[start : start + size]
        data = b"".join(group)
        length = -(-len(data) // segments)
        cut = tuple(data[at : at + length] for at in range(0, len(data), length))
        yield Piece(cut, len(group))


def _chunk(data: bytes) -> bytes:
    """RFC 9112, 7.1."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Sender:
    """One answer that is sent in lockstep, or in one piece. ``sent`` is told before each write."""

    def __init__(self, pieces: tuple[Piece, ...], write: Write, sent: Sent) -> None:
        self._pieces = iter(pieces)
        self._write = write
        self._sent = sent
        self._open = 0
        """Events on their way."""

    def begin(self) -> None:
        """Send the first piece, and what else is not waited for."""
        self.next()

    def acknowledge(self, events: int) -> None:
        """The client has received so many more events."""
        self._open -= events
        if self._open <= 0:
            self.next()

    def room(self) -> None:
        """What is written has left, after there was too much of it."""

    def next(self) -> bool:
        """Send the next piece; whether there was one."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._open += piece.events
        self._sent(piece.events)
        first, *others = piece.segments
        self._write(first)
        for number, segment in enumerate(others, 1):
            asyncio.get_running_loop().call_later(number * _TEAR, self._write, segment)
        return True


class Flood(Sender):
    """Each event by itself, as servers write them, and without waiting, as long as there is room:
    ``full`` says when there is none. Nobody is told when."""

    def __init__(self, pieces: tuple[Piece, ...], write: Write, full: Callable[[], bool]) -> None:
        super().__init__(pieces, write, _untold)
        self._full = full
        self._stopped = False
        self._soon = asyncio.get_running_loop().call_soon

    def begin(self) -> None:
        self._stopped = self._full()
        if self._stopped:
            return
        for piece in self._pieces:
            self._write(piece.segments[0])
            # In one turn of the event loop uvloop would write them all together.
            self._soon(self.begin)
            return

    def room(self) -> None:
        if self._stopped:
            self.begin()


def _untold(_: int) -> None:
    pass


class Paced(Sender):
    """The first piece at once, and each other at its time, once :meth:`start` is called."""

    _due: float
    _interval: float

    def start(self, first: float, interval: float) -> None:
        """Send the second piece at the time ``first`` of the event loop, and so on."""
        self._due = first
        self._interval = interval
        asyncio.get_running_loop().call_at(first, self._tick)

    def acknowledge(self, events: int) -> None:
        """Nothing waits for it."""

    def _tick(self) -> None:
        if self.next():
            self._due += self._interval
            asyncio.get_running_loop().call_at(self._due, self._tick)
