"""Responses of an upstream that is broken or hostile: one recorded answer, spoiled in every way.

Each value is replaced by one of another type or left out, each event is dropped, sent twice or sent
too early. What leaves is never hidden text, and always an answer with an end.
"""

from __future__ import annotations

import copy
import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType, ModuleType
from typing import Any

import pytest

from sidecar.core.document import filter_document
from sidecar.core.policy import EncryptedReasoning, Policy, Reasoning, ToolCalls, ToolResults
from sidecar.core.stream import MalformedChunk, StreamFilter
from sidecar.core.vocabulary import Vocabulary
from sidecar.wire.items import MAX_ITEMS
from sidecar.wire.messageitem import MAX_PARTS
from tests.clients import shapes
from tests.cuts import EXHAUSTIVE
from tests.promises import LIMIT
from tests.wire.responses import (
    DROP,
    MOVE,
    RESPONSE,
    SECRET,
    THINK,
    Json,
    added,
    created,
    filtered,
    message,
    of_item,
    of_part,
    part,
    records,
    response,
    said,
    stream,
    wire,
    written,
)

RECORDED = shapes.responses({"model": "m", "stream": True, "tools": []})
EVENTS: list[Json] = [
    json.loads(event.split(b"data: ", 1)[1].decode()) for event in RECORDED.events
]
DOCUMENT = RECORDED.document
ENDS = ("response.completed", "response.incomplete", "response.failed")

KEEPS_REASONING = Policy(reasoning=Reasoning.KEEP)
KEEPS_TOOLS = Policy(tool_calls=ToolCalls.KEEP, tool_results=ToolResults.KEEP)
SEALS_NOTHING = Policy(encrypted_reasoning=EncryptedReasoning.DROP)
HIDDEN: dict[str, tuple[Policy, tuple[str, ...]]] = {
    "drop": (DROP, (shapes.REASONING, shapes.CALL)),
    "drop what is encrypted": (SEALS_NOTHING, (shapes.REASONING, shapes.CALL)),
    "keep reasoning": (KEEPS_REASONING, (shapes.CALL,)),
    "keep tools": (KEEPS_TOOLS, (shapes.REASONING,)),
    "move": (MOVE, ()),
}
"""Under each policy, what is hidden. Of items that stay, the ids do: they are not looked at."""

VALUES: tuple[Any, ...] = (None, -1, 10**30, "x", [None], {"a": 1})
ABSENT = object()

Path = tuple[str | int, ...]

per_policy = pytest.mark.parametrize("name", HIDDEN)


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Where a value is, and where all the values in it are."""
    yield at
    inner: Any = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for key, held in inner:
        yield from paths(held, (*at, key))


def at(value: Any, path: Path) -> Any:
    """The value that is there."""
    for key in path:
        value = value[key]
    return value


def spoiled(value: Any, path: Path, put: Any) -> Any:
    """``value`` with another one there, or none."""
    if not path:
        return put
    changed = copy.deepcopy(value)
    holder = at(changed, path[:-1])
    if put is ABSENT:
        del holder[path[-1]]
    else:
        holder[path[-1]] = put
    return changed


def marks(value: Any) -> bool:
    """Whether it is text that says that what follows is reasoning: without it, nothing does."""
    return isinstance(value, str) and ("<" in value or "think>" in value)


def each_spoiled(value: Any, kinds: Callable[[Path], Any] = str) -> Iterator[Any]:
    """``value`` with each of its parts spoiled in each way; of parts of the same kind, one."""
    seen = set()
    for path in paths(value):
        kind = kinds(path)
        if kind in seen or marks(at(value, path)):
            continue
        seen.add(kind)
        for put in VALUES:
            yield spoiled(value, path, put)
        if path and isinstance(path[-1], str):
            yield spoiled(value, path, ABSENT)


def raw_stream(events: Sequence[Any]) -> bytes:
    """The events as upstream sends them, whatever they are."""
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def sampled(cases: Iterator[Any], number: int) -> Iterator[Any]:
    """Of the cases, another part for each policy; together they are all."""
    step = 1 if EXHAUSTIVE else len(HIDDEN)
    for index, case in enumerate(cases):
        if index % step == number % step:
            yield case


def without_ids(text: str) -> str:
    """The text without the ids of the recorded items, which are no one's words."""
    for item in DOCUMENT["output"]:
        text = text.replace(json.dumps(item["id"]), '""')
    return text


