"""The calls in the text of one choice, as they are read: what they are called, for a status.

Owns where a call begins and ends among a lane's segments; what else becomes of one is decided in
:mod:`sidecar.wire.moved`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sidecar.core.callreader import MAX_HEAD, Begin, CallEvent, CallReader, Unreadable
from sidecar.core.channel import Channel, Segment
from sidecar.core.format import ToolName
from sidecar.core.lane import Lane
from sidecar.core.progress import Progress


class CallsInText:
    """Reads the calls, and tells ``progress`` of them. ``schemas`` are the declared tools'
    parameters, by the tools' names."""

    def __init__(self, progress: Progress, schemas: Mapping[str, object]) -> None:
        self.open = 0
        """The number of the lane's call that is read, 0 if none is."""
        self._progress = progress
        self._schemas = schemas
        self._reader: CallReader | None = None
        self._tool_names: Sequence[ToolName] = ()
        self._text = ""
        """Its beginning, until a tool is known: where the whole call cannot be read, because no
        family says how or because it is not written so, its names may be."""
        self._key = object()
        """Stands for the call to :attr:`_progress`."""
        self._named = False
        self._says = False
        """Something stands in it."""

    def take(self, segment: Segment, lane: Lane) -> None:
        """The next segment of what ``lane`` has just made certain."""
        if segment.call != self.open:
            self._end()
            if segment.call:
                self._start(segment.call, lane)
        if segment.call:
            self._says = self._says or (
                segment.channel is Channel.TOOL_CALL and not segment.text.isspace()
            )
            self._read(segment.as_family)

    def settle(self, lane: Lane) -> None:
        """All that ``lane`` has made certain was taken."""
        if lane.call != self.open:
            self._end()

    def finish(self, *, cut_off: bool) -> None:
        """``lane`` has finished. ``cut_off``: the answer broke off, and a call that is not complete
        stays so."""
        if cut_off:
            self._reader, self._says = None, False
        self._end(closed=False)

    def _start(self, call: int, lane: Lane) -> None:
        self.open = call
        self._key, self._named, self._says, self._text = object(), False, False, ""
        facts = lane.facts(call)
        self._reader = CallReader(facts, self._schemas) if facts else None
        self._tool_names = lane.tool_names(call)
        self._read(lane.given(call))

    def _read(self, text: str) -> None:
        if not self._named and len(self._text) < MAX_HEAD:
            self._text += text[:MAX_HEAD]
        if self._reader is not None:
            self._add(self._reader.feed(text))

    def _end(self, *, closed: bool = True) -> None:
        """The call's region is over; ``closed``: by its own end."""
        if not self.open:
            return
        if self._reader is not None:
            self._add(self._reader.finish(closed=closed))
        if self._says and not self._named:
            for name in self._names():
                self._progress.call(object(), name)
        self.open, self._reader = 0, None

    def _names(self) -> Sequence[str]:
        """The tools of a call that could not be read whole: one without a name, if not even
        that can be read."""
        for tool_name in self._tool_names:
            names = tool_name.read(self._text)
            if names and all(names):
                return names
        return ("",)

    def _add(self, events: Iterable[CallEvent]) -> None:
        for event in events:
            if isinstance(event, Begin):
                self._begun(event.name)
            elif isinstance(event, Unreadable):
                self._broken()
            else:
                self._argued(event)

    def _begun(self, name: str) -> None:
        """A call of ``name`` begins."""
        self._key, self._named = object(), True
        self._progress.call(self._key, name)

    def _argued(self, piece: str) -> None:
        """The next piece of its arguments has come."""
        self._progress.call(self._key, None, piece)

    def _broken(self) -> None:
        """It is not written as its family writes one."""
        self._reader = None
