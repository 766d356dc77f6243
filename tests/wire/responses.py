"""Responses streams made by hand, and what a strict client reads of what leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from sidecar.core.document import filter_document
from sidecar.core.policy import Policy, Reasoning, ToolCalls, ToolResults
from sidecar.core.stream import Fault, StreamFilter
from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match
from sidecar.rules.ruleset import Rule, RuleSet
from sidecar.wire.items import text_key
from sidecar.wire.responses import Responses
from tests.promises import CATALOGUE, LIMIT

Json = dict[str, Any]

SECRET = "Qz7Xk9Wv3J"
"""Stands in hidden text."""
THINK = f"<think>{SECRET}</think>"
CALLED = f'<tool_call>\n{{"name": "find", "arguments": {{"q": "{SECRET}"}}}}\n</tool_call>'
DIED = Fault("upstream_died", "The upstream server died.")

DROP = Policy()
KEEP = Policy(Reasoning.KEEP, ToolCalls.KEEP, ToolResults.KEEP)
MOVE = Policy(Reasoning.MOVE, ToolCalls.MOVE)
CALLS = Policy(tool_calls=ToolCalls.KEEP)
TOOLS = Policy(tool_calls=ToolCalls.KEEP, tool_results=ToolResults.KEEP)

RESPONSE: Json = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "instructions": "Be <b>brief</b>.",
    "model": "m",
    "output": [],
    "previous_response_id": "resp_0",
    "prompt_cache_key": "k",
    "reasoning": {"effort": "low", "summary": "auto"},
    "metadata": {"a": "b"},
    "tools": [],
}


@cache
def _rule(policy: Policy) -> Rule:
    return RuleSet([RuleSpec("only", Match(), ("all",), policy)], CATALOGUE).rules[0]


def wire(policy: Policy = DROP, declared: Iterable[str] = ()) -> Responses:
    """A fresh wire, with all the formats that are safe together."""
    return Responses(_rule(policy).ruling(dict.fromkeys(declared), seed="s"))


# --- what upstream sends ------------------------------------------------------------------------


def sse(record: Json) -> bytes:
    """One event."""
    data = json.dumps(record, separators=(",", ":"))
    return f"event: {record['type']}\ndata: {data}\n\n".encode()


def stream(*records: Json) -> bytes:
    """Numbered events."""
    return b"".join(sse(r | {"sequence_number": n}) for n, r in enumerate(records))


def response(status: str, *output: Json, **more: Any) -> Json:
    """An event about the answer as a whole, named as its status is."""
    whole = RESPONSE | {"status": status, "output": list(output)} | more
    return {"type": f"response.{status}", "response": whole}


def created() -> Json:
    return response("in_progress") | {"type": "response.created"}


def added(index: int, item: Json) -> Json:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: Json) -> Json:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def of_item(kind: str, index: int, item: Json, **more: Any) -> Json:
    """An event of an item that is not about its parts."""
    at = {"item_id": item["id"], "output_index": index}
    return {"type": f"response.{kind}", **at, **more}


def of_part(kind: str, index: int, item: Json, position: int = 0, **more: Any) -> Json:
    return of_item(kind, index, item, content_index=position, **more)


def part(text: str, **more: Any) -> Json:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text} | more


def refused(text: str) -> Json:
    return {"type": "refusal", "refusal": text}


def message(*parts: Json, item_id: str = "msg_0") -> Json:
    """A complete message."""
    item = {"id": item_id, "type": "message", "role": "assistant", "status": "completed"}
    return item | {"content": list(parts)}


def said(*pieces: str, item_id: str = "msg_0") -> Json:
    """A complete message of one text, whose pieces :func:`written` sends one by one."""
    return message(part("".join(pieces)), item_id=item_id)


def begun(item: Json) -> Json:
    """The item as it is announced."""
    return item | {"status": "in_progress", "content": []}


def written(item: Json, *pieces: str, index: int = 0, **more: Any) -> list[Json]:
    """All events of a message, the text of whose first part comes in ``pieces``; ``more`` is in
    each delta."""
    events = [added(index, begun(item))]
    for position, whole in enumerate(item["content"]):
        kind = whole["type"]
        key = "refusal" if kind == "refusal" else "text"
        extra: Json = {} if kind == "refusal" else {"logprobs": []}
        texts = pieces if position == 0 else (whole[key],)
        at = of_part("", index, item, position)
        events += [
            at | {"type": "response.content_part.added", "part": whole | {key: ""}},
            *(at | {"type": f"response.{kind}.delta", "delta": t} | extra | more for t in texts),
            at | {"type": f"response.{kind}.done", key: whole[key]} | extra,
            at | {"type": "response.content_part.done", "part": whole},
        ]
    return [*events, done(index, item)]


def answer(*events: Json, output: Sequence[Json] = (), status: str = "completed") -> bytes:
    """A whole stream."""
    return stream(created(), *events, response(status, *output))


def spoken(*pieces: str, **more: Any) -> bytes:
    """A whole stream of one message of one text."""
    item = said(*pieces)
    return answer(*written(item, *pieces, **more), output=[item])


# --- what leaves --------------------------------------------------------------------------------


def filtered(raw: bytes | Iterable[bytes], answer: Responses, fault: Fault | None = None) -> bytes:
    """The bytes that leave."""
    transducer = StreamFilter(answer, limit=LIMIT)
    pieces = [raw] if isinstance(raw, bytes) else raw
    return b"".join([*map(transducer.feed, pieces), transducer.finish(fault)])


def records(out: bytes) -> list[Json]:
    """The events, each with the name that its type is."""
    found = []
    for block in out.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        record = json.loads(data.removeprefix("data: "))
        assert name == f"event: {record['type']}"
        found.append(record)
    return found


def left(raw: bytes, policy: Policy = DROP, declared: Iterable[str] = ()) -> list[Json]:
    """The events that leave of a stream, as a strict client reads them."""
    found = records(filtered(raw, wire(policy, declared)))
    check(found)
    return found


def check(events: Sequence[Json]) -> None:
    """What SDKs rely on: numbers, items and parts have no gaps, an item keeps its id, and the
    repetitions of a text say what its deltas said."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    items: list[Json] = []
    texts: dict[tuple[int, int], str] = {}
    complete: dict[int, Json] = {}
    for event in events:
        kind: str = event["type"]
        index: int = event.get("output_index", -1)
        if kind == "response.output_item.added":
            assert index == len(items)
            items.append(event["item"])
        elif kind == "response.output_item.done":
            for key in ("id", "type"):
                assert event["item"][key] == items[index][key]
            complete[index] = event["item"]
            for position, whole in enumerate(_texts(event["item"])):
                assert texts.get((index, position), whole) == whole
        elif "item_id" in event:
            assert event["item_id"] == items[index]["id"]
            _check_part(event, texts)
        elif kind in ("response.completed", "response.incomplete"):
            output = event["response"]["output"]
            assert output == [complete[position] for position in range(len(items))]


