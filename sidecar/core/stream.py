"""The push transducer: the bytes of an upstream event stream in, the client's bytes out.

Two methods and no I/O. Whoever calls them waits, writes and keeps the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from sidecar.core.jsontext import MalformedJSON, Parsed, parse
from sidecar.core.sse import DONE, Decoder, EventTooLarge, Frame, event
from sidecar.core.stats import Stats, Verdict


class Fault(NamedTuple):
    """Why a stream cannot go on, in words for the client."""

    code: str
    message: str


UPSTREAM_CLOSED = Fault(
    "upstream_incomplete", "The upstream server ended the stream before the answer was complete."
)
MALFORMED_EVENT = Fault(
    "upstream_malformed", "The upstream server sent an event that is not valid JSON."
)
EVENT_TOO_LARGE = Fault(
    "upstream_event_too_large", "The upstream server sent an event over the configured limit."
)


class MalformedChunk(ValueError):
    """A JSON value that cannot be a chunk of this wire format."""


class Reading(NamedTuple):
    """What one event becomes: its original bytes (PASS), or ``payloads``, in order."""

    verdict: Verdict
    payloads: tuple[bytes, ...] = ()
    last: bool = False
    """The answer ends with this event (an error): nothing may follow but the end mark."""


class Wire(Protocol):
    """One answer in one upstream wire format; see :mod:`sidecar.wire`."""

    stats: Stats

    def repeat(self, data: bytes) -> Reading | None:
        """What becomes of an event that is like one that passed in all but its text; None if it
        must be read in full, and then nothing happened."""

    def read(self, event: Parsed) -> Reading:
        """Judge one event. Raises MalformedChunk if it cannot be one."""

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done: held text, a finish, or an error if a
        choice has none (``fault``, or that the answer is incomplete)."""


_DONE_EVENT = event(DONE)
_PASS = Verdict.PASS

Trace = Callable[[Frame, Verdict], None]


class StreamFilter:
    """Filters one answer that arrives as server-sent events.

    ``limit``: bytes of one event. ``trace`` is told of every frame.
    """

    def __init__(self, wire: Wire, *, limit: int, trace: Trace | None = None) -> None:
        self.done = False
        """Everything was written; whatever upstream may still send is ignored."""
        self._wire = wire
        self._decoder = Decoder(limit)
        self._trace = trace

    def feed(self, chunk: bytes) -> bytes:
        """The bytes for the client that ``chunk`` makes certain; may be empty."""
        if self.done:
            return b""
        repeated = self._repeat(chunk) if self._trace is None else None
        if repeated is not None:
            return repeated
        out: list[bytes] = []
        try:
            for frame in self._decoder.feed(chunk):
                self._frame(frame, out)
                if self.done:
                    break
        except EventTooLarge:
            self._end(EVENT_TOO_LARGE, out)
        return b"".join(out)

    def finish(self, fault: Fault | None = None) -> bytes:
        """The last bytes, when upstream has closed, or has died of ``fault``."""
        if self.done:
            return b""
        out: list[bytes] = []
        frames, rest = self._decoder.finish()
        for frame in frames:
            if not self.done:
                self._frame(frame, out)
        # An event without its blank line is discarded (HTML 9.2.6), but servers and proxies do
        # cut the line end off the last one, and the end mark can be nothing else.
        if rest is not None and rest.data is not None and rest.data.strip() == DONE:
            fault = None
        if not self.done:
            self._end(fault, out)
        return b"".join(out)

    def _repeat(self, chunk: bytes) -> bytes | None:
        """What becomes of a chunk that is one event like one before, by the shortest way."""
        data = self._decoder.only(chunk)
        reading = None if data is None else self._wire.repeat(data)
        if reading is None:
            return None
        return chunk if reading.verdict is _PASS else b"".join(map(event, reading.payloads))

    def _frame(self, frame: Frame, out: list[bytes]) -> None:
        data = frame.data
        if not data:
            self._note(frame, Verdict.DROP)
        elif data.strip() == DONE:
            self._note(frame, Verdict.PASS)
            self._end(None, out, mark=frame.raw if frame.pure and data == DONE else _DONE_EVENT)
        else:
            self._event(frame, data, out)

    def _event(self, frame: Frame, data: bytes, out: list[bytes]) -> None:
        try:
            reading = self._wire.repeat(data) or self._wire.read(parse(data))
        except (MalformedJSON, MalformedChunk):
            self._note(frame, Verdict.DROP)
            self._end(MALFORMED_EVENT, out)
            return
        if reading.verdict is _PASS:
            out.append(frame.raw if frame.pure else event(data))
        else:
            out.extend(map(event, reading.payloads))
        self._note(frame, reading.verdict)
        if reading.last:
            self._close(out)

    def _end(self, fault: Fault | None, out: list[bytes], mark: bytes = _DONE_EVENT) -> None:
        out.extend(map(event, self._wire.end(fault)))
        self._close(out, mark)

    def _close(self, out: list[bytes], mark: bytes = _DONE_EVENT) -> None:
        out.append(mark)
        self.done = True

    def _note(self, frame: Frame, verdict: Verdict) -> None:
        if self._trace is not None:
            self._trace(frame, verdict)
