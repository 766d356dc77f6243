"""The push transducer: the bytes of an upstream event stream in, the client's bytes out.

No I/O: whoever calls it waits, writes and keeps the time. What a person is told meanwhile is put
before the event that changed it (:meth:`StreamFilter.feed`), or is asked for when the time has come
(:meth:`StreamFilter.wait`, :meth:`StreamFilter.beat`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from sidecar.core.framing import Framing
from sidecar.core.jsontext import MalformedJSON, Parsed, parse
from sidecar.core.progress import Phase, Progress
from sidecar.core.sse import EventTooLarge, Frame
from sidecar.core.stats import Stats, Verdict
from sidecar.core.status import Beat, Carrier, Statuses
from sidecar.core.unread import Around, Repeated, Settled, Stops


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
    """What one event becomes: its original bytes (PASS), or ``out``, events as they are written.

    ``name`` is that of an event that passes, empty if it has none.
    """

    verdict: Verdict
    out: tuple[bytes, ...] = ()
    name: bytes = b""
    last: bool = False
    """The answer ends with this event: nothing may follow but the end mark."""


class Wire(Carrier, Protocol):
    """One answer in one upstream wire format; see :mod:`sidecar.wire`."""

    framing: Framing
    stats: Stats
    progress: Progress

    @property
    def hesitates(self) -> bool:
        """Whether the text that was read last holds something back that may be visible."""

    @property
    def settled(self) -> Settled | None:
        """What is known of the next events, as the answer stands now; None if nothing is."""

    def read(self, event: Parsed) -> Reading:
        """Judge one event. Raises MalformedChunk if it cannot be one."""

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done, as events: held text, a finish, or an
        error if the answer has none (``fault``, or that it is incomplete)."""

    def refuse(self, error: Any, status: int) -> list[bytes]:
        """What is said of upstream's ``error``, an object or a message, that came with this HTTP
        status instead of an answer, as events: the client's answer has begun."""


_MOST_SHOWN, _LARGE = 16, 4096
"""Texts that are remembered, and bytes of an event from which on its is not: together 64 KiB."""


class _Around(NamedTuple):
    """What stands around the data of upstream's events of this ``name``."""

    name: bytes
    around: Around


_PASS = Verdict.PASS

Trace = Callable[[Frame, Verdict], None]


