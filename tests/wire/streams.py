"""Chat streams and documents made by hand, and what a strict client reads of what leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from sidecar.core.document import filter_document
from sidecar.core.policy import Policy, Reasoning, ToolCalls
from sidecar.core.stats import Stats
from sidecar.core.stream import Fault, StreamFilter
from sidecar.rules.catalogue import Catalogue
from sidecar.rules.config import RuleSpec
from sidecar.rules.match import Match
from sidecar.rules.ruleset import Rule, RuleSet
from sidecar.wire.chat import Chat
from sidecar.wire.promotion import MAX_PROMOTED
from sidecar.wire.ruling import Ruling
from tests.promises import CATALOGUE, LIMIT

Json = dict[str, Any]

DONE = b"data: [DONE]\n\n"
DIED = Fault("upstream_died", "The upstream server died.")
AGENT = Policy(reasoning=Reasoning.MOVE, tool_calls=ToolCalls.DECLARED)
ENVELOPE: Json = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "created": 1700000000,
    "model": "m",
}

_LINE_END = re.compile(rb"\r\n|\n|\r")


def compact(value: Any) -> str:
    """As most servers write it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def spaced(value: Any) -> str:
    """As Python's ``json`` writes it by default."""
    return json.dumps(value)


def sse(text: str) -> bytes:
    """One event."""
    return f"data: {text}\n\n".encode()


def chunk(delta: Any, finish: str | None = None, *, index: int = 0, **more: Any) -> Json:
    """One chunk with one choice; ``more`` are further keys of the choice."""
    return ENVELOPE | {
        "choices": [{"index": index, "delta": delta, "finish_reason": finish} | more]
    }


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, "stop")


def call(name: str | None, arguments: str = "", *, index: int | None = 0, **more: Any) -> Json:
    """One delta of a tool call."""
    function: Json = {"arguments": arguments} | ({"name": name} if name is not None else {})
    numbered = {} if index is None else {"index": index}
    return numbered | {"function": function} | more


def calls(*deltas: Json, finish: str | None = None, **more: Any) -> Json:
    """One chunk of tool calls."""
    return chunk({"tool_calls": list(deltas)}, finish, **more)


THINK = replace(CATALOGUE.formats["think"], opened_by_prompt=("thinker-*",))
_CATALOGUE = Catalogue({**CATALOGUE.formats, "think": THINK})


@cache
def _rule(policy: Policy, promoted: int) -> Rule:
    spec = RuleSpec("only", Match(), ("all",), policy)
    return RuleSet([spec], _CATALOGUE, promoted=promoted).rules[0]


def ruling(policy: Policy, declared: Iterable[str] = (), *, model: str = "m") -> Ruling:
    """What a rule named ``only`` means, with all the formats that are safe together."""
    return _rule(policy, MAX_PROMOTED).ruling(dict.fromkeys(declared), model=model, seed="seed")


def chat(
    policy: Policy | None = None,
    declared: Iterable[str] = (),
    *,
    model: str = "m",
    promoted: int = MAX_PROMOTED,
) -> Chat:
    """A fresh wire, with all the formats that are safe together. The prompt of ``thinker-1`` opens
    the reasoning."""
    return Chat(_rule(policy or Policy(), promoted).ruling(dict.fromkeys(declared), model=model))


@dataclass
class Read:
    """One choice as a client reads it. ``deltas`` are those of its chunks, in order."""

    text: str = ""
    reasoning: str = ""
    roles: list[str] = field(default_factory=list)
    finishes: list[str] = field(default_factory=list)
    calls: dict[int, Json] = field(default_factory=dict)
    deltas: list[Json] = field(default_factory=list)


@dataclass
class Left:
    """What left, and what was counted."""

    raw: bytes
    stats: Stats

    @property
    def events(self) -> list[bytes]:
        """The event blocks, with their blank lines."""
        return [block + b"\n\n" for block in self.raw.split(b"\n\n")[:-1]]

    @property
    def payloads(self) -> list[Any]:
        """The JSON of each event, read strictly: one data line each, the end mark once and last."""
        return payloads(self.raw)

    @property
    def error(self) -> Json | None:
        """The error that the stream ends with."""
        found: Json | None = self.payloads[-1].get("error") if self.payloads else None
        return found

    def choice(self, index: int = 0) -> Read:
        """One choice of a stream."""
        return choices(self.payloads).get(index, Read())


