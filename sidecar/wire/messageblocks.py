"""The blocks of one Messages answer, in a stream or in a document, which is read as a stream of
whole blocks.

Text blocks that follow one another are one text: a lane reads them together, so that a marker that
a server cut in two is found. Blocks may overlap: llama.cpp closes all of them at the end.
"""

from __future__ import annotations

from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.jsontext import as_int, dump
from sidecar.core.lane import Lane
from sidecar.core.policy import OnEmpty, UnknownFields
from sidecar.core.stream import Fault, MalformedChunk
from sidecar.wire.blockjudge import BlockJudge, characters
from sidecar.wire.blockwriter import START, STOP, Block, BlockWriter, Event
from sidecar.wire.calls import CallFilter
from sidecar.wire.checked import an_index, an_object
from sidecar.wire.errors import NOTHING_VISIBLE, UNREADABLE_CALL
from sidecar.wire.fields import Record, Table, prune
from sidecar.wire.messages_fields import BLOCKS, DELTA_CHANNELS, DELTAS
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.texts import Texts, Turn

MAX_BLOCKS = 1024
"""Blocks of one answer: more than any agent's rounds, or the citations of a long answer, make. More
could only serve to grow the state."""

MAX_WAITING = 4
"""Events that wait until something of their block is visible: its announcement, and deltas without
text. Servers send one such."""

_TEXT_DELTAS = ("text_delta", "citations_delta")


