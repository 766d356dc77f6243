"""What a client reads: HTTP/1.1 responses without their framing, and the events in them."""

from __future__ import annotations

import re

from tests.bench.checks import WrongAnswer

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_STATUS = b'"sidecar":{"status"'
"""What a chunk has that tells a status: it is no event of the answer."""


class Response:
    """One response, with a body in chunks or of a length, as it arrives."""

    __slots__ = ("_buffer", "_length", "_pieces", "_rest", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._buffer = bytearray()
        self._pieces: list[bytes] | None = None
        """Of the body; None before it begins."""
        self._length: int | None = None
        """Bytes of the body still to come; None if it comes in chunks."""
        self._rest = b""

    @property
    def body(self) -> bytes:
        """What has come of it."""
        return b"".join(self._pieces or ())

    def feed(self, data: bytes) -> bytes:
        """What ``data`` adds to the body, as far as its chunks are whole. Raises WrongAnswer if the
        status is not 200, ValueError if a chunk has no size."""
        piece = None if self._buffer or self._pieces is None else self._only_chunk(data)
        if piece is None:
            self._buffer += data
            if self._pieces is None and not self._read_head():
                return b""
            piece = self._read_chunks() if self._length is None else self._read_bytes()
        if piece and self._pieces is not None:
            self._pieces.append(piece)
        return piece

    def events(self, piece: bytes) -> int:
        """How many events of the answer are complete with the next ``piece`` of the body. Statuses
        are none."""
        if self._rest or not piece.endswith(b"\n\n"):
            whole, end, rest = (self._rest + piece).rpartition(b"\n\n")
            self._rest = rest
            piece = whole + end
        return piece.count(b"\n\n") - piece.count(_STATUS)

    def _only_chunk(self, data: bytes) -> bytes | None:
        """The content of ``data`` where it is one whole chunk, as it is in lockstep."""
        end = data.find(b"\r\n") if self._length is None else 0
        size = int(data[:end], 16) if end > 0 else 0
        return data[end + 2 : -2] if size and len(data) == end + size + 4 else None

    def _read_head(self) -> bool:
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise WrongAnswer(f"the answer is {bytes(self._buffer[:300])!r}")
        length = _LENGTH.search(head + b"\r\n")
        self._length = int(length[1]) if length else None
        self._buffer = body
        self._pieces = []
        return True

    def _read_chunks(self) -> bytes:
        """RFC 9112, 7.1, without extensions and trailers."""
        buffer, pieces, start = self._buffer, [], 0
        while (line := buffer.find(b"\r\n", start)) >= 0:
            size = int(buffer[start:line], 16)
            end = line + 2 + size
            if len(buffer) < end + 2:
                break
            pieces.append(bytes(buffer[line + 2 : end]))
            start = end + 2
            self.ended = not size
        del buffer[:start]
        return b"".join(pieces)

    def _read_bytes(self) -> bytes:
        piece = bytes(self._buffer)
        self._buffer.clear()
        self._length = (self._length or 0) - len(piece)
        self.ended = self._length <= 0
        return piece
