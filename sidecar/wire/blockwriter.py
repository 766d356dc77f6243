"""The client's side of the blocks of a Messages answer: which it knows, under which indexes.

A block is announced when it is certain that something of it stays; that gives it its ``index``, so
that there are no gaps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sidecar.core.channel import Channel
from sidecar.core.jsontext import MalformedJSON, as_int, parse
from sidecar.wire.fields import Record
from sidecar.wire.messages_fields import BLOCK_CHANNELS

START, DELTA, STOP = "content_block_start", "content_block_delta", "content_block_stop"
PING = "ping"

_EMPTY: dict[str, Record] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
"""What a block of ours is announced as."""


class Event(NamedTuple):
    """An event for the client. ``text`` is the JSON that it came as, empty if it is ours or was
    changed."""

    record: Record
    text: bytes = b""


class Block:
    """One block. ``index`` is the client's, None while the client knows of no such block."""

    __slots__ = ("fed", "hidden", "index", "kind", "waiting")

    def __init__(self, kind: str | None, *, hidden: bool = False) -> None:
        self.kind = kind
        self.hidden = hidden
        self.index: int | None = None
        self.waiting: list[Event] = []
        """The event that announces it, which is made if there is none, and what follows it."""
        self.fed = False
        """Some text of it has come."""

    @property
    def channel(self) -> Channel | None:
        """What it is as a whole; None if it is text, or unknown."""
        return None if self.kind is None else BLOCK_CHANNELS.get(self.kind)


class BlockWriter:
    """Writes the events of the blocks, in the order of the client's indexes."""

    def __init__(self) -> None:
        self.out: list[Event] = []
        """What is to be sent; whoever sends it takes it."""
        self._count = 0
        self._made: Block | None = None
        """The block that is open and of ours: reasoning, or a call, moved out of a text."""

    def take(self) -> list[Event]:
        """What has become certain since the last time."""
        out, self.out = self.out, []
        return out

    def show(self, block: Block) -> None:
        """Announce the block, unless that was done."""
        if block.index is not None:
            return
        block.index = self._count
        self._count += 1
        waiting, block.waiting = block.waiting, []
        if not waiting:
            inner = dict(_EMPTY[block.kind or "text"])
            waiting = [Event({"type": START, "content_block": inner})]
        for event in waiting:
            if event.record["type"] == PING:
                self.out.append(event)
            else:
                self.put(block, event)

    def ping(self, block: Block, event: Event | None = None) -> None:
        """The pings that wait with the announcement of ``block``, which is not certain yet, and
        one more: they say that the stream is alive, and wait no longer."""
        waiting = [*block.waiting, *([event] if event else ())]
        self.out += [each for each in waiting if each.record["type"] == PING]
        block.waiting = [each for each in waiting if each.record["type"] != PING]

    def put(self, block: Block, event: Event) -> None:
        """An event of a block that was announced, under the client's index."""
        if as_int(event.record.get("index")) != block.index:
            event = Event(event.record | {"index": block.index})
        self.out.append(event)

    def say(self, block: Block, kind: str, key: str, text: str) -> None:
        """A delta of ours."""
        delta = {"type": kind, key: text}
        self.out.append(Event({"type": DELTA, "index": block.index, "delta": delta}))

    def close(self, block: Block, event: Event | None = None) -> None:
        """The block is complete; ``event`` is what says so, None if nothing does."""
        if block.index is None:
            return
        self.put(block, event or Event({"type": STOP, "index": block.index}))
        block.index = None

    # Blocks of ours, for what is moved out of a text. One is open at a time.

    def think(self, text: str) -> None:
        """Reasoning."""
        if self._made is None or self._made.kind != "thinking":
            self._begin_made("thinking", _EMPTY["thinking"])
        assert self._made is not None
        self.say(self._made, "thinking_delta", "thinking", text)

    def call(self, delta: Record) -> None:
        """A call, as OpenAI's chat deltas of it tell: the first has its id."""
        function = delta["function"]
        if "id" in delta:
            call_id = "toolu_" + delta["id"].removeprefix("call_")
            inner = {"type": "tool_use", "id": call_id, "name": function["name"], "input": {}}
            self._begin_made("tool_use", inner)
        assert self._made is not None
        if function["arguments"]:
            self.say(self._made, "input_json_delta", "partial_json", function["arguments"])

    def end_made(self) -> None:
        """Complete the block that is ours, if one is open."""
        made, self._made = self._made, None
        if made is not None:
            self.close(made)

    def _begin_made(self, kind: str, inner: Record) -> None:
        self.end_made()
        self._made = Block(kind)
        self._made.waiting = [Event({"type": START, "content_block": dict(inner)})]
        self.show(self._made)


def assembled(events: Iterable[Event]) -> list[Record]:
    """The blocks that a client makes of these events, as the ``content`` of a document."""
    content: list[Record] = []
    arguments: dict[int, str] = {}
    for record, _ in events:
        if record["type"] == START:
            content.append(record["content_block"])
        elif record["type"] == DELTA:
            index, delta = record["index"], record["delta"]
            if delta["type"] == "input_json_delta":
                arguments[index] = arguments.get(index, "") + delta["partial_json"]
            else:
                key = delta["type"].removesuffix("_delta")
                content[index][key] += delta[key]
    for index, said in arguments.items():
        content[index]["input"] = _input(said)
    return content


def _input(arguments: str) -> Record:
    """The input of a call; empty if its arguments break off, as they do where an answer does."""
    try:
        value = parse(arguments.encode("utf-8", "surrogatepass")).value
    except MalformedJSON:
        return {}
    return value if isinstance(value, dict) else {}
