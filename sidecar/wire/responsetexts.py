"""The texts of a streamed Responses answer's messages: their deltas, and what repeats them.

A text is announced when something of it is visible, and its message with it. Every repetition is
judged anew, by a lane that reads the whole text at once and so finds what the one that read the
pieces found.
"""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.core.jsontext import Parsed
from sidecar.core.lane import Lane
from sidecar.core.stream import MalformedChunk
from sidecar.wire.checked import an_index, an_object
from sidecar.wire.errors import UNREADABLE_CALL
from sidecar.wire.fields import Record
from sidecar.wire.items import TextOf, cut_logprobs, text_key
from sidecar.wire.made import MadeItem
from sidecar.wire.messageitem import MAX_PARTS, Held, Item, Items, Part
from sidecar.wire.responsestate import DROPPED, Judged, ResponseState
from sidecar.wire.responsewriter import Ended, Writer
from sidecar.wire.texts import Turn

MAX_TEXTS = 1024
"""Texts of one stream, each with a lane of its own: as many as items."""

DELTAS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_DONE = {"response.output_text.done": "text", "response.refusal.done": "refusal"}


class ResponseTexts:
    """The texts of one answer."""

    def __init__(self, state: ResponseState, items: Items, writer: Writer) -> None:
        self._state = state
        self._items = items
        self._writer = writer
        self.broken = False
        """A call that was to be moved has ended with its text, and is not as its family writes
        one: it is none, if the answer is complete."""
        self._count = 0
        self._latest: Part | None = None
        """The one that was fed last."""
        self._whole: tuple[Part | None, str, str] = (None, "", "")
        """The text that was judged last, and what of it is visible: the next event repeats it."""

    @property
    def lanes(self) -> Mapping[tuple[int, int], Lane]:
        """The lanes of the parts that are open, by the positions of item and part."""
        return {
            (number, position): part.texts.lane
            for number, item in enumerate(self._items)
            for position, part in item.parts.items()
            if part is not None and not part.ended
        }

    @property
    def hesitates(self) -> bool:
        """Whether the text that was read last holds something back that may be visible."""
        part = self._latest
        return part is not None and not part.ended and part.texts.lane.hesitates

    # Events.

    def read_delta(self, kind: str, record: Record, event: Parsed, changed: bool) -> Judged:
        """More of a text."""
        item = self.item_of(record)
        if not item.is_message:
            self._state.stats.unknown_fields += not item.hidden
            return DROPPED
        part = self._part_of(item, record, refusal=kind == "response.refusal.delta")
        if part is None or part.ended:
            return DROPPED
        text = record.get("delta") or ""
        begins = not part.fed
        self._latest = part
        turns = part.feed(text)
        self._note_unreadable(part)
        if any(turn.moved or turn.calls for turn in turns):
            self._say(item, part, turns)
            return DROPPED
        visible = "".join(turn.visible for turn in turns)
        if not visible and (text or part.index is None):
            if begins and not text:
                changed |= cut_logprobs(record, "")
                part.opening.append(self._state.hold(record, event.text, changed=changed))
            return DROPPED
        self._writer.end_made()
        self._writer.show_part(item, part)
        if visible != text:
            record["delta"] = visible
            record.pop("obfuscation", None)
            changed = True
        changed |= cut_logprobs(record, visible)
        return True, self._writer.put(item, part, record) or changed

    def read_added(self, item: Item, record: Record, event: Parsed, changed: bool) -> Judged:
        """A part of ``item``, a message, is announced."""
        inner = an_object(record.get("part"), "a part")
        position = an_index(record.get("content_index") or 0, MAX_PARTS, "content_index")
        key = text_key(inner.get("type"))
        stays, pruned = True, False
        if key is None:
            stays, pruned = self._state.judge.clean_part(inner, str)
        else:
            pruned = self._state.judge.prune_part(inner)
            if inner.get(key):
                # It comes again in pieces, or when the part is complete.
                inner[key] = ""
                pruned = True
            pruned |= cut_logprobs(inner, "")
        if position in item.parts:
            return DROPPED
        if not stays:
            item.add_part(position, None)
            return DROPPED
        part = self._new_part(item, position, refusal=key == "refusal")
        part.opening = [self._state.hold(record, event.text, changed=changed or pruned)]
        if key is None:
            self._state.visible = True
            self._state.progress.show()
            self._writer.show_part(item, part)
        return DROPPED

    def read_part(self, item: Item, kind: str, record: Record, changed: bool) -> Judged:
        """An event that completes or annotates a part of ``item``, a message."""
        holder, key = record, _DONE.get(kind)
        if kind == "response.content_part.done":
            holder = an_object(record.get("part"), "a part")
            key = text_key(holder.get("type"))
        part = self._part_of(item, record, refusal=key == "refusal")
        if part is None:
            return DROPPED
        if key is not None:
            if holder is not record:
                changed |= self._state.judge.prune_part(holder)
            text = holder.get(key) or ""
            self._end_part(item, part, text)
            visible = self._visible(part, text)
            if visible != text:
                holder[key] = visible
                changed = True
            changed |= cut_logprobs(holder, visible)
            if not visible and part.index is None and part.hid:
                return DROPPED
        elif holder is not record:
            stays, cleaned = self._state.judge.clean_part(holder, str)
            if not stays:
                return DROPPED
            changed |= cleaned
        elif part.index is None and part.hid:
            # It annotates what is hidden.
            return DROPPED
        self._writer.show_part(item, part)
        return True, self._writer.put(item, part, record) or changed

    def item_of(self, record: Record) -> Item:
        """The item that an event of a text is about; a message if it was never announced."""
        return self._items.find_text(record) or self._new_message(record)

    # Messages as wholes.

    def end_message(self, item: Item, inner: Record) -> None:
        """The message is complete, and ``inner`` repeats it."""
        content = inner.get("content")
        for position, whole in enumerate(content if isinstance(content, list) else ()):
            key = text_key(whole.get("type")) if isinstance(whole, dict) else None
            if key is None or position >= MAX_PARTS:
                continue
            part = item.parts.get(position)
            if position not in item.parts:
                part = self._new_part(item, position, refusal=key == "refusal")
            if part is not None and isinstance(whole.get(key), str):
                self._end_part(item, part, whole[key])
        for part in item.parts.values():
            if part is not None:
                self._finish_part(item, part)

    def text_of(self, item: Item) -> TextOf:
        """What is visible of the texts of the whole message."""

        def visible(position: int, text: str) -> str:
            part = item.parts.get(position)
            if part is None:
                ruling = self._state.ruling_now(first=position == 0)
                part = Part(ruling, self._state.shared, refusal=False)
            return self._visible(part, text)

        return visible

    def finish(self, *, cut_off: bool) -> None:
        """No more text will come; ``cut_off``: the model did not end it."""
        for item in self._items:
            for part in item.parts.values():
                if part is not None:
                    self._finish_part(item, part, cut_off=cut_off)
        self._writer.end_made()

    # Parts.

    def _new_message(self, record: Record) -> Item:
        """A message that was never announced, with its announcement."""
        item_id = record.get("item_id")
        if not isinstance(item_id, str):
            item_id = self._state.new_id("msg")
        added: Record = {"type": "response.output_item.added"}
        if record.get("output_index") is not None:
            added["output_index"] = record["output_index"]
        made: Record = {"id": item_id, "type": "message", "role": "assistant"}
        added["item"] = made | {"status": "in_progress", "content": []}
        item = Item("message", None, item_id)
        item.opening = Held(added)
        return self._items.add(item, record.get("output_index"))

    def _part_of(self, item: Item, record: Record, *, refusal: bool) -> Part | None:
        """The part that an event is about, made if it was never announced; None if it is hidden."""
        position = an_index(record.get("content_index") or 0, MAX_PARTS, "content_index")
        if position in item.parts:
            return item.parts[position]
        part = self._new_part(item, position, refusal=refusal)
        empty: Record = {"type": "refusal", "refusal": ""}
        if not refusal:
            empty = {"type": "output_text", "annotations": [], "text": ""}
        added: Record = {key: record[key] for key in ("item_id", "output_index") if key in record}
        added |= {"type": "response.content_part.added", "content_index": 0, "part": empty}
        part.opening = [Held(added)]
        return part

    def _new_part(self, item: Item, position: int, *, refusal: bool) -> Part:
        self._count += 1
        if self._count > MAX_TEXTS:
            raise MalformedChunk(f"an answer has up to {MAX_TEXTS} texts")
        before = [part for part in item.parts.values() if part is not None and not part.refusal]
        part = self._state.new_part(before[-1] if before else None, refusal=refusal)
        item.add_part(position, part)
        return part

    def _end_part(self, item: Item, part: Part, text: str) -> None:
        """The part is complete; ``text`` is all of it, which need not have come in pieces."""
        if not (part.fed or part.ended):
            self._say(item, part, part.feed(text))
            self._note_unreadable(part)
        self._finish_part(item, part)

    def _finish_part(self, item: Item, part: Part, *, cut_off: bool = False) -> None:
        in_call = not part.ended and part.texts.lane.call != 0
        self._say(item, part, part.finish(cut_off=cut_off))
        # Whether the answer was cut off, or the call is none, is not known yet.
        self.broken = self.broken or part.texts.unreadable
        breaks_off = in_call and (cut_off or part.texts.unreadable)
        self._writer.end_made("incomplete" if breaks_off else "completed")

    def _say(self, item: Item, part: Part, turns: list[Turn]) -> None:
        """Say what a text gave, in the order in which it was written; what is moved out of it
        becomes items of their own."""
        for turn in turns:
            if turn.visible:
                self._writer.end_made()
                self._writer.show_part(item, part)
                self._writer.send(Held(self._delta(item, part, turn.visible)))
            if turn.moved:
                self._reason(turn.moved)
            for call in turn.calls:
                self._call(call)

    def _delta(self, item: Item, part: Part, text: str) -> Record:
        kind = "refusal" if part.refusal else "output_text"
        delta: Record = {"type": f"response.{kind}.delta", "item_id": item.id}
        delta |= {"output_index": item.index, "content_index": part.index, "delta": text}
        return delta if part.refusal else delta | {"logprobs": []}

    def _reason(self, text: str) -> None:
        state, writer = self._state, self._writer
        if not writer.opened("reasoning"):
            writer.begin_made(MadeItem.reasoning(state.new_id("rs"), writer.next_index()))
        writer.say(text)

    def _call(self, delta: Record) -> None:
        """More of a call, as OpenAI's chat deltas of it tell: the first has its id."""
        state, writer = self._state, self._writer
        function = delta["function"]
        if "id" in delta:
            index = writer.next_index()
            made = MadeItem.call(state.new_id("fc"), index, delta["id"], function["name"])
            writer.begin_made(made)
            state.visible = True
        if function["arguments"]:
            writer.say(function["arguments"])

    def _note_unreadable(self, part: Part) -> None:
        if part.texts.unreadable:
            raise Ended(UNREADABLE_CALL)

    def _visible(self, part: Part, text: str) -> str:
        judged, said, visible = self._whole
        if judged is not part or said != text:
            visible = part.visible(text)
            self._whole = (part, text, visible)
        return visible