def payloads(raw: bytes) -> list[Any]:
    """The JSON of each event, read strictly."""
    lines = _LINE_END.split(raw)
    assert lines.pop() == b"", "the stream ends with a line end"
    data = lines[::2]
    assert not any(lines[1::2]), "every event is one line and a blank one"
    assert len(data) * 2 == len(lines)
    assert all(line.startswith(b"data:") for line in data)
    texts = [line.removeprefix(b"data:").removeprefix(b" ") for line in data]
    assert texts.pop() == b"[DONE]"
    assert b"[DONE]" not in texts
    return [json.loads(text) for text in texts]


def choices(chunks: Iterable[Any]) -> dict[int, Read]:
    """What a client joins from the chunks; fails on text after a finish and on a second finish."""
    found: dict[int, Read] = {}
    for value in chunks:
        for item in value.get("choices") or ():
            _join(found.setdefault(item["index"], Read()), item)
    for read in found.values():
        read.text, read.reasoning = _whole(read.text), _whole(read.reasoning)
    return found


def _join(read: Read, item: Json) -> None:
    delta = item["delta"]
    assert isinstance(delta, dict)
    content = plain(delta.get("content"))
    assert not (content and read.finishes), "text after the finish"
    read.deltas.append(delta)
    read.text += content
    read.reasoning += reasoning_of(delta)
    if delta.get("role"):
        read.roles.append(delta["role"])
    for part in delta.get("tool_calls") or ():
        join_call(read.calls, part)
    if item.get("finish_reason"):
        assert not read.finishes, "a second finish"
        read.finishes.append(item["finish_reason"])


def join_call(found: dict[int, Json], part: Json) -> None:
    """Add one delta of a call to the calls, as the SDKs do."""
    function = part.get("function") or part.get("custom") or {}
    unnumbered = len(found) if function.get("name") else max(len(found) - 1, 0)
    index = part["index"] if isinstance(part.get("index"), int) else unnumbered
    whole = found.setdefault(index, {"name": "", "arguments": ""})
    whole["name"] += function.get("name") or ""
    whole["arguments"] += function.get("arguments") or function.get("input") or ""


def plain(content: Any) -> str:
    """The visible text of a message's content."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return content or ""


def reasoning_of(message: Json) -> str:
    """The reasoning a message says in a field of its own."""
    text = message.get("reasoning_content") or message.get("reasoning") or ""
    if not text and isinstance(message.get("content"), list):
        for part in message["content"]:
            if part.get("type") == "thinking":
                text += "".join(inner["text"] for inner in part["thinking"])
    return str(text)


def _whole(text: str) -> str:
    """A surrogate pair that was cut over two deltas is one character to the reader."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def send(
    *chunks: Json | bytes,
    policy: Policy | None = None,
    declared: Iterable[str] = (),
    fault: Fault | None = None,
    done: bool = True,
    spaces: bool = False,
    **more: Any,
) -> Left:
    """The stream of these chunks, through the filter. ``spaces``: as Python's ``json`` writes;
    ``more`` is for :func:`chat`."""
    write = spaced if spaces else compact
    sent = [each if isinstance(each, bytes) else sse(write(each)) for each in chunks]
    wire = chat(policy, declared, **more)
    stream = StreamFilter(wire, limit=LIMIT)
    out = stream.feed(b"".join([*sent, DONE] if done else sent))
    return Left(out + stream.finish(fault), wire.stats)


def document(
    *choices_: Json,
    policy: Policy | None = None,
    declared: Iterable[str] = (),
    model: str = "m",
    **more: Any,
) -> tuple[Json, Stats]:
    """A whole answer of these choices, through the filter; ``more`` are keys of it."""
    body = ENVELOPE | {"object": "chat.completion", "choices": list(choices_)} | more
    wire = chat(policy, declared, model=model)
    left: Json = json.loads(filter_document(compact(body).encode(), wire))
    return left, wire.stats


def whole(message: Json, finish: str = "stop", *, index: int = 0, **more: Any) -> Json:
    """One choice of a whole answer."""
    return {"index": index, "message": message, "finish_reason": finish} | more