def check_stream(events: Sequence[Any], name: str) -> None:
    """What leaves of the events is an answer with an end, and says nothing that is hidden."""
    policy, hidden = HIDDEN[name]
    out = filtered(raw_stream(events), wire(policy, ("other",)))
    left = without_ids(out.decode())
    assert not any(secret in left for secret in hidden)
    sent = records(out)
    # What was not announced cannot fail, and is an error alone.
    ends = ENDS if len(sent) > 1 else (*ENDS, "error")
    assert [event["type"] in ends for event in sent] == [False] * (len(sent) - 1) + [True]
    numbers = [event["sequence_number"] for event in sent if "sequence_number" in event]
    assert [number - n for n, number in enumerate(numbers)] == numbers[:1] * len(numbers)


def spoiled_streams() -> Iterator[list[Any]]:
    """The recorded stream with one value spoiled, numbers apart; of events of the same type and
    item, one."""
    seen = set()
    for number, event in enumerate(EVENTS):
        kind = (event["type"], event.get("output_index"))
        if kind in seen or marks(event.get("delta")):
            continue
        seen.add(kind)
        numbered = {"sequence_number": event["sequence_number"]}
        for put in each_spoiled({key: event[key] for key in event if key not in numbered}):
            whole = put | numbered if isinstance(put, dict) else put
            yield [*EVENTS[:number], whole, *EVENTS[number + 1 :]]


def reordered_streams() -> Iterator[list[Json]]:
    """The recorded stream with an event dropped, sent twice, or sent too early. Deltas of the text
    stay: without its marker, reasoning is text."""
    for number, event in enumerate(EVENTS):
        if event["type"] == "response.output_text.delta":
            continue
        before, after = EVENTS[:number], EVENTS[number + 1 :]
        yield [*before, *after]
        yield [*before, event, event, *after]
        for distance in (1, 2, 9):
            yield [*before[:-distance], event, *before[-distance:], *after]


@per_policy
def test_the_recorded_answer_shows_what_the_rule_keeps(name: str) -> None:
    """Otherwise this would find nothing."""
    policy, hidden = HIDDEN[name]
    out = without_ids(filtered(raw_stream(EVENTS), wire(policy, ("other",))).decode())
    for secret in (shapes.REASONING, shapes.CALL):
        assert (secret in out) is (secret not in hidden)


@per_policy
def test_a_spoiled_event_shows_nothing_and_the_answer_ends(name: str) -> None:
    for events in sampled(spoiled_streams(), list(HIDDEN).index(name)):
        check_stream(events, name)


@pytest.mark.parametrize("number", [0, 3, len(EVENTS) - 1])
def test_a_spoiled_number_changes_nothing_else(number: int) -> None:
    def left(events: Sequence[Json]) -> list[Json]:
        sent = records(filtered(raw_stream(events), wire()))
        return [{k: v for k, v in event.items() if k != "sequence_number"} for event in sent]

    for value in (*VALUES, ABSENT):
        event = spoiled(EVENTS[number], ("sequence_number",), value)
        assert left([*EVENTS[:number], event, *EVENTS[number + 1 :]]) == left(EVENTS)


@per_policy
def test_events_that_lack_come_twice_or_too_early_show_nothing(name: str) -> None:
    for events in reordered_streams():
        check_stream(events, name)


@per_policy
def test_a_stream_that_lacks_its_beginning_shows_nothing(name: str) -> None:
    first = next(n for n, e in enumerate(EVENTS) if e["type"] == "response.output_text.delta")
    for number in range(first):
        check_stream(EVENTS[number:], name)


@per_policy
def test_a_spoiled_document_shows_nothing_or_is_none(name: str) -> None:
    policy, hidden = HIDDEN[name]
    for document in sampled(each_spoiled(DOCUMENT), list(HIDDEN).index(name)):
        try:
            out = filter_document(json.dumps(document).encode(), wire(policy, ("other",))).decode()
        except MalformedChunk:
            continue
        assert not any(secret in without_ids(out) for secret in hidden), document


@per_policy
def test_spoiled_items_of_a_list_show_nothing_or_are_none(name: str) -> None:
    policy, hidden = HIDDEN[name]
    for items in each_spoiled(DOCUMENT["output"]):
        try:
            left, _ = wire(policy, ("other",)).read_items(items)
        except MalformedChunk:
            continue
        assert not any(secret in without_ids(json.dumps(left)) for secret in hidden), items


# --- bounds -------------------------------------------------------------------------------------


def calls_of(raw: bytes, policy: Policy = DROP) -> int:
    """How many functions are called for a stream."""
    transducer = StreamFilter(wire(policy), limit=LIMIT)
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        transducer.feed(raw)
        transducer.finish()
    finally:
        sys.setprofile(before)
    return calls