def _check_part(event: Json, texts: dict[tuple[int, int], str]) -> None:
    kind = event["type"]
    at = event["output_index"], event.get("content_index", 0)
    if kind == "response.content_part.added" and text_key(event["part"]["type"]) is not None:
        assert at not in texts
        assert at[1] == 0 or (at[0], at[1] - 1) in texts
        texts[at] = ""
    elif kind in ("response.output_text.delta", "response.refusal.delta"):
        assert event["delta"] or not texts[at]
        texts[at] += event["delta"]
    elif kind in ("response.output_text.done", "response.refusal.done"):
        assert texts[at] == event.get("text", event.get("refusal"))
    elif kind == "response.content_part.done" and at in texts:
        assert [texts[at]] == list(_texts({"content": [event["part"]]}))


def _texts(item: Json) -> Iterator[str]:
    for whole in item.get("content", ()):
        key = text_key(whole["type"])
        if key is not None:
            yield whole[key]


def text(events: Iterable[Json]) -> str:
    """What a client shows: the deltas of all texts."""
    kinds = ("response.output_text.delta", "response.refusal.delta")
    return "".join(event["delta"] for event in events if event["type"] in kinds)


def types(events: Iterable[Json]) -> list[str]:
    """The types of the items that are announced."""
    return [e["item"]["type"] for e in events if e["type"] == "response.output_item.added"]


def output(events: Sequence[Json]) -> list[Json]:
    """The items of the finished response."""
    items: list[Json] = events[-1]["response"]["output"]
    return items


def judged(
    items: Sequence[Json], policy: Policy = DROP, declared: Iterable[str] = ()
) -> list[Json]:
    """What is left of the items of a response that is one document."""
    whole = RESPONSE | {"status": "completed", "output": list(items)}
    body = filter_document(json.dumps(whole).encode(), wire(policy, declared))
    found: list[Json] = json.loads(body)["output"]
    return found
