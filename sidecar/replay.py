"""A recorded event stream through the engine, without a network, and what became of each event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from sidecar.core.channel import Channel
from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.core.lane import Lane
from sidecar.core.sse import Decoder, EventTooLarge, Frame
from sidecar.core.stats import Stats, Verdict
from sidecar.core.stream import StreamFilter
from sidecar.rules.ruleset import Rule
from sidecar.wire.chat import Chat
from sidecar.wire.completions import Completions


class Explained(NamedTuple):
    """One frame of the recording: its verdict, the lanes after it, and what it hid."""

    number: int
    size: int
    verdict: Verdict
    lanes: str
    hidden: str

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
) -> Iterator[bytes]:
    """The client's bytes. ``cut``: the recording is fed in pieces of so many bytes. The request is
    not recorded: it is taken to be for the model that answers, and to declare no tools."""
    first = _first_event(recording, limit)
    model = first.get("model")
    ruling = rule.ruling({}, model=model if isinstance(model, str) else "")
    wire = (Completions if first.get("object") == "text_completion" else Chat)(ruling)
    trace = _Explainer(wire, explain).frame if explain else None
    stream = StreamFilter(wire, limit=limit, trace=trace)
    changes = rule.policy.hides and not rule.observes
    size = cut or len(recording) or 1
    for start in range(0, len(recording), size):
        piece = recording[start : start + size]
        out = stream.feed(piece)
        yield out if changes else piece
    out = stream.finish()
    if changes:
        yield out


def _first_event(recording: bytes, limit: int) -> dict[str, Any]:
    """The first event that says anything; empty if it is no JSON object."""
    with suppress(EventTooLarge, MalformedJSON):
        for frame in Decoder(limit).feed(recording):
            if frame.data:
                value = parse(frame.data).value
                return value if isinstance(value, dict) else {}
    return {}


class _Explainer:
    def __init__(self, wire: Chat, tell: Callable[[Explained], None]) -> None:
        self._wire = wire
        self._tell = tell
        self._number = 0
        self._before: Counter[tuple[Channel, str]] = Counter()

    def frame(self, frame: Frame, verdict: Verdict) -> None:
        self._number += 1
        lanes = ", ".join(f"{i}: {_state(lane)}" for i, lane in self._wire.lanes.items())
        hidden = self._newly_hidden(self._wire.stats)
        self._tell(Explained(self._number, len(frame.raw), verdict, lanes, hidden))

    def _newly_hidden(self, stats: Stats) -> str:
        more = stats.hidden_characters - self._before
        self._before = stats.hidden_characters.copy()
        return ", ".join(
            f"{count} of {channel}" + (f" ({format_id})" if format_id else "")
            for (channel, format_id), count in more.items()
        )


def _state(lane: Lane) -> str:
    held = len(lane.held)
    return f"{lane.where}, holds {held}" if held else lane.where
