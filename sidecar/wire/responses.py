"""OpenAI's Responses: the events of a stream, and the ``response`` that is one document.

The same text comes again and again: in deltas, in the ``done`` events of a part, its item and its
message, and in the whole response at the end. Every repetition is judged anew, by a lane that reads
the whole text at once and so finds what the one that read the pieces found. An item is announced to
the client when it is certain that something of it stays; that gives it its ``output_index``.

Sources: OpenAI API reference, "Responses" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.framing import NAMED_EVENTS
from sidecar.core.jsontext import Parsed, dump
from sidecar.core.lane import Lane
from sidecar.core.sse import event as written
from sidecar.core.stats import Verdict
from sidecar.core.stream import UPSTREAM_CLOSED, Fault, MalformedChunk, Reading
from sidecar.wire.errors import UNREADABLE_CALL
from sidecar.wire.fields import Record
from sidecar.wire.items import MAX_ITEMS, TextOf, cut_logprobs, text_key
from sidecar.wire.made import MadeItem
from sidecar.wire.messageitem import MAX_PARTS, Held, Item, Part
from sidecar.wire.responsedocument import ResponseDocument
from sidecar.wire.responses_fields import (
    AUDIO_EVENTS,
    CALL_EVENTS,
    EVENTS,
    OPAQUE_EVENTS,
    REASONING_EVENTS,
    RESPONSE_EVENTS,
    RESULT_EVENTS,
    TEXT_EVENTS,
)
from sidecar.wire.responsestate import ResponseState, an_index, an_object, reasoning_of
from sidecar.wire.responsewriter import Ended, Writer
from sidecar.wire.ruling import Ruling
from sidecar.wire.texts import Said

_REWRITE = Verdict.REWRITE
_DROP = Reading(Verdict.DROP)

_LAST = frozenset({"response.completed", "response.incomplete", "response.failed"})
_DELTAS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_DONE = {"response.output_text.done": "text", "response.refusal.done": "refusal"}

_CHANNELS: dict[str, Channel] = (
    dict.fromkeys(REASONING_EVENTS, Channel.REASONING)
    | dict.fromkeys(CALL_EVENTS, Channel.TOOL_CALL)
    | dict.fromkeys(RESULT_EVENTS, Channel.TOOL_RESULT)
)
"""By its type, what an event says of an item that was never announced."""


class Responses:
    """One answer under one rule."""

    framing = NAMED_EVENTS

    def __init__(self, ruling: Ruling) -> None:
        self._state = ResponseState(ruling)
        self.stats = self._state.stats
        self._writer = Writer()
        self._items: dict[int, Item] = {}
        """By upstream's index."""
        self._by_id: dict[str, Item] = {}
        self._envelope: Record = {}
        """The response as it was announced; one of our own repeats it."""
        self._over = False
        self._failed = False
        """Upstream has reported an error."""

    @property
    def lanes(self) -> Mapping[tuple[int, int], Lane]:
        """The lanes of the parts that are open, by the indexes of item and part."""
        return {
            (index, position): part.texts.lane
            for index, item in self._items.items()
            for position, part in item.parts.items()
            if part is not None and not part.ended
        }

    def repeat(self, _: bytes) -> Reading | None:
        """Every event has a number of its own: none is like one before."""
        return None

    # A stream.

    def read(self, event: Parsed) -> Reading:
        """Judge one event. Raises MalformedChunk."""
        record = an_object(event.value, "an event")
        kind = record.get("type")
        if not isinstance(kind, str):
            raise MalformedChunk("an event has a type")
        self._writer.begin(record)
        out: list[bytes] = []
        try:
            stays, changed = self._read(kind, record, event, out)
        except Ended as ended:
            out.append(self._fail(ended.fault))
            return Reading(_REWRITE, tuple(out), last=True)
        self._over = self._over or kind in _LAST
        if not stays:
            return Reading(_REWRITE, tuple(out), last=self._over) if out else _DROP
        changed |= self._writer.number(record)
        name = kind.encode()
        if not changed and not out:
            return Reading(Verdict.PASS, name=name, last=self._over)
        out.append(self._writer.event(record, event) if changed else written(event.text, name))
        return Reading(_REWRITE, tuple(out), last=self._over)

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done."""
        if self._over or (self._failed and fault is None):
            return []
        out: list[bytes] = []
        try:
            self._finish_parts(out, cut_off=True)
        except Ended as ended:
            fault = ended.fault
        return [*out, self._fail(fault or UPSTREAM_CLOSED)]

    def _read(
        self, kind: str, record: Record, event: Parsed, out: list[bytes]
    ) -> tuple[bool, bool]:
        """Judge an event, in place: whether it stays, and whether it was changed. ``out`` is sent
        before it."""
        table = EVENTS.get(kind)
        if table is None:
            return self._read_unknown(record)
        changed = self._state.prune(record, table)
        if kind in _DELTAS:
            return self._read_delta(kind, record, changed, out)
        if kind in TEXT_EVENTS:
            return self._read_part(kind, record, event, changed, out)
        if kind in RESPONSE_EVENTS:
            return self._read_response(kind, record, changed, out)
        if kind == "response.output_item.added":
            return self._read_added(record, event, changed)
        if kind == "response.output_item.done":
            return self._read_done(record, event, changed, out)
        if kind in _CHANNELS:
            return self._read_of_item(kind, record, changed, out)
        if kind in AUDIO_EVENTS or kind in OPAQUE_EVENTS:
            return self._read_of_item(kind, record, changed, out)
        return self._read_error(record, changed, out) if kind == "error" else (True, changed)

    def _read_unknown(self, record: Record) -> tuple[bool, bool]:
        item = self._find(record)
        if not self._state.keeps_unknown or (item is not None and item.hidden):
            self.stats.unknown_fields += 1
            return False, True
        return True, item is not None and self._writer.place(item, record)

    def _read_error(self, record: Record, changed: bool, out: list[bytes]) -> tuple[bool, bool]:
        self._finish_parts(out, cut_off=True)
        self._failed = True
        flat = "error" not in record
        error = (
            {key: record.get(key) for key in ("code", "message", "param")}
            if flat
            else record["error"]
        )
        told = self._state.told(error)
        if flat:
            told = {key: told[key] for key in record if key in told}
            changed |= any(record[key] != value for key, value in told.items())
            record.update(told)
            return True, changed
        changed |= told != error
        record["error"] = told
        return True, changed

    # Items.

    def _find(self, record: Record) -> Item | None:
        """The item that an event is about."""
        index = record.get("output_index")
        if index is not None:
            return self._items.get(an_index(index, MAX_ITEMS, "output_index"))
        item_id = record.get("item_id")
        return self._by_id.get(item_id) if isinstance(item_id, str) else None

    def _add(self, item: Item, record: Record, item_id: Any) -> Item:
        index = record.get("output_index")
        if len(self._items) >= MAX_ITEMS:
            raise MalformedChunk(f"an answer has up to {MAX_ITEMS} items")
        position = len(self._items) if index is None else an_index(index, MAX_ITEMS, "output_index")
        while index is None and position in self._items:
            position = (position + 1) % MAX_ITEMS
        self._items[position] = item
        if isinstance(item_id, str) and len(self._by_id) < MAX_ITEMS:
            self._by_id[item_id] = item
        return item

    def _new_item(self, record: Record, inner: Record) -> Item:
        kind = inner.get("type")
        hidden = self._state.judge.hides(inner)
        item = Item(kind if isinstance(kind, str) else None, hidden=hidden)
        return self._add(item, record, inner.get("id"))

    def _read_added(self, record: Record, event: Parsed, changed: bool) -> tuple[bool, bool]:
        inner = an_object(record.get("item"), "an item")
        item = self._new_item(record, inner)
        if item.hidden:
            return self._empty(item, record, inner)
        if item.is_message:
            changed |= self._state.judge.clean(inner)
            if inner.get("content"):
                # Its parts are announced one by one.
                inner["content"] = []
                changed = True
            item.opening = Held(record, b"" if changed else event.text)
            return False, True
        self._state.note(inner)
        changed |= self._state.judge.clean(inner)
        return True, self._writer.place(item, record) or changed

    def _read_done(
        self, record: Record, event: Parsed, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        inner = an_object(record.get("item"), "an item")
        item = self._find(record)
        if item is None and isinstance(inner.get("id"), str):
            item = self._by_id.get(inner["id"])
        known = item is not None
        if item is None:
            kind = inner.get("type")
            item = Item(
                kind if isinstance(kind, str) else None, hidden=self._state.judge.hides(inner)
            )
            self._add(item, record, inner.get("id"))
        if item.hidden:
            return self._end_hidden(item, record, inner, out)
        if item.kind == "message":
            changed |= self._end_message(item, inner, out)
            if item.index is None and not inner.get("content") and self._hid(item):
                item.hidden = True
                return False, True
            self._writer.show(item, out)
        else:
            if not known:
                self._state.note(inner)
            changed |= self._state.judge.clean(inner)
        return True, self._writer.place(item, record) or changed

    def _empty(self, item: Item, record: Record, inner: Record) -> tuple[bool, bool]:
        """A hidden item is announced."""
        left = self._state.judge.emptied(inner) if item.kind == "reasoning" else None
        if left is None:
            return False, True
        record["item"] = left
        self._writer.place(item, record)
        return True, True

    def _end_hidden(
        self, item: Item, record: Record, inner: Record, out: list[bytes]
    ) -> tuple[bool, bool]:
        if item.kind == "message":
            return False, True
        channel = self._state.judge.channel(inner)
        if not item.counted:
            item.counted = True
            if channel is Channel.REASONING:
                self._state.reason(reasoning_of(inner))
            elif channel is not None:
                self._state.judge.hide(channel, inner)
        left = self._state.judge.emptied(inner) if item.kind == "reasoning" else None
        if left is None and item.index is not None:
            # It was announced, for what it had then.
            left = {key: inner[key] for key in ("id", "type") if key in inner} | {"summary": []}
        if left is None:
            return False, True
        if item.index is None:
            self._writer.place(item, record)
            added = {key: value for key, value in record.items() if key != "sequence_number"}
            added |= {"type": "response.output_item.added", "item": left}
            out.append(self._writer.send(Held(added)))
        record["item"] = left
        self._writer.place(item, record)
        return True, True

    def _read_of_item(
        self, kind: str, record: Record, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        """An event of an item that is kept or hidden as a whole."""
        item = self._find(record)
        channel = _CHANNELS.get(kind)
        if item is None and channel is not None:
            item = self._add(
                Item(None, hidden=self._state.judge.hides_channel(channel)),
                record,
                record.get("item_id"),
            )
        text = _delta_text(record.get("delta"))
        if channel is Channel.REASONING and text:
            self._state.reason(text)
        elif channel is not None and item is not None and item.hidden and text:
            self.stats.hide_field(channel, len(text))
        if item is None:
            self._state.visible |= kind in AUDIO_EVENTS
            return True, changed
        item.counted |= bool(text)
        if item.hidden or (item.is_message and channel is not None):
            return False, True
        if item.is_message:
            self._writer.show(item, out)
            self._state.visible = True
        return True, self._writer.place(item, record) or changed

    # The text of messages.

    def _message_of(self, record: Record) -> Item | None:
        """The message that an event of a text is about, None if it is no message's. One that was
        never announced is made, with its announcement."""
        item = self._find(record)
        if item is None:
            item = Item("message")
            item_id = record.get("item_id")
            made: Record = {
                "id": item_id if isinstance(item_id, str) else self._state.new_id("msg")
            }
            made |= {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
            added: Record = {"type": "response.output_item.added"}
            if record.get("output_index") is not None:
                added["output_index"] = record["output_index"]
            item.opening = Held(added | {"item": made})
            self._add(item, record, item_id)
        return item if item.is_message else None

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
        part.opening = Held(added)
        return part

    def _new_part(self, item: Item, position: int, *, refusal: bool) -> Part:
        part = self._state.new_part(first=not item.parts, refusal=refusal)
        item.add_part(position, part)
        return part

    def _read_delta(
        self, kind: str, record: Record, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        item = self._message_of(record)
        if item is None:
            self.stats.unknown_fields += 1
            return False, True
        part = self._part_of(item, record, refusal=kind == "response.refusal.delta")
        if part is None or part.ended:
            return False, True
        text = record.get("delta") or ""
        said = part.feed(text)
        self._move(part, said, out)
        if not said.visible and (text or part.index is None):
            return False, True
        self._writer.end_made(out)
        self._writer.show_part(item, part, out)
        if said.visible != text:
            record["delta"] = said.visible
            record.pop("obfuscation", None)
            changed = True
        changed |= cut_logprobs(record, said.visible)
        return True, self._writer.put(item, part, record) or changed

    def _read_part(
        self, kind: str, record: Record, event: Parsed, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        """An event that announces, annotates or completes a part."""
        if kind == "response.content_part.added":
            return self._read_part_added(record, event, changed, out)
        inner = record.get("part")
        if kind == "response.content_part.done" and isinstance(inner, dict):
            # Reasoning may be announced so, too.
            holder, key = inner, text_key(inner.get("type"))
        else:
            holder, key = record, _DONE.get(kind)
        item = self._find(record)
        if item is not None and not item.is_message:
            if item.hidden:
                return False, True
            changed |= holder is inner and self._state.judge.prune_part(holder)
            return True, self._writer.place(item, record) or changed
        item = self._message_of(record)
        assert item is not None
        part = self._part_of(item, record, refusal=key == "refusal")
        if part is None:
            return False, True
        if key is None:
            # An annotation, or a part that is no text.
            self._writer.show_part(item, part, out)
            return True, self._writer.put(item, part, record) or changed
        changed |= self._end_part(item, part, holder, key, out)
        changed |= holder is inner and self._state.judge.prune_part(holder)
        if not holder.get(key) and part.index is None and part.hid:
            return False, True
        self._writer.show_part(item, part, out)
        return True, self._writer.put(item, part, record) or changed

    def _read_part_added(
        self, record: Record, event: Parsed, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        inner = an_object(record.get("part"), "a part")
        item = self._find(record)
        if item is not None and not item.is_message:
            if item.hidden:
                return False, True
            changed |= self._state.judge.prune_part(inner)
            return True, self._writer.place(item, record) or changed
        item = self._message_of(record)
        assert item is not None
        position = an_index(record.get("content_index") or 0, MAX_PARTS, "content_index")
        stays, part_changed = self._state.judge.clean_part(dict(inner), lambda _: "")
        key = text_key(inner.get("type"))
        if position in item.parts or (key is None and not stays):
            item.parts.setdefault(position, None)
            return False, True
        changed |= self._state.judge.prune_part(inner)
        if key is not None and inner.get(key):
            # It comes again in pieces, or when the part is complete.
            inner[key] = ""
            changed = True
        part = self._new_part(item, position, refusal=key == "refusal")
        part.opening = Held(record, b"" if changed or part_changed else event.text)
        if key is None:
            self._state.visible = True
            self._writer.show_part(item, part, out)
        return False, True

    def _end_part(self, item: Item, part: Part, holder: Record, key: str, out: list[bytes]) -> bool:
        """The part is complete, and ``holder`` repeats its text. Returns whether that changed."""
        text = holder.get(key) or ""
        if not part.fed and text:
            # It never came in pieces.
            said = part.feed(text)
            self._move(part, said, out)
            rest = part.finish()
            self._move(part, rest, out)
            self._writer.end_made(out)
        else:
            self._finish_part(item, part, out)
        visible = part.visible(text)
        changed = visible != text
        if changed:
            holder[key] = visible
        return cut_logprobs(holder, visible) or changed

    def _end_message(self, item: Item, inner: Record, out: list[bytes]) -> bool:
        """The message is complete, and ``inner`` repeats it, to be judged in place."""
        content = inner.get("content")
        for position, whole in enumerate(content if isinstance(content, list) else ()):
            key = text_key(whole.get("type")) if isinstance(whole, dict) else None
            if key is None or position >= MAX_PARTS:
                continue
            part = item.parts.get(position)
            if position not in item.parts:
                part = self._new_part(item, position, refusal=key == "refusal")
            if part is not None and isinstance(whole.get(key), str):
                self._end_part(item, part, dict(whole), key, out)
        for part in item.parts.values():
            if part is not None:
                self._finish_part(item, part, out)
        return self._state.judge.clean_message(inner, self._text_of(item))

    def _text_of(self, item: Item) -> TextOf:
        def visible(position: int, text: str) -> str:
            part = item.parts.get(position)
            if part is None:
                ruling = self._state.ruling_now(first=position == 0)
                part = Part(ruling, self._state.shared, refusal=False)
            return part.visible(text)

        return visible

    def _hid(self, item: Item) -> bool:
        return any(part is None or part.hid for part in item.parts.values())

    def _finish_part(self, item: Item, part: Part, out: list[bytes], cut_off: bool = False) -> None:
        said = part.finish(cut_off=cut_off)
        self._move(part, said, out)
        self._writer.end_made(out)
        if said.visible:
            self._writer.show_part(item, part, out)
            kind = "refusal" if part.refusal else "output_text"
            delta: Record = {"type": f"response.{kind}.delta", "content_index": part.index}
            item_id = next((key for key, value in self._by_id.items() if value is item), None)
            delta |= {"item_id": item_id, "output_index": item.index, "delta": said.visible}
            if not part.refusal:
                delta["logprobs"] = []
            out.append(self._writer.send(Held(delta)))

    def _finish_parts(self, out: list[bytes], *, cut_off: bool) -> None:
        for item in self._items.values():
            for part in item.parts.values():
                if part is not None:
                    self._finish_part(item, part, out, cut_off)
        self._writer.end_made(out)

    # What is moved out of the text.

    def _move(self, part: Part, said: Said, out: list[bytes]) -> None:
        """What a part gave that is not its visible text becomes items of their own."""
        writer = self._writer
        if said.moved:
            if not writer.opened("reasoning"):
                made = MadeItem.reasoning(self._state.new_id("rs"), writer.next_index())
                writer.begin_made(made, out)
            writer.say(said.moved, out)
        for delta in part.texts.take_calls(whole=False):
            function = delta["function"]
            if "id" in delta:
                new_id, call_id = self._state.new_id("fc"), delta["id"]
                made = MadeItem.call(new_id, writer.next_index(), call_id, function["name"])
                writer.begin_made(made, out)
                self._state.moved_calls += 1
            if function["arguments"]:
                writer.say(function["arguments"], out)
        if part.texts.unreadable:
            raise Ended(UNREADABLE_CALL)

    # The response as a whole.

    def _read_response(
        self, kind: str, record: Record, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        response = an_object(record.get("response"), "a response")
        changed |= self._state.clean_response(response)
        if not self._envelope:
            self._envelope = {key: response[key] for key in response if key != "output"}
        if kind in _LAST:
            self._finish_parts(out, cut_off=kind != "response.completed")
            if kind != "response.failed":
                self._say_instead(out)
        return True, self._judge_output(response) or changed

    def _judge_output(self, response: Record) -> bool:
        """Judge the items of a streamed response, in place, in the order that the client knows."""
        if "output" not in response:
            return False
        items = response["output"]
        listed: list[tuple[int, Record]] = [(made.index, made.item) for made in self._writer.made]
        changed = bool(listed) or items is None
        for position, item in enumerate(items or ()):
            known = self._known(position, an_object(item, "an item"))
            before = dump(item, exact=False)
            left = self._whole(item, known)
            changed |= left is None or dump(left, exact=False) != before
            if left is not None:
                index = None if known is None else known.index
                listed.append((MAX_ITEMS * 2 if index is None else index, left))
        order = [index for index, _ in listed]
        if order != sorted(order):
            listed.sort(key=lambda pair: pair[0])
            changed = True
        response["output"] = [item for _, item in listed]
        return changed

    def _known(self, position: int, item: Record) -> Item | None:
        """The streamed item that one of the whole response is."""
        found = self._by_id.get(item["id"]) if isinstance(item.get("id"), str) else None
        if found is None:
            found = self._items.get(position)
        return found if found is not None and found.kind in (None, item.get("type")) else None

    def _whole(self, item: Record, known: Item | None) -> Record | None:
        """What is left of an item of the whole response; None if nothing."""
        if known is None:
            hidden = self._state.judge.hides(item)
            known = Item(str(item.get("type")), hidden=hidden)
        if known.hidden:
            left = self._state.judge.emptied(item) if item.get("type") == "reasoning" else None
            if left is None and known.index is not None:
                left = {key: item[key] for key in ("id", "type") if key in item} | {"summary": []}
            return left
        if item.get("type") != "message":
            self._state.judge.clean(item)
            return item
        said = bool(item.get("content"))
        self._state.judge.clean_message(item, self._text_of(known))
        return item if item.get("content") or not said or known.index is not None else None

    def _say_instead(self, out: list[bytes]) -> None:
        """What is sent because nothing else was."""
        text = self._state.instead()
        if text:
            writer = self._writer
            made = MadeItem.message(self._state.new_id("msg"), writer.next_index())
            writer.begin_made(made, out)
            writer.say(text, out)
            writer.end_made(out)

    def _fail(self, fault: Fault) -> bytes:
        """The end of an answer that cannot go on."""
        self._over = True
        self.stats.error = fault.code
        response = {"id": "", "object": "response", "created_at": 0, "model": ""} | self._envelope
        response |= {
            "status": "failed",
            "error": {"code": fault.code, "message": fault.message},
            "incomplete_details": None,
            "output": [],
        }
        return self._writer.send(Held({"type": "response.failed", "response": response}))

    # A document.

    def read_document(self, document: Parsed) -> bytes | None:
        """Judge a whole response: the document for the client, None if it is the same. Raises
        MalformedChunk."""
        return ResponseDocument(self._state).read(document)

    def read_items(self, items: Any) -> tuple[list[Any], bool]:
        """Judge a stored list of items, of input or output: what is left, and whether that is
        another. Raises MalformedChunk."""
        return ResponseDocument(self._state).read_items(items)


def _delta_text(delta: Any) -> str:
    if isinstance(delta, dict):
        return "".join(value for value in delta.values() if isinstance(value, str))
    return delta if isinstance(delta, str) else ""
