"""What reads an answer on its way and changes nothing: for rules that only observe."""

from __future__ import annotations

from contextlib import suppress
from hashlib import blake2b
from typing import Protocol

from sidecar.core.document import filter_document
from sidecar.core.jsontext import MalformedJSON
from sidecar.core.stream import MalformedChunk, StreamFilter
from sidecar.wire.answer import Answer


class Tap(Protocol):
    """``differs``: by a rule that enforces, a client would have got other bytes. It is known when
    the body is complete."""

    differs: bool

    def feed(self, chunk: bytes) -> None:
        """A piece of the body has come."""

    def finish(self) -> None:
        """The body is complete."""


class StreamTap:
    """Judges a stream while it passes."""

    def __init__(self, stream: StreamFilter) -> None:
        self.differs = False
        self._stream = stream
        # Of all that came and would have left: the one is ahead of the other.
        self._came, self._left = blake2b(), blake2b()

    def feed(self, chunk: bytes) -> None:
        """A piece of the body has come."""
        self._came.update(chunk)
        self._left.update(self._stream.feed(chunk))

    def finish(self) -> None:
        """The body is complete."""
        self._left.update(self._stream.finish())
        self.differs = self._came.digest() != self._left.digest()


class DocumentTap:
    """Judges a document once it has passed; one larger than ``limit`` bytes is not judged."""

    def __init__(self, wire: Answer, limit: int) -> None:
        self.differs = False
        self._wire = wire
        self._limit = limit
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """A piece of the body has come."""
        if len(self._body) <= self._limit:
            self._body += chunk

    def finish(self) -> None:
        """The body is complete."""
        if len(self._body) <= self._limit:
            body = bytes(self._body)
            with suppress(MalformedJSON, MalformedChunk):
                self.differs = filter_document(body, self._wire) != body
