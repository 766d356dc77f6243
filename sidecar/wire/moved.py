"""Calls on their way out of an answer's text into ``tool_calls`` (``tool_calls: move``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count

from sidecar.core.callreader import Begin, CallEvent, CallReader, Unreadable
from sidecar.core.channel import Segment
from sidecar.core.lane import Lane
from sidecar.wire.calls import CallFilter
from sidecar.wire.fields import Record


def call_ids(seed: str) -> Iterator[str]:
    """Ids for the calls of one answer; ``seed`` keeps those of two answers apart."""
    return (f"call_{seed}{number:04d}" for number in count(1))


class MovedCalls:
    """The calls in the text of one choice, message by message, as deltas of ``tool_calls``
    (OpenAI API reference, "Chat completion chunk").

    ``calls`` are those in fields, which share their indexes. ``schemas`` are the declared tools'
    parameters.
    """

    def __init__(
        self, calls: CallFilter, schemas: Mapping[str, object], ids: Iterator[str]
    ) -> None:
        self.unreadable = False
        """A call could not be read as its family writes it."""
        self._calls = calls
        self._schemas = schemas
        self._ids = ids
        self._call = 0
        self._index = 0
        """The index of the latest call."""
        self._reader: CallReader | None = None
        self._deltas: list[Record] = []

    def read(self, segments: Iterable[Segment], lane: Lane) -> None:
        """Take the calls in what ``lane`` has just made certain."""
        for segment in segments:
            if segment.call != self._call:
                self._end()
            if segment.call:
                self._take(segment, lane)
        if lane.call != self._call:
            self._end()

    def finish(self, segments: Iterable[Segment], lane: Lane, *, cut_off: bool) -> None:
        """Likewise, and ``lane`` has finished. ``cut_off``: the answer broke off, and a call that
        is not complete stays so."""
        self.read(segments, lane)
        if cut_off:
            self._reader = None
        self._end(closed=False)

    def take(self, *, whole: bool) -> list[Record]:
        """The deltas since the last time; ``whole``: complete calls, without their indexes."""
        deltas, self._deltas = self._deltas, []
        if whole:
            for delta in deltas:
                del delta["index"]
        return deltas

    def _take(self, segment: Segment, lane: Lane) -> None:
        if segment.call != self._call:
            self._call = segment.call
            facts = lane.facts(segment.call)
            self._reader = CallReader(facts, self._schemas) if facts else None
            self._feed(lane.given(segment.call))
        self._feed(segment.text)

    def _feed(self, text: str) -> None:
        if self._reader is not None:
            self._add(self._reader.feed(text))

    def _end(self, *, closed: bool = True) -> None:
        """The call's region is over; ``closed``: by its own end."""
        if self._reader is not None:
            self._add(self._reader.finish(closed=closed))
        self._call, self._reader = 0, None

    def _add(self, events: Iterable[CallEvent]) -> None:
        for event in events:
            if isinstance(event, Begin):
                self._deltas.append(self._begun(event.name))
            elif isinstance(event, Unreadable):
                self.unreadable = True
                self._reader = None
            else:
                self._argue(event)

    def _begun(self, name: str) -> Record:
        self._index = self._calls.take_index()
        return {
            "index": self._index,
            "id": next(self._ids),
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }

    def _argue(self, piece: str) -> None:
        if self._deltas:
            self._deltas[-1]["function"]["arguments"] += piece
        else:
            self._deltas.append({"index": self._index, "function": {"arguments": piece}})
