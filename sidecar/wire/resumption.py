"""A stored stream that is fetched again from its middle (``starting_after``).

The client counts the events that it got, and upstream those that it sent. So a stream is fetched
from its beginning, judged as it was then, and what the client has is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.core.jsontext import Parsed, as_int, parse
from sidecar.core.sse import Decoder
from sidecar.core.stats import Verdict
from sidecar.core.stream import Fault, Reading
from sidecar.wire.fields import Record
from sidecar.wire.responses import Responses


class Resumed:
    """``answer`` without the events whose ``sequence_number`` is up to ``after``."""

    def __init__(self, answer: Responses, after: int) -> None:
        self.framing = answer.framing
        self.stats = answer.stats
        self.progress = answer.progress
        self._answer = answer
        self._after = after

    @property
    def hesitates(self) -> bool:
        """Whether the text that was read last holds something back that may be visible."""
        return self._answer.hesitates

    @property
    def settled(self) -> None:
        """None: every event's number is looked at."""
        return None

    def read(self, event: Parsed) -> Reading:
        """Judge one event. Raises MalformedChunk."""
        reading = self._answer.read(event)
        if reading.verdict is Verdict.PASS:
            had = self._had(event)
            return reading._replace(verdict=Verdict.DROP) if had else reading
        return reading._replace(out=tuple(self._new(reading.out)))

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done."""
        events = self._answer.end(fault)
        new = list(self._new(events))
        # A stream that broke off this time has a lower number for that, but is no less broken.
        return new or events[-1:]

    def refuse(self, error: Any, status: int) -> list[bytes]:
        """What a client is told of upstream's answer with an error instead."""
        return self._answer.refuse(error, status)

    def carry(self, extra: Record) -> bytes:
        """A sign of life."""
        return self._answer.carry(extra)

    def carry_text(self, key: str, text: str) -> bytes:
        """Nothing."""
        return self._answer.carry_text(key, text)

    def _new(self, events: Iterable[bytes]) -> Iterable[bytes]:
        for written in events:
            (frame,) = Decoder(len(written)).feed(written)
            if not self._had(parse(frame.data or b"")):
                yield written

    def _had(self, event: Parsed) -> bool:
        number = as_int(event.value.get("sequence_number"))
        return number is not None and number <= self._after