def messages(count: int) -> list[Json]:
    return [e for n in range(count) for e in written(said("Hi.", item_id=f"m{n}"), "Hi.", index=n)]


def parts(count: int) -> list[Json]:
    return written(message(*[part("Hi.")] * count), "Hi.")


def unannounced(count: int) -> list[Json]:
    item = said("Hi.")
    return [
        of_part("output_text.delta", n, item | {"id": f"m{n}"}, delta=f"{THINK}Hi.")
        for n in range(count)
    ]


def hidden_items(count: int) -> list[Json]:
    call = {"type": "function_call", "name": "find", "arguments": SECRET}
    return [added(n, call | {"id": f"f{n}", "call_id": f"c{n}"}) for n in range(count)]


def repeated_ends(count: int) -> list[Json]:
    item = said(f"{THINK}Hi.")
    events = written(item, f"{THINK}Hi.")
    return [*events[:3], *(event for _ in range(count) for event in events[3:])]


def citations(count: int) -> list[Json]:
    item = said("Hi.")
    cited: Json = {"annotation": {"type": "url_citation", "url": "u"}, "annotation_index": 0}
    one = of_part("output_text.annotation.added", 0, item, **cited)
    return [*written(item, "Hi.")[:3], *[one] * count]


def errors(count: int) -> list[Json]:
    """Beside as many texts that are open."""
    texts = [e for n in range(count) for e in written(said("Hi.", item_id=f"m{n}"), index=n)[:2]]
    return [*texts, *[{"type": "error", "code": None, "message": "x", "param": None}] * count]


def hidden_arguments(count: int) -> list[Json]:
    call = {"id": "f", "type": "function_call", "call_id": "c", "name": "find", "arguments": ""}
    return [added(0, call), *[of_item("function_call_arguments.delta", 0, call, delta="x")] * count]


@pytest.mark.parametrize("policy", [DROP, MOVE], ids=["drop", "move"])
@pytest.mark.parametrize(
    "make",
    [
        messages,
        parts,
        unannounced,
        hidden_items,
        repeated_ends,
        citations,
        errors,
        hidden_arguments,
    ],
)
def test_the_work_grows_as_the_stream_does(
    make: Callable[[int], list[Json]], policy: Policy
) -> None:
    few, many = (
        calls_of(stream(created(), *make(count), response("completed")), policy)
        for count in (40, 160)
    )
    assert many < 4.4 * few


def characters_in(root: object) -> int:
    """Of all strings that can be reached from there, what is shared by all answers apart."""
    seen: set[int] = set()
    waiting, found = [root], 0
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, type | ModuleType | FunctionType | Vocabulary):
            continue
        seen.add(id(value))
        found += len(value) if isinstance(value, str | bytes) else 0
        waiting += gc.get_referents(value)
    return found


@pytest.mark.parametrize("policy", [DROP, MOVE], ids=["drop", "move"])
def test_texts_that_have_ended_are_not_kept(policy: Policy) -> None:
    """The latest may be: the next event repeats it."""

    def kept(length: int) -> int:
        transducer = StreamFilter(wire(policy), limit=LIMIT)
        texts = ("x" * length, THINK, "y" * length)
        items = (said(*texts, item_id=f"m{n}") for n in range(9))
        events = [e for n, item in enumerate(items) for e in written(item, *texts, index=n)]
        transducer.feed(stream(created(), *events))
        return characters_in(transducer)

    assert kept(10_000) - kept(10) < 5 * 10_000


@pytest.mark.parametrize(
    ("make", "most"), [(messages, MAX_ITEMS), (unannounced, MAX_ITEMS), (parts, MAX_PARTS)]
)
def test_an_answer_of_too_many_things_ends_in_an_error(
    make: Callable[[int], list[Json]], most: int
) -> None:
    events = records(filtered(stream(created(), *make(most + 1)), wire()))
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"]["code"] == "upstream_malformed"
    assert SECRET not in json.dumps(events)
    fine = stream(created(), *make(most), response("completed"))
    assert records(filtered(fine, wire()))[-1]["type"] == "response.completed"


@pytest.mark.parametrize("output", ["x", 1, {}, [1], ["x"], [None]])
def test_output_that_is_no_list_of_items_is_malformed(output: Any) -> None:
    body = json.dumps(RESPONSE | {"status": "completed", "output": output}).encode()
    with pytest.raises(MalformedChunk):
        filter_document(body, wire())
    with pytest.raises(MalformedChunk):
        wire().read_items(output)
