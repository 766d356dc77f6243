"""A recorded stream through the engine, without a network, and what became of each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from sidecar.core.channel import Channel
from sidecar.core.framing import EVENTS, LINES
from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.core.lane import Lane
from sidecar.core.sse import EventTooLarge, Frame
from sidecar.core.stats import Stats, Verdict
from sidecar.core.stream import StreamFilter
from sidecar.rules.ruleset import Rule
from sidecar.timing import Part, timed, untimed
from sidecar.wire.answer import Answer
from sidecar.wire.formats import WIRE_FORMATS, WireFormat


class Hidden(NamedTuple):
    """So many characters that an event hid, of a channel; ``format`` is empty for a field's."""

    characters: int
    channel: Channel
    format: str

    def __str__(self) -> str:
        said = f"{self.characters} of {self.channel}"
        return f"{said} ({self.format})" if self.format else said


class Explained(NamedTuple):
    """One frame of the recording: its verdict, the lanes after it, and what it hid."""

    number: int
    size: int
    verdict: Verdict
    lanes: str
    hid: tuple[Hidden, ...]

    @property
    def hidden(self) -> str:
        """What it hid, in words."""
        return ", ".join(map(str, self.hid))

    def record(self) -> dict[str, Any]:
        """For scripts."""
        return self._asdict() | {"hid": [hidden._asdict() for hidden in self.hid]}

    def __str__(self) -> str:
        said = f"{self.number:>5}  {self.size:>6} B  {self.verdict:<8}{self.lanes}"
        return f"{said}  hid {self.hidden}" if self.hidden else said


def replay(
    recording: bytes,
    rule: Rule,
    *,
    limit: int,
    cut: int | None = None,
    explain: Callable[[Explained], None] | None = None,
    wait: Callable[[float], None] | None = None,
) -> Iterator[bytes]:
    """The client's bytes. ``cut``: the recording is fed in pieces of so many bytes. ``wait`` is
    called with the seconds after which a part came, before it is fed. The request is not recorded:
    it is taken to be for the model that answers, and to declare no tools."""
    parts = list(timed(recording))
    recording = untimed(recording)
    first = _first_event(recording, limit)
    wire = _wire_format(first).answer(rule.ruling({}, model=_model(first)))
    trace = _Explainer(wire, explain).frame if explain else None
    stream = StreamFilter(wire, limit=limit, trace=trace)
    changes = rule.policy.hides and not rule.observes
    for at, part in parts if wait else [Part(0.0, recording)]:
        if wait:
            wait(at)
        size = cut or len(part) or 1
        for start in range(0, len(part), size):
            piece = part[start : start + size]
            out = stream.feed(piece)
            yield out if changes else piece
    out = stream.finish()
    if changes:
        yield out


def _first_event(recording: bytes, limit: int) -> dict[str, Any]:
    """The first event that says anything; empty if it is no JSON object."""
    framing = LINES if recording.lstrip().startswith(b"{") else EVENTS
    with suppress(EventTooLarge, MalformedJSON):
        for frame in framing.decoder(limit).feed(recording):
            if frame.data:
                value = parse(frame.data).value
                return value if isinstance(value, dict) else {}
    return {}


def _wire_format(first: dict[str, Any]) -> WireFormat:
    """The wire format of a stream that begins so."""
    kind = str(first.get("type", ""))
    if first.get("object") == "text_completion":
        name = "completions"
    elif kind.startswith("response."):
        name = "responses"
    elif kind:
        name = "messages"
    elif "message" in first:
        name = "ollama_chat"
    elif "response" in first:
        name = "ollama_generate"
    else:
        name = "chat"
    return next(wire_format for wire_format in WIRE_FORMATS if wire_format.name == name)


def _model(first: dict[str, Any]) -> str:
    """The model that answers, as the first event or the object in it says."""
    for holder in (first, first.get("response"), first.get("message")):
        if isinstance(holder, dict) and isinstance(holder.get("model"), str):
            return str(holder["model"])
    return ""


class _Explainer:
    def __init__(self, wire: Answer, tell: Callable[[Explained], None]) -> None:
        self._wire = wire
        self._tell = tell
        self._number = 0
        self._before: Counter[tuple[Channel, str]] = Counter()

    def frame(self, frame: Frame, verdict: Verdict) -> None:
        self._number += 1
        lanes = ", ".join(f"{i}: {_state(lane)}" for i, lane in self._wire.lanes.items())
        hidden = self._newly_hidden(self._wire.stats)
        self._tell(Explained(self._number, len(frame.raw), verdict, lanes, hidden))

    def _newly_hidden(self, stats: Stats) -> tuple[Hidden, ...]:
        more = stats.hidden_characters - self._before
        self._before = stats.hidden_characters.copy()
        return tuple(Hidden(count, *which) for which, count in more.items())


def _state(lane: Lane) -> str:
    held = len(lane.held)
    return f"{lane.where}, holds {held}" if held else lane.where
