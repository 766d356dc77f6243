"""What holds of the engine whatever it is fed with.

The reader here is its own: it follows the HTML Standard, 9.2.6, and knows nothing of the decoder
that is tested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sidecar.core.framing import LINES
from sidecar.core.policy import Policy
from sidecar.core.stream import Fault, StreamFilter
from sidecar.wire.formats import WIRE_FORMATS
from tests.promises import LIMIT
from tests.wire.adapters import ADAPTERS
from tests.wire.conformance import Suite

SUITES = {each.name: Suite(each, ADAPTERS[each.name]) for each in WIRE_FORMATS}
NAMES = tuple(SUITES)

_LINE_END = re.compile("\r\n|\n|\r")
_LAST = {
    "messages": {"message_stop", "error"},
    "responses": {"response.completed", "response.incomplete", "response.failed", "error"},
}
"""By wire format, the events that may be the last of a stream."""


def cut(data: bytes, places: Iterable[float]) -> list[bytes]:
    """``data`` in pieces."""
    at = sorted(round(place * len(data)) for place in places)
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def left_of(
    suite: Suite,
    policy: Policy,
    chunks: Sequence[bytes],
    *,
    limit: int = LIMIT,
    fault: Fault | None = None,
    passes_unreadable: bool = False,
) -> tuple[bytes, Any]:
    """What leaves, and what was counted."""
    answer = suite.answer(policy)
    stream = StreamFilter(answer, limit=limit, passes_unreadable=passes_unreadable)
    out = b"".join(map(stream.feed, chunks)) + stream.finish(fault)
    assert stream.done
    assert stream.feed(b"data: {}\n\n") == b"", "something leaves after the end"
    assert stream.finish() == b"", "something leaves after the end"
    return out, answer.stats


def events(raw: bytes, suite: Suite) -> Iterator[tuple[str, str]]:
    """The names and the data of the events of a stream; each is complete."""
    text = raw.decode()
    if suite.framing is LINES:
        lines = text.split("\n")
        assert lines.pop() == "", "a line without its end"
        yield from (("", line) for line in lines)
        return
    name, data = "", list[str]()
    *lines, rest = _LINE_END.split(text)
    assert rest == "", "a line without its end"
    for line in lines:
        field, _, value = line.partition(":")
        if not line:
            if data:
                yield name, "\n".join(data)
            name, data = "", []
        elif field == "data":
            data.append(value.removeprefix(" "))
        else:
            assert field == "event", f"a line that no client asked for: {line!r}"
            name = value.removeprefix(" ")
    assert not data, "an event without its blank line"


def records(raw: bytes, suite: Suite) -> list[Any]:
    """The JSON of each event, read strictly; the end mark, if the format has one, once and last;
    if not, the last event is one that ends an answer."""
    found = list(events(raw, suite))
    if suite.framing.mark:
        assert found.pop() == ("", "[DONE]"), "the end mark is not the last event"
    values = [json.loads(data, parse_constant=_refuse) for _, data in found]
    if not suite.framing.mark:
        _check_last(values[-1], suite)
    return values


def _check_last(last: Any, suite: Suite) -> None:
    if suite.framing is LINES:
        assert last.get("done") is True or "error" in last, last
    else:
        assert last["type"] in _LAST[suite.wire_format.name], last


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def check(
    suite: Suite, policy: Policy, raw: bytes, places: Iterable[float], *, limit: int = LIMIT
) -> list[Any]:
    """Feed ``raw`` whole, in pieces and byte by byte: no exception, the same bytes and counts, and
    a stream that a client can read to its end. Returns its records."""
    out, stats = left_of(suite, policy, [raw], limit=limit)
    for chunks in (cut(raw, places), [raw[i : i + 1] for i in range(len(raw))]):
        again, counted = left_of(suite, policy, chunks, limit=limit)
        assert again == out
        assert counted == stats
    return records(out, suite)


def texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
