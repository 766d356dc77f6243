"""Answers to begin with: what servers sent, and what the tests of the wire formats made."""

from __future__ import annotations

from functools import cache

from sidecar.core.framing import LINES
from tests.fuzz.engine import SUITES
from tests.wire.conformance import ANSWERS, Event, written
from tests.wire.recordings import recordings
from tests.wire.secret_positions import POSITIONS


@cache
def streams(name: str) -> tuple[bytes, ...]:
    """Whole streams in the wire format of that name."""
    return tuple(SUITES[name].stream(events) for events in answers(name)) + recorded(name)


@cache
def recorded(name: str) -> tuple[bytes, ...]:
    """What servers sent."""
    found = tuple(SUITES[name].adapter.recordings.values())
    return (*found, *(recording.sent for recording in recordings())) if name == "chat" else found


@cache
def answers(name: str) -> tuple[list[Event], ...]:
    """Answers in that format as their events, most with secrets."""
    suite = SUITES[name]
    made = [suite.adapter.events(each.finished) for each in suite.made(*ANSWERS)]
    made.append([suite.adapter.error("It broke.")])
    named = suite.framing.mark == b"" and suite.framing is not LINES
    for position in POSITIONS[name]():
        if isinstance(position.answer, list):
            made.append([(str(r["type"]) if named else "", r) for r in position.answer])
    return tuple(made)


@cache
def documents(name: str) -> tuple[bytes, ...]:
    """Whole answers that are not streamed."""
    suite = SUITES[name]
    made = [suite.body(each.finished) for each in suite.made(*ANSWERS, whole=True)]
    found = (position.answer for position in POSITIONS[name]())
    return (*made, *(written(answer) for answer in found if isinstance(answer, dict)))