class StreamFilter:
    """Filters one answer that arrives as a stream of events.

    ``limit``: bytes of one event. ``passes_unreadable``: an event that is not one of the wire
    format's is sent on as it is, and does not end the answer. ``statuses`` writes what a person is
    told, None if nobody is. ``trace`` is told of every frame.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        limit: int,
        passes_unreadable: bool = False,
        statuses: Statuses | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.done = False
        """Everything was written; whatever upstream may still send is ignored."""
        self.holds = False
        """Text that may be visible is held back."""
        self.stats = wire.stats
        self._wire = wire
        self._framing = wire.framing
        self._limit = limit
        self._decoder = wire.framing.decoder(limit)
        self._around: _Around | None = None
        self._settled: Settled | None = None
        self._repeated: Repeated | None = None
        """The events that are likely to follow, while the answer has settled."""
        self._ready = False
        """It has, and no piece of an event waits."""
        self._stops: Stops | None = None
        """What such an event must not have to leave unread, if it may, and no piece waits."""
        self._shown: list[str] = []
        """The texts that left unread, of which the wire was not told yet."""
        self._passes_unreadable = passes_unreadable
        self._progress = wire.progress
        self._statuses = statuses
        self._trace = trace

    def feed(self, chunk: bytes) -> bytes:
        """The bytes for the client that ``chunk`` makes certain; may be empty."""
        position = 0
        stops = self._stops
        if stops is not None:
            assert self._repeated is not None
            alone = self._repeated.alone(chunk, stops)
            if alone is not None:
                self._shown.append(alone)
                if len(self._shown) > _MOST_SHOWN or len(chunk) > _LARGE:
                    self._note_shown()
                return chunk
            position = self._repeated.shown(chunk, 0, stops, self._shown)
            if position == len(chunk):
                self._note_shown()
                return chunk
        if self.done:
            return b""
        out = [chunk[:position]] if position else []
        if self._ready:
            before = self._settled
            position = self._skip(chunk, position, out)
            if position == len(chunk):
                self._note_shown()
                if self._settled is not before:
                    self._note_ready()
                return b"".join(out)
        try:
            rest = chunk[position:] if position else chunk
            for frame in self._decoder.feed(rest, partial(self._skip, out=out)):
                self._frame(frame, out)
                if self.done:
                    break
                self._note_state()
        except EventTooLarge:
            self._end(EVENT_TOO_LARGE, out)
        self._note_shown()
        self._note_ready()
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
        if rest is not None and rest.data is not None and rest.data.strip() == self._framing.done:
            fault = None
        if not self.done:
            self._end(fault, out)
        return b"".join(out)

    def refuse(self, error: Any, status: int) -> bytes:
        """The whole answer, when upstream has sent this error with this HTTP status instead."""
        out = self._wire.refuse(error, status)
        self._close(out)
        return b"".join(out)

    def wait(self) -> bytes:
        """The status that upstream is waited for, if nothing has come that says anything."""
        waits = self._progress.phase is Phase.WAITING and not self.done
        return self._statuses.again() if waits and self._statuses is not None else b""

    def beat(self, kind: Beat) -> bytes:
        """A sign that the stream is alive; nothing where the framing has none of this kind."""
        if self.done:
            return b""
        if kind is Beat.STATUS and self._statuses is not None:
            return self._statuses.again()
        carried = self._wire.carry({}) if kind is Beat.CHUNK else b""
        return carried or self._framing.beat

    @property
    def content_type(self) -> str:
        """That of the answer."""
        return self._framing.content_type

    def _note_state(self) -> None:
        """Note how the answer stands, after an event."""
        self.holds = self._wire.hesitates
        settled = self._settled = None if self._around is None else self._wire.settled
        if settled is None:
            self._repeated = None
            return
        assert self._around is not None
        repeated, event = self._repeated, self._around.around
        if repeated is None or repeated.data is not settled.around or repeated.event is not event:
            self._repeated = Repeated(settled.around, event, self._limit)

    def _note_ready(self) -> None:
        """Note whether the next chunk begins with an event, which need not be read if it is one
        that is likely to follow."""
        settled, around = self._settled, self._around
        self._ready = settled is not None and self._decoder.idle
        self._stops = None
        if self._ready and settled is not None and around is not None:
            self._stops = settled.stops if settled.name == around.name else None

    def _note_shown(self) -> None:
        """Tell the wire of what was shown without its being asked."""
        if self._shown:
            said = "".join(self._shown)
            self._shown.clear()
            assert self._settled is not None
            assert self._settled.note is not None
            if said:
                self._settled.note(said)

    def _skip(self, chunk: bytes, position: int, out: list[bytes]) -> int:
        """Where the next event begins that must be read in full. What leaves of those before it is
        put into ``out``."""
        while position < len(chunk) and (settled := self._settled) is not None:
            repeated, around = self._repeated, self._around
            assert repeated is not None
            assert around is not None
            start = position
            if settled.stops is not None and settled.name == around.name:
                position = repeated.shown(chunk, position, settled.stops, self._shown)
                if position > start:
                    out.append(chunk[start:position])
            elif settled.hide is not None:
                position = repeated.hidden(chunk, position, settled.hide)
            found = repeated.text(chunk, position)
            if found is None:
                break
            self._note_shown()
            reading = settled.take(found[0])
            if reading is None:
                break
            self._leave(reading, chunk[position : found[1]], around, out)
            position = found[1]
            self._note_state()
        return position

    def _leave(self, reading: Reading, raw: bytes, around: _Around, out: list[bytes]) -> None:
        """An event that was not read in full leaves, as it was judged."""
        if self._progress.steps:
            self._tell(out)
        if reading.verdict is not _PASS:
            out.extend(reading.out)
        elif reading.name == around.name:
            out.append(raw)
        else:
            before, after = around.around
            out.append(self._framing.write(raw[len(before) : len(raw) - len(after)], reading.name))

    def _tell(self, out: list[bytes]) -> None:
        """What has changed since the last time."""
        steps = self._progress.take()
        if self._statuses is not None:
            out.append(self._statuses.write(steps))

    def _frame(self, frame: Frame, out: list[bytes]) -> None:
        self._note_shown()
        data = frame.data
        if not data:
            self._note(frame, Verdict.DROP)
        elif data.strip() == self._framing.done:
            self._note(frame, Verdict.PASS)
            self._end(None, out, as_it_came=frame)
        else:
            self._event(frame, data, out)

    def _event(self, frame: Frame, data: bytes, out: list[bytes]) -> None:
        try:
            reading = self._wire.read(parse(data))
        except (MalformedJSON, MalformedChunk):
            self._unreadable(frame, out)
            return
        if self._progress.steps:
            self._tell(out)
        if reading.verdict is not _PASS:
            out.extend(reading.out)
        elif frame.pure and frame.name == reading.name:
            out.append(frame.raw)
        else:
            out.append(self._framing.write(data, reading.name))
        self._note(frame, reading.verdict)
        self._learn(frame, data)
        if reading.last:
            self._close(out)

    def _learn(self, frame: Frame, data: bytes) -> None:
        """Note how upstream writes its events."""
        known, raw = self._around, frame.raw
        if self._trace is not None or not frame.pure:
            return
        if known is not None and known.name == frame.name:
            before, after = known.around
            if raw.startswith(before) and raw.endswith(after):
                return
        before, found, after = raw.partition(data)
        self._around = _Around(frame.name, Around(before, after)) if found else None

    def _unreadable(self, frame: Frame, out: list[bytes]) -> None:
        self._wire.stats.unreadable_events += 1
        if self._passes_unreadable:
            out.append(frame.raw)
            self._note(frame, Verdict.PASS)
        else:
            self._note(frame, Verdict.DROP)
            self._end(MALFORMED_EVENT, out)

    def _end(self, fault: Fault | None, out: list[bytes], as_it_came: Frame | None = None) -> None:
        self._note_shown()
        last = self._wire.end(fault)
        self._tell(out)
        out.extend(last)
        self._close(out, as_it_came)

    def _close(self, out: list[bytes], as_it_came: Frame | None = None) -> None:
        """The end mark, if the format has one: upstream's own bytes, where they say no more."""
        frame, mark = as_it_came, self._framing.mark
        if mark and frame is not None and frame.data == self._framing.done:
            mark = frame.raw if frame.pure and not frame.name else mark
        out.append(mark)
        self.done = True
        self._settled = self._repeated = self._stops = None
        self._ready = False

    def _note(self, frame: Frame, verdict: Verdict) -> None:
        if self._trace is not None:
            self._trace(frame, verdict)
