"""Server-sent events: chunks to frames, and frames to bytes.

Follows the HTML Standard, 9.2.6 "Interpreting an event stream": lines end with LF, CR or CRLF (and
with nothing else), one BOM at the start is dropped, an event that no blank line ended is discarded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

DONE = b"[DONE]"
"""The data of the event with which a chat stream ends."""

_BOM = b"\xef\xbb\xbf"
# Atomic groups: a CRLF is one line end, never a CR and then a LF.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventTooLarge(ValueError):
    """An event is larger than the limit; nothing of it may be forwarded."""


class Frame(NamedTuple):
    """One event block.

    ``raw`` are its bytes with the blank line. ``data`` is what its data lines say, None if it has
    none (a comment, an id). ``pure``: the block is data lines and at most one with its ``name``,
    so that its raw bytes say no more than these two; ``name`` is empty if it has none.
    """

    raw: bytes
    data: bytes | None
    pure: bool
    name: bytes = b""


Skip: TypeAlias = Callable[[bytes, int], int]
"""Is asked where an event may begin in a chunk: where the next one begins that is to be read."""


def no_skip(_: bytes, position: int) -> int:
    """Every event is to be read."""
    return position


class Decoder:
    """Cuts a stream of bytes into frames; the tail without a blank line waits.

    ``limit``: bytes of one event, terminator included.
    """

    __slots__ = ("_buffer", "_limit", "_searched", "_started")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._searched = 0
        """Nothing before this position in the buffer ends an event."""
        self._limit = limit
        self._started = False

    def feed(self, chunk: bytes, skip: Skip = no_skip) -> Iterator[Frame]:
        """The frames that ``chunk`` completes, less those that are skipped; the first one may be if
        it began in an earlier chunk. Raises EventTooLarge, after which the decoder is of no more
        use."""
        position = 0
        if self._buffer or not self._started:
            chunk = self._join(chunk)
            position = skip(chunk, 0)
        if b"\r" in chunk:
            yield from self._feed_any(chunk, position, skip)
            return
        while (end := chunk.find(b"\n\n", position)) >= 0:
            self._check(end + 2 - position)
            if end > position:
                yield frame(chunk[position : end + 2])
            position = skip(chunk, end + 2)
        self._keep(chunk[position:])

    @property
    def idle(self) -> bool:
        """Whether nothing waits: the next chunk begins with an event."""
        return self._started and not self._buffer

    def finish(self) -> tuple[list[Frame], Frame | None]:
        """The frames that the end of the stream completes (a last CR is no half CRLF), and that
        of the unterminated event, if the stream ended in one."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        frames = []
        start = 0
        for end in _BLANK_LINE.finditer(rest):
            if rest[start : end.end()].strip(b"\r\n"):
                frames.append(frame(rest[start : end.end()]))
            start = end.end()
        rest = rest[start:].strip(b"\r\n")
        return frames, frame(rest + b"\n\n") if rest else None

    def _feed_any(self, chunk: bytes, start: int, skip: Skip) -> Iterator[Frame]:
        while (end := _BLANK_LINE.search(chunk, start)) is not None:
            if end.end() == len(chunk) and chunk.endswith(b"\r"):
                break  # It may be half a CRLF: the next chunk says whose line end it is.
            block = chunk[start : end.end()]
            self._check(len(block))
            if block.strip(b"\r\n"):
                yield frame(block)
            start = skip(chunk, end.end())
        self._keep(chunk[start:])

    def _join(self, chunk: bytes) -> bytes:
        """The waiting tail and ``chunk``, if something may end in them; else nothing."""
        self._buffer += chunk
        if not self._started:
            if _BOM.startswith(self._buffer[:3]) and len(self._buffer) < 3:
                return b""
            self._started = True
            if self._buffer.startswith(_BOM):
                del self._buffer[:3]
        if not _BLANK_LINE.search(self._buffer, self._searched):
            self._note_searched()
            return b""
        joined = bytes(self._buffer)
        self._buffer.clear()
        return joined

    def _keep(self, rest: bytes) -> None:
        if rest:
            self._buffer += rest
            self._note_searched()

    def _note_searched(self) -> None:
        self._check(len(self._buffer))
        # The last three bytes may be the beginning of a blank line.
        self._searched = max(0, len(self._buffer) - 3)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise EventTooLarge(f"an event is larger than {self._limit} bytes")


def frame(block: bytes) -> Frame:
    """The frame of one block, given with its blank line."""
    if block.startswith(b"data: ") and block.endswith(b"\n\n"):
        data = block[6:-2]
        if b"\n" not in data and b"\r" not in data:
            return Frame(block, data, True)
    lines = [line for line in _LINE_END.split(block) if line]
    said = [_value(line) for line in lines if line == b"data" or line.startswith(b"data:")]
    names = [_value(line) for line in lines if line.startswith(b"event:")]
    name = names[-1] if names else b""
    if not said:
        return Frame(block, None, False, name)
    pure = len(names) <= 1 and len(said) + len(names) == len(lines)
    return Frame(block, b"\n".join(said), pure, name)


def _value(line: bytes) -> bytes:
    return line.partition(b":")[2].removeprefix(b" ")


def event(data: bytes, name: bytes = b"") -> bytes:
    """``data``, a JSON text, as an event on one line, which is more than many clients read; without
    a ``name`` if that is empty."""
    said = b"data: " + data.replace(b"\n", b" ") + b"\n\n"
    return b"event: " + name + b"\n" + said if name else said