class Blocks:
    """The blocks of one answer under one rule. What becomes certain is written to ``writer``."""

    def __init__(self, ruling: Ruling) -> None:
        shared = Shared(ruling)
        self.stats = shared.stats
        self.progress = shared.progress
        self.writer = BlockWriter()
        self.fault: Fault | None = None
        """Why the answer cannot go on."""
        self.moved_calls = 0
        self._policy = ruling.policy
        self._keeps_unknown = ruling.policy.unknown_fields is UnknownFields.PASS
        self._judge = BlockJudge(ruling, shared.stats)
        calls = CallFilter(ruling.policy.tool_calls, ruling.declared, shared.stats, self.progress)
        self.texts = Texts(ruling, shared, calls, self.progress)
        self._open: dict[int, Block] = {}
        """By upstream's index."""
        self._begun = 0
        """How many blocks have begun."""
        self._latest = -1
        """Upstream's index of the block that began last."""
        self._visible = False
        """A block that is no text, and more than reasoning, stays."""
        self._reading = False
        """The lane's text may go on."""
        self._speaker = Block("text")
        """The block that the lane's text was last of."""
        self._adjacent = False
        """The block that began last is text."""
        self._waiting: Event | None = None
        """The speaker's end, while the lane holds text or is where nothing is visible."""

    @property
    def lanes(self) -> dict[int, Lane]:
        """The lane of the text that is read now."""
        return {0: self.texts.lane} if self._reading else {}

    @property
    def hid(self) -> bool:
        """Whether something of the answer was hidden."""
        return self.texts.hid

    @property
    def lacks_calls(self) -> bool:
        """Whether calls were hidden, and none is left for the client to run."""
        hid = self.texts.hid_calls or bool(self._judge.hidden_calls)
        return hid and not self._judge.kept_calls and not self.moved_calls

    def read(self, kind: str, event: Event) -> Block | None:
        """Judge an event of a block: the block, if the event is more of its text, and all of that
        is visible. Raises MalformedChunk."""
        if kind == START:
            self._start(event)
        elif kind == STOP:
            self._stop(event)
        else:
            return self._delta(event)
        return None

    def read_ping(self, event: Event) -> None:
        """A sign of life. It may follow the announcement of a text at once, and leaves after it if
        all of that is visible."""
        block = self._speaker
        if not block.fed and 0 < len(block.waiting) < MAX_WAITING:
            block.waiting.append(event)
        else:
            self.writer.ping(block, event)

    def read_whole(self, content: list[Any]) -> None:
        """Judge complete blocks. Raises MalformedChunk."""
        for index, block in enumerate(content):
            self._start(Event({"type": START, "index": index, "content_block": block}))
            self._stop(Event({"type": STOP, "index": index}))

    def finish(self, *, cut_off: bool) -> None:
        """No further block will come; ``cut_off``: the model would have gone on."""
        self._settle(cut_off=cut_off)
        for block in self._open.values():
            self.writer.close(block)
        self._open.clear()

    def say_instead(self) -> None:
        """Say what is sent because nothing else was, now that the answer is complete."""
        calls = self._judge.kept_calls or self.moved_calls
        if self.texts.visible or self._visible or calls or self.fault is not None:
            return
        wish = self._policy.on_empty
        self.stats.empty_answers[wish] += 1
        if wish is OnEmpty.ERROR:
            self.fault = NOTHING_VISIBLE
            return
        text = self._policy.empty_text if wish is OnEmpty.TEXT else self.texts.take_promoted()
        self.texts.show(text)
        if text:
            block = Block("text")
            self._say(block, [Turn(text, "", [])])
            self.writer.close(block)

    def prune(self, record: Record, table: Table) -> bool:
        """Take out, in place, what the table does not know. Returns whether anything was."""
        dropped = prune(record, table, keep_unknown=self._keeps_unknown)
        self.stats.unknown_fields += dropped
        return bool(dropped)

    def read_unknown(self, event: Event) -> None:
        """Judge an event that no table knows; it may be of a block."""
        index = as_int(event.record.get("index"))
        block = None if index is None else self._open.get(index)
        if not self._keeps_unknown:
            self.stats.unknown_fields += 1
        elif block is None:
            self.writer.out.append(event)
        elif not block.hidden:
            self.writer.show(block)
            self.writer.put(block, event)

    # Blocks.

    def _start(self, event: Event) -> None:
        inner = an_object(event.record.get("content_block"), "a block")
        index = self._index(event.record, self._latest + 1)
        if index in self._open:
            self._stop(Event({"type": STOP, "index": index}))
        kind = inner.get("type")
        hidden = self._judge.hides(inner)
        block = Block(kind if isinstance(kind, str) else None, hidden=hidden)
        table = BLOCKS.get(kind) if isinstance(kind, str) else None
        if table is not None and self.prune(inner, table):
            event = Event(event.record)
        self._begin(index, block)
        if block.kind == "text":
            self._start_text(block, event, inner)
            return
        self._tell(block, inner)
        thought = inner.get("thinking") if block.kind == "thinking" else None
        if thought:
            self.texts.hides_reasoning(thought)
        if hidden:
            self._hide(block.channel, characters(inner) - len(thought or ""))
            return
        self._visible = self._visible or block.channel is not Channel.REASONING
        block.waiting = [event]
        self.writer.show(block)

    def _tell(self, block: Block, inner: Record) -> None:
        """A block begins that is no text, and may be complete."""
        channel = block.channel
        if channel is Channel.TOOL_CALL:
            name = inner.get("name")
            said = name if isinstance(name, str) and name else str(block.kind)
            self.progress.call(block, said, inner.get("input") or "")
        elif channel is Channel.TOOL_RESULT:
            content = inner.get("content")
            text = content if isinstance(content, str) else dump(content, exact=True).decode()
            self.progress.result(text if content else "")
            self.progress.end_result()
        elif channel is Channel.REASONING:
            # Anthropic hides what it redacts itself.
            self.progress.think(inner.get("data") or "")
        elif not block.hidden:
            self.progress.show()

    def _start_text(self, block: Block, event: Event, inner: Record) -> None:
        text = inner.get("text") or ""
        block.waiting = [event]
        if text:
            block.fed = True
            turns = self._feed(text)
            if _visible(turns) == text:
                self.writer.end_made()
                self.writer.show(block)
                return
            inner["text"] = ""
            block.waiting = [Event(event.record)]
            self._say(block, turns)
        elif "text" not in inner or inner["text"] is None:
            inner["text"] = ""
            block.waiting = [Event(event.record)]

    def _stop(self, event: Event) -> None:
        block = self._open.pop(self._index(event.record, self._latest), None)
        if block is None:
            return
        if block.kind == "text" and block is self._speaker and self._reading:
            lane = self.texts.lane
            if lane.held or lane.where != "content":
                self._waiting = event
                return
            self.writer.end_made()
        else:
            self._leave_text()
        self._close(block, event)

    def _close(self, block: Block, event: Event) -> None:
        """The block is complete. One of which all text was hidden was never there."""
        if not block.hidden and not block.fed and block.waiting:
            self.writer.show(block)
        self.writer.close(block, event)

    def _begin(self, index: int, block: Block) -> None:
        """A block begins. Raises MalformedChunk if it is one too many."""
        if self._begun >= MAX_BLOCKS:
            raise MalformedChunk(f"a message has up to {MAX_BLOCKS} blocks")
        self._begun += 1
        self._latest = index
        if block.kind == "text":
            self._begin_text(block)
        else:
            self._leave_text()
        self._adjacent = block.kind == "text"
        self._open[index] = block

    def _begin_unannounced(self, index: int, kind: Any) -> Block:
        """The block of a delta that no event has announced."""
        channel = DELTA_CHANNELS.get(kind)
        if kind in _TEXT_DELTAS:
            block = Block("text")
        elif channel is Channel.REASONING and kind != "compaction_delta":
            block = Block("thinking", hidden=self._judge.hides_channel(channel))
        else:
            # Without its name, a call is of no use.
            block = Block("tool_use", hidden=True)
        self._begin(index, block)
        return block

    def _index(self, record: Record, otherwise: int) -> int:
        index = record.get("index")
        return max(otherwise, 0) if index is None else an_index(index, MAX_BLOCKS, "index")

    # Deltas.

    def _delta(self, event: Event) -> Block | None:
        delta = an_object(event.record.get("delta"), "a delta")
        kind = delta.get("type")
        table = DELTAS.get(kind) if isinstance(kind, str) else None
        if table is None:
            self.read_unknown(event)
            return None
        if self.prune(delta, table):
            event = Event(event.record)
        index = self._index(event.record, self._latest)
        block = self._open.get(index)
        is_text = kind == "text_delta" and not (block is not None and block.hidden)
        if is_text and block is not None and block.kind != "text":
            # Text is read wherever it stands.
            self._stop(Event({"type": STOP, "index": index}))
            block = None
        block = block or self._begin_unannounced(index, kind)
        if is_text:
            return self._text_delta(block, event, delta)
        self._other_delta(block, event, delta)
        return None

    def _text_delta(self, block: Block, event: Event, delta: Record) -> Block | None:
        text = delta.get("text") or ""
        self._go_on(block)
        block.fed = block.fed or bool(text)
        turns = self._feed(text)
        visible = _visible(turns)
        if not text and 0 < len(block.waiting) < MAX_WAITING:
            block.waiting.append(event)
        elif visible is None:
            self._say(block, turns)
        elif visible or (not text and block.index is not None):
            self.writer.end_made()
            self.writer.show(block)
            if visible != text:
                delta["text"] = visible
                event = Event(event.record)
            self.writer.put(block, event)
            return block if event.text and visible else None
        elif block.waiting:
            self.writer.ping(block)
        return None

    def _other_delta(self, block: Block, event: Event, delta: Record) -> None:
        if block.kind != "text":
            self._leave_text()
        kind = delta["type"]
        channel = DELTA_CHANNELS.get(kind, block.channel)
        if kind == "thinking_delta" and delta.get("thinking"):
            self.texts.hides_reasoning(delta["thinking"])
        elif kind == "input_json_delta":
            self.progress.call(block, None, delta.get("partial_json") or "")
        misplaced = channel is not block.channel
        if block.hidden or (misplaced and self._judge.hides_channel(channel)):
            if kind != "thinking_delta":
                self._hide(channel, characters(delta))
            return
        if kind == "citations_delta":
            self.progress.cite(delta.get("citation"))
        if kind == "citations_delta" and block.index is None and block.fed:
            # What it is said of was hidden.
            return
        self.writer.show(block)
        self.writer.put(block, event)

    def _hide(self, channel: Channel | None, size: int) -> None:
        """A block, or a delta of one, with ``size`` characters was hidden."""
        self.texts.hid = True
        if channel is not None:
            self.stats.hide_field(channel, size)

    # Text.

    def _begin_text(self, block: Block) -> None:
        goes_on = self._adjacent or any(other.kind == "text" for other in self._open.values())
        if not (self._reading and goes_on):
            self._settle()
            self._reading = True
            self.texts.start_message()
        self._go_on(block)

    def _go_on(self, block: Block) -> None:
        """The lane's text goes on in this block."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._close(self._speaker, waiting)
        if not self._reading:
            # It was thought to be complete.
            self._reading = True
            self.texts.start_message()
        self._speaker = block

    def _feed(self, text: str) -> list[Turn]:
        turns = self.texts.feed_in_turn(text)
        self._note_unreadable()
        return turns

    def _leave_text(self) -> None:
        """Something else follows the text, if that was complete."""
        if self._waiting is not None:
            self._settle()

    def _settle(self, *, cut_off: bool = False) -> None:
        """The text is complete: what was held of it is certain."""
        if not self._reading:
            return
        self._reading = False
        self._say(self._speaker, self.texts.finish_in_turn(cut_off=cut_off))
        self._note_unreadable()
        self.writer.end_made()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._close(self._speaker, waiting)

    def _say(self, block: Block, turns: list[Turn]) -> None:
        """Say what a text gave in blocks that follow one another."""
        for turn in turns:
            if turn.visible:
                self.writer.end_made()
                self.writer.show(block)
                self.writer.say(block, "text_delta", "text", turn.visible)
            if turn.moved:
                self.writer.close(block)
                self.writer.think(turn.moved)
            for call in turn.calls:
                self.writer.close(block)
                self.writer.call(call)
                self.moved_calls += "id" in call

    def _note_unreadable(self) -> None:
        if self.texts.unreadable:
            self.fault = UNREADABLE_CALL


def _visible(turns: list[Turn]) -> str | None:
    """The text of these stretches; None if something of them is to be moved."""
    if any(turn.moved or turn.calls for turn in turns):
        return None
    return "".join(turn.visible for turn in turns)
