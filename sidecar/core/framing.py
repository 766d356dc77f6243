"""The ways in which the events of a stream are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from sidecar.core import sse
from sidecar.core.ndjson import LineDecoder, line
from sidecar.core.sse import Frame, Skip, no_skip


class Decoder(Protocol):
    """Cuts one stream into frames."""

    def feed(self, chunk: bytes, skip: Skip = no_skip) -> Iterator[Frame]:
        """The frames that ``chunk`` completes, less those that are skipped. Raises
        EventTooLarge."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits: the next chunk begins with an event."""

    def finish(self) -> tuple[list[Frame], Frame | None]:
        """The frames that the end of the stream completes, and the one that it left unfinished."""


class Framing(NamedTuple):
    """How the events of a stream are written.

    ``decoder`` takes the largest size of an event in bytes. ``write`` makes an event of its data
    and its name. ``done`` is the data that ends a stream, None if nothing does; ``mark`` is the
    event with which ours end, empty if with none. ``beat`` says that the stream is alive, and
    nothing else; empty if the framing has no such thing.
    """

    content_type: str
    decoder: Callable[[int], Decoder]
    write: Callable[[bytes, bytes], bytes]
    done: bytes | None
    mark: bytes
    beat: bytes


_COMMENT = b": keep-alive\n"
"""Without a blank line, after which some libraries would tell of an empty message."""

EVENTS = Framing(
    "text/event-stream", sse.Decoder, sse.event, sse.DONE, sse.event(sse.DONE), _COMMENT
)
"""Server-sent events without names, ended by ``[DONE]``."""
NAMED_EVENTS = Framing("text/event-stream", sse.Decoder, sse.event, sse.DONE, b"", _COMMENT)
"""Server-sent events with names. Their last event is one of the format's own, though some servers
add a ``[DONE]``."""
LINES = Framing("application/x-ndjson", LineDecoder, line, None, b"", b"")
"""Newline-delimited JSON."""
