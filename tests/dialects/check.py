"""The suite that every dialect passes, in every wire format that lists its form."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sidecar.core.framing import LINES
from sidecar.core.policy import Policy
from sidecar.core.sse import Decoder
from sidecar.core.status import Beat, Form, Statuses, StatusPolicy
from sidecar.core.stream import StreamFilter
from sidecar.core.vocabulary import Vocabulary
from sidecar.dialects import DIALECTS
from sidecar.wire.formats import WireFormat
from sidecar.wire.ruling import Ruling
from tests.cuts import at_random, units
from tests.promises import CATALOGUE, LIMIT
from tests.wire.adapters import ADAPTERS, compact
from tests.wire.conformance import Kind, Piece

SECRET = "wherefore"
TOOL = "lookup"
CALL = f'<tool_call>{{"name": "{TOOL}", "arguments": {{"q": "{SECRET}"}}}}</tool_call>'
RESULT = f"<｜tool▁output▁begin｜>{SECRET}<｜tool▁output▁end｜>"
ANSWER = (
    Piece(Kind.TEXT, f"<think>{SECRET}</think>"),
    Piece(Kind.TEXT, CALL),
    Piece(Kind.TEXT, RESULT),
    Piece(Kind.TEXT, "It is "),
    Piece(Kind.TEXT, "so."),
    Piece(Kind.FINISH, "stop"),
)
PHASES = ["thinking", "calling_tool", "reading_result", "answering", "done"]

_POLICY = Policy()
_VOCABULARY = Vocabulary(CATALOGUE.resolve(["all"]), _POLICY)


def stream(wire_format: WireFormat) -> bytes:
    """An answer that thinks, calls a tool and is told what it returned, all in its text."""
    framing = wire_format.answer(_ruling()).framing
    events = ADAPTERS[wire_format.name].events(ANSWER)
    return b"".join(
        framing.write(compact(record).encode(), name.encode()) for name, record in events
    )


def _ruling() -> Ruling:
    policy = StatusPolicy()
    return Ruling(
        _POLICY, _VOCABULARY, seed="seed", status=policy, model="asked", at=1_800_000_000.5
    )


class Told:
    """One answer with its statuses in one form, None for none."""

    def __init__(self, wire_format: WireFormat, form: Form | None) -> None:
        self.wire = wire_format.answer(_ruling())
        self.framing = self.wire.framing
        statuses = None
        if form is not None:
            dialect = DIALECTS[form]
            statuses = Statuses(StatusPolicy(), dialect, self.wire, self.wire.stats, lambda: 7)
        self.filter = StreamFilter(self.wire, limit=LIMIT, statuses=statuses)

    def run(self, pieces: Iterable[bytes]) -> bytes:
        """All that leaves."""
        out = [self.filter.feed(piece) for piece in pieces]
        return b"".join([*out, self.filter.finish()])


def check_dialect(form: Form, wire_format: WireFormat) -> None:
    """Check a way of writing statuses in one wire format. AssertionError if it is wrong.

    1. The bytes that leave do not depend on where the input was cut.
    2. Without the statuses, they are those of an answer without statuses.
    3. Nothing hidden is in them but the tool's name.
    4. A status is a whole event or a whole line, and no event of a comment alone is dispatched.
    5. One status a change, in order, numbered from 1; none after the end.
    6. Before upstream has said anything it may be waited for, and not afterwards; a heartbeat says
       nothing.
    """
    sent = stream(wire_format)
    left = Told(wire_format, form).run([sent])
    for pieces in (units(sent), *at_random(sent, 10)):
        assert Told(wire_format, form).run(pieces) == left
    assert SECRET.encode() not in left

    plain = Told(wire_format, None).run([sent])
    frames = _frames(left, wire_format)
    told = [status for frame in frames if (status := read_status(frame, form)) is not None]
    kept = b"".join(frame for frame in frames if read_status(frame, form) is None)
    assert kept == plain
    if form not in (Form.REASONING, Form.CONTENT, Form.TYPED, Form.OPEN_WEBUI):
        assert [status["phase"] for status in told] == PHASES
        assert [status["seq"] for status in told] == [1, 2, 3, 4, 5]
        assert {status["elapsed_ms"] for status in told} == {7}
    texts = [status["text"] for status in told if status["text"]]
    assert texts == ["Thinking…", f"Calling {TOOL}…", "Reading the result…"]

    waiting = Told(wire_format, form)
    first = waiting.filter.wait()
    [status] = [read_status(frame, form) for frame in _frames(first, wire_format)]
    assert status is not None
    assert status["text"] == "Thinking…"
    waiting.run([sent])
    assert waiting.filter.wait() == b""
    assert waiting.filter.beat(Beat.STATUS) == b""
    beating = Told(wire_format, form)
    carries = bool(beating.wire.carry({})) and beating.framing is not LINES
    for beat in (Beat.COMMENT, Beat.CHUNK):
        sign = beating.filter.beat(beat)
        assert b"hink" not in sign
        assert sign.count(b"\n\n") == (beat is Beat.CHUNK and carries)


def read_status(frame: bytes, form: Form) -> dict[str, Any] | None:
    """The status that an event or a comment is, None if it is none."""
    if frame.startswith(b": status "):
        return _object(frame.removeprefix(b": status "))
    data = frame.partition(b"data: ")[2] if b"data: " in frame else frame
    if form is Form.EVENT and frame.startswith(b"event: status\n"):
        return _object(data)
    if not data.startswith(b"{"):
        return None
    record = _object(data)
    if "sidecar" in record:
        return dict(record["sidecar"]["status"])
    if "event" in record:
        told = record["event"]["data"]
        assert record["event"]["type"] == "status"
        assert told["done"] is (told["description"] == "")
        return {"text": told["description"]}
    if record.get("type") == "status":
        return {"text": record["content"]}
    if form in (Form.REASONING, Form.CONTENT):
        return _of_text(record, form)
    return None


def _of_text(record: dict[str, Any], form: Form) -> dict[str, Any] | None:
    key, end = ("content", "\n\n") if form is Form.CONTENT else ("reasoning_content", "\n")
    [choice] = record.get("choices") or [{}]
    text = choice.get("text") or choice.get("delta", {}).get(key) or ""
    return {"text": text.removesuffix(end)} if text.endswith("…" + end) else None


def _object(text: bytes) -> dict[str, Any]:
    value = json.loads(text)
    assert isinstance(value, dict)
    return value


def _frames(left: bytes, wire_format: WireFormat) -> list[bytes]:
    """The events and the comments, each with its own bytes."""
    if wire_format.answer(_ruling()).framing is LINES:
        return [line + b"\n" for line in left.split(b"\n")[:-1]]
    frames: list[bytes] = []
    while left:
        if left.startswith(b":"):
            comment, _, left = left.partition(b"\n")
            assert not left.startswith((b"\n", b"\r")), "a blank line would dispatch an event"
            frames.append(comment + b"\n")
            continue
        block, end, left = left.partition(b"\n\n")
        [frame] = Decoder(LIMIT).feed(block + end)
        assert frame.pure, "an event has one data line and at most a name"
        frames.append(frame.raw)
    return frames
