"""Newline-delimited JSON: chunks to frames, one line each, and values to lines."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.core.sse import EventTooLarge, Frame, Skip, no_skip


class LineDecoder:
    """Cuts a stream of bytes into lines; the tail without a line end waits.

    ``limit``: bytes of one line, its end included.
    """

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self._limit = limit

    def feed(self, chunk: bytes, skip: Skip = no_skip) -> Iterator[Frame]:
        """The frames that ``chunk`` completes; none is skipped. Raises EventTooLarge, after which
        the decoder is of no more use."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            if self._buffer:
                self._buffer += line
                line = bytes(self._buffer)
                self._buffer.clear()
            self._check(len(line) + 1)
            if line.strip():
                yield _frame(line)
        self._buffer += rest
        self._check(len(self._buffer))

    @property
    def idle(self) -> bool:
        """Whether nothing waits: the next chunk begins with a line."""
        return not self._buffer

    def finish(self) -> tuple[list[Frame], Frame | None]:
        """The last line, of which servers leave out the end: complete if it is a JSON value."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        if not rest.strip():
            return [], None
        try:
            parse(rest)
        except MalformedJSON:
            return [], _frame(rest)
        return [_frame(rest)], None

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise EventTooLarge(f"a line is larger than {self._limit} bytes")


def _frame(line: bytes) -> Frame:
    data = line.strip(b" \t\r")
    return Frame(line + b"\n", data, line in (data, data + b"\r"))


def line(data: bytes, name: bytes = b"") -> bytes:
    """``data``, a JSON text, as a line. Lines have no ``name``."""
    return data.replace(b"\n", b" ") + b"\n"
