"""OpenAI's Responses: the events of a stream, and the ``response`` that is one document.

The same text comes again and again: in deltas, in the ``done`` events of a part, its item and its
message, and in the whole response at the end. Every repetition is judged anew, by a lane that reads
the whole text at once and so finds what the one that read the pieces found. An item is announced to
the client when it is certain that something of it stays; that gives it its ``output_index``.

Sources: OpenAI API reference, "Responses" and "Streaming events".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.framing import NAMED_EVENTS
from sidecar.core.jsontext import Parsed, as_int, dump
from sidecar.core.lane import Lane
from sidecar.core.policy import OnEmpty, StartsIn, UnknownFields
from sidecar.core.sse import event as written
from sidecar.core.stats import Verdict
from sidecar.core.stream import EVENT_TOO_LARGE, UPSTREAM_CLOSED, Fault, MalformedChunk, Reading
from sidecar.wire.calls import CallFilter
from sidecar.wire.errors import NOTHING_VISIBLE, UNREADABLE_CALL, visible_error
from sidecar.wire.fields import Record, Table, prune
from sidecar.wire.items import MAX_ITEMS, ItemJudge, cut_logprobs, text_key
from sidecar.wire.made import MAX_MADE, MadeItem
from sidecar.wire.messageitem import MAX_PARTS, Held, Item, Part
from sidecar.wire.responses_fields import (
    AUDIO_EVENTS,
    CALL_EVENTS,
    EVENTS,
    OPAQUE_EVENTS,
    PARTS,
    REASONING_EVENTS,
    RESPONSE,
    RESPONSE_EVENTS,
    RESULT_EVENTS,
    TEXT_EVENTS,
)
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.texts import Said, Texts

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


class _Ended(Exception):
    """The answer cannot go on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


class Responses:
    """One answer under one rule."""

    framing = NAMED_EVENTS

    def __init__(self, ruling: Ruling) -> None:
        self._shared = Shared(ruling)
        self.stats = self._shared.stats
        self._ruling = ruling
        self._keeps_unknown = ruling.policy.unknown_fields is UnknownFields.PASS
        self._judge = ItemJudge(ruling, self.stats)
        calls = CallFilter(ruling.policy.tool_calls, ruling.declared, self.stats)
        self._reasoning = Texts(ruling, self._shared, calls)
        """Reads no text: it is told of reasoning in items."""
        self._texts: list[Texts] = [self._reasoning]
        """All of them, the first being for items."""
        self._parsed = False
        """Upstream takes the reasoning out of the text itself."""
        self._visible = False
        """A part or an item was shown that is an answer without being text."""
        self._items: dict[int, Item] = {}
        self._by_id: dict[str, Item] = {}
        self._count = 0
        """How many items the client has been told of."""
        self._made: list[MadeItem] = []
        self._open: MadeItem | None = None
        """The one of them that is not complete."""
        self._moved_calls = 0
        self._room = MAX_MADE
        self._ids = 0
        self._envelope: Record = {}
        """The response as it was announced; one of our own repeats it."""
        self._numbers: int | None = None
        """The next sequence number for the client; None while upstream gives none."""
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
        record = _record(event)
        kind = record.get("type")
        if not isinstance(kind, str):
            raise MalformedChunk("an event has a type")
        if self._numbers is None:
            self._numbers = as_int(record.get("sequence_number"))
        out: list[bytes] = []
        try:
            stays, changed = self._read(kind, record, event, out)
        except _Ended as ended:
            out.append(self._fail(ended.fault))
            return Reading(_REWRITE, tuple(out), last=True)
        self._over = self._over or kind in _LAST
        if stays:
            return self._leaving(kind, record, event, changed, out)
        return Reading(_REWRITE, tuple(out), last=self._over) if out else _DROP

    def end(self, fault: Fault | None) -> list[bytes]:
        """What is still to be said when upstream is done."""
        if self._over or (self._failed and fault is None):
            return []
        out: list[bytes] = []
        try:
            self._finish_parts(out, cut_off=True)
        except _Ended as ended:
            fault = ended.fault
        return [*out, self._fail(fault or UPSTREAM_CLOSED)]

    def _leaving(
        self, kind: str, record: Record, event: Parsed, changed: bool, before: list[bytes]
    ) -> Reading:
        name = kind.encode()
        number = record.get("sequence_number")
        if number is not None and self._numbers is not None:
            if as_int(number) != self._numbers:
                record["sequence_number"] = self._numbers
                changed = True
            self._numbers += 1
        if not changed and not before:
            return Reading(Verdict.PASS, name=name, last=self._over)
        data = dump(record, exact=event.exact) if changed else event.text
        return Reading(_REWRITE, (*before, written(data, name)), last=self._over)

    def _send(self, held: Held) -> bytes:
        """An event of our own, or one that was held."""
        record = held.record
        name = record["type"].encode()
        if self._numbers is not None and (not held.text or "sequence_number" in record):
            if as_int(record.get("sequence_number")) != self._numbers:
                record["sequence_number"] = self._numbers
                held.text = b""
            self._numbers += 1
        return written(held.text or dump(record, exact=False), name)

    def _read(
        self, kind: str, record: Record, event: Parsed, out: list[bytes]
    ) -> tuple[bool, bool]:
        """Judge an event, in place: whether it stays, and whether it was changed. ``out`` is sent
        before it."""
        table = EVENTS.get(kind)
        if table is None:
            return self._read_unknown(record)
        changed = self._prune(record, table)
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
        if not self._keeps_unknown or (item is not None and item.hidden):
            self.stats.unknown_fields += 1
            return False, True
        return True, item is not None and self._place(item, record)

    def _read_error(self, record: Record, changed: bool, out: list[bytes]) -> tuple[bool, bool]:
        self._finish_parts(out, cut_off=True)
        self._failed = True
        self.stats.error = "upstream_error"
        flat = "error" not in record
        error = (
            {key: record.get(key) for key in ("code", "message", "param")}
            if flat
            else record["error"]
        )
        told, unknown = visible_error(error, self._ruling)
        self.stats.unknown_fields += unknown
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
            return self._items.get(_index(index, MAX_ITEMS, "output_index"))
        item_id = record.get("item_id")
        return self._by_id.get(item_id) if isinstance(item_id, str) else None

    def _add(self, item: Item, record: Record, item_id: Any) -> Item:
        index = record.get("output_index")
        if len(self._items) >= MAX_ITEMS:
            raise MalformedChunk(f"an answer has up to {MAX_ITEMS} items")
        position = len(self._items) if index is None else _index(index, MAX_ITEMS, "output_index")
        while index is None and position in self._items:
            position = (position + 1) % MAX_ITEMS
        self._items[position] = item
        if isinstance(item_id, str) and len(self._by_id) < MAX_ITEMS:
            self._by_id[item_id] = item
        return item

    def _place(self, item: Item, record: Record) -> bool:
        """Give an event of ``item`` the client's index. Returns whether it was another."""
        if item.index is None:
            item.index = self._count
            self._count += 1
        if record.get("output_index") is None or as_int(record["output_index"]) == item.index:
            return False
        record["output_index"] = item.index
        return True

    def _show(self, item: Item, out: list[bytes]) -> None:
        """Announce the item, unless that was done."""
        held, item.opening = item.opening, None
        if held is not None:
            if self._place(item, held.record):
                held.text = b""
            out.append(self._send(held))
        elif item.index is None:
            self._place(item, {})

    def _read_added(self, record: Record, event: Parsed, changed: bool) -> tuple[bool, bool]:
        inner = record.get("item")
        if not isinstance(inner, dict):
            raise MalformedChunk("an item is an object")
        kind = inner.get("type")
        item = Item(kind if isinstance(kind, str) else None, hidden=self._judge.hides(inner))
        self._add(item, record, inner.get("id"))
        if item.hidden:
            return self._empty(item, record, inner)
        if item.is_message:
            changed |= self._judge.clean(inner)
            if inner.get("content"):
                # Its parts are announced one by one.
                inner["content"] = []
                changed = True
            item.opening = Held(record, b"" if changed else event.text)
            return False, True
        self._note(inner)
        changed |= self._judge.clean(inner)
        return True, self._place(item, record) or changed

    def _read_done(
        self, record: Record, event: Parsed, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        inner = record.get("item")
        if not isinstance(inner, dict):
            raise MalformedChunk("an item is an object")
        item = self._find(record)
        if item is None and isinstance(inner.get("id"), str):
            item = self._by_id.get(inner["id"])
        known = item is not None
        if item is None:
            kind = inner.get("type")
            item = Item(kind if isinstance(kind, str) else None, hidden=self._judge.hides(inner))
            self._add(item, record, inner.get("id"))
        if item.hidden:
            return self._end_hidden(item, record, inner, out)
        if item.kind == "message":
            changed |= self._end_message(item, inner, out)
            if item.index is None and not inner.get("content") and self._hid(item):
                item.hidden = True
                return False, True
            self._show(item, out)
        else:
            if not known:
                self._note(inner)
            changed |= self._judge.clean(inner)
        return True, self._place(item, record) or changed

    def _note(self, item: Record) -> None:
        """An item that is no message stays."""
        if self._judge.channel(item) is Channel.REASONING:
            self._reason(_reasoning_of(item))
        else:
            self._visible = True

    def _reason(self, text: str) -> bool:
        """An item says ``text``, which is reasoning: whether it is hidden."""
        if text:
            self._parsed = True
        return self._reasoning.hides_reasoning(text)

    def _empty(self, item: Item, record: Record, inner: Record) -> tuple[bool, bool]:
        """A hidden item is announced."""
        left = self._judge.emptied(inner) if item.kind == "reasoning" else None
        if left is None:
            return False, True
        record["item"] = left
        self._place(item, record)
        return True, True

    def _end_hidden(
        self, item: Item, record: Record, inner: Record, out: list[bytes]
    ) -> tuple[bool, bool]:
        if item.kind == "message":
            return False, True
        channel = self._judge.channel(inner)
        if not item.counted:
            item.counted = True
            if channel is Channel.REASONING:
                self._reason(_reasoning_of(inner))
            elif channel is not None:
                self._judge.hide(channel, inner)
        left = self._judge.emptied(inner) if item.kind == "reasoning" else None
        if left is None and item.index is not None:
            # It was announced, for what it had then.
            left = {key: inner[key] for key in ("id", "type") if key in inner} | {"summary": []}
        if left is None:
            return False, True
        if item.index is None:
            self._place(item, record)
            added = {key: value for key, value in record.items() if key != "sequence_number"}
            added |= {"type": "response.output_item.added", "item": left}
            out.append(self._send(Held(added)))
        record["item"] = left
        self._place(item, record)
        return True, True

    def _read_of_item(
        self, kind: str, record: Record, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        """An event of an item that is kept or hidden as a whole."""
        item = self._find(record)
        channel = _CHANNELS.get(kind)
        if item is None and channel is not None:
            item = self._add(
                Item(None, hidden=self._judge.hides_channel(channel)),
                record,
                record.get("item_id"),
            )
        text = _delta_text(record.get("delta"))
        if channel is Channel.REASONING and text:
            self._reason(text)
        elif channel is not None and item is not None and item.hidden and text:
            self.stats.hide_field(channel, len(text))
        if item is None:
            self._visible |= kind in AUDIO_EVENTS
            return True, changed
        item.counted |= bool(text)
        if item.hidden or (item.is_message and channel is not None):
            return False, True
        if item.is_message:
            self._show(item, out)
            self._visible = True
        return True, self._place(item, record) or changed

    # The text of messages.

    def _message_of(self, record: Record) -> Item | None:
        """The message that an event of a text is about, None if it is no message's. One that was
        never announced is made, with its announcement."""
        item = self._find(record)
        if item is None:
            item = Item("message")
            item_id = record.get("item_id")
            made: Record = {"id": item_id if isinstance(item_id, str) else self._new_id("msg")}
            made |= {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
            added: Record = {"type": "response.output_item.added"}
            if record.get("output_index") is not None:
                added["output_index"] = record["output_index"]
            item.opening = Held(added | {"item": made})
            self._add(item, record, item_id)
        return item if item.is_message else None

    def _part_of(self, item: Item, record: Record, *, refusal: bool) -> Part | None:
        """The part that an event is about, made if it was never announced; None if it is hidden."""
        position = _index(record.get("content_index") or 0, MAX_PARTS, "content_index")
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
        part = Part(self._ruling_now(first=not item.parts), self._shared, refusal=refusal)
        item.add_part(position, part)
        self._texts.append(part.texts)
        return part

    def _ruling_now(self, *, first: bool) -> Ruling:
        """What holds for a text that begins now: a message's ``first`` begins where the rule says,
        unless reasoning came in items."""
        ruling = self._ruling
        if self._parsed and ruling.policy.starts_in is StartsIn.AUTO:
            first = False
        return ruling if first else ruling._replace(start=None, closers=frozenset())

    def _show_part(self, item: Item, part: Part, out: list[bytes]) -> None:
        """Announce the part and its item, unless that was done."""
        self._show(item, out)
        held, part.opening = part.opening, None
        if part.index is None:
            part.index = item.next_part_index()
        if held is not None:
            if self._put(item, part, held.record):
                held.text = b""
            out.append(self._send(held))

    def _put(self, item: Item, part: Part, record: Record) -> bool:
        """Give an event of ``part`` the client's indexes. Returns whether they were others."""
        changed = self._place(item, record)
        if "content_index" in record and as_int(record["content_index"]) != part.index:
            record["content_index"] = part.index
            changed = True
        return changed

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
        self._move(item, part, said, out)
        if not said.visible and (text or part.index is None):
            return False, True
        self._end_made(out)
        self._show_part(item, part, out)
        if said.visible != text:
            record["delta"] = said.visible
            record.pop("obfuscation", None)
            changed = True
        changed |= cut_logprobs(record, said.visible)
        return True, self._put(item, part, record) or changed

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
            changed |= holder is inner and self._prune_part(holder)
            return True, self._place(item, record) or changed
        item = self._message_of(record)
        assert item is not None
        part = self._part_of(item, record, refusal=key == "refusal")
        if part is None:
            return False, True
        if key is None:
            # An annotation, or a part that is no text.
            self._show_part(item, part, out)
            return True, self._put(item, part, record) or changed
        changed |= self._end_part(item, part, holder, key, out)
        changed |= holder is inner and self._prune_part(holder)
        if not holder.get(key) and part.index is None and part.hid:
            return False, True
        self._show_part(item, part, out)
        return True, self._put(item, part, record) or changed

    def _read_part_added(
        self, record: Record, event: Parsed, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        inner = record.get("part")
        if not isinstance(inner, dict):
            raise MalformedChunk("a part is an object")
        item = self._find(record)
        if item is not None and not item.is_message:
            if item.hidden:
                return False, True
            changed |= self._prune_part(inner)
            return True, self._place(item, record) or changed
        item = self._message_of(record)
        assert item is not None
        position = _index(record.get("content_index") or 0, MAX_PARTS, "content_index")
        stays, part_changed = self._judge.clean_part(dict(inner), lambda _: "")
        key = text_key(inner.get("type"))
        if position in item.parts or (key is None and not stays):
            item.parts.setdefault(position, None)
            return False, True
        changed |= self._prune_part(inner)
        if key is not None and inner.get(key):
            # It comes again in pieces, or when the part is complete.
            inner[key] = ""
            changed = True
        part = self._new_part(item, position, refusal=key == "refusal")
        part.opening = Held(record, b"" if changed or part_changed else event.text)
        if key is None:
            self._visible = True
            self._show_part(item, part, out)
        return False, True

    def _end_part(self, item: Item, part: Part, holder: Record, key: str, out: list[bytes]) -> bool:
        """The part is complete, and ``holder`` repeats its text. Returns whether that changed."""
        text = holder.get(key) or ""
        if not part.fed and text:
            # It never came in pieces.
            said = part.feed(text)
            self._move(item, part, said, out)
            rest = part.finish()
            self._move(item, part, rest, out)
            self._end_made(out)
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
        return self._judge.clean_message(inner, self._text_of(item))

    def _text_of(self, item: Item) -> Any:
        def visible(position: int, text: str) -> str:
            part = item.parts.get(position)
            if part is None:
                part = Part(self._ruling_now(first=position == 0), self._shared, refusal=False)
            return part.visible(text)

        return visible

    def _hid(self, item: Item) -> bool:
        return any(part is None or part.hid for part in item.parts.values())

    def _finish_part(self, item: Item, part: Part, out: list[bytes], cut_off: bool = False) -> None:
        said = part.finish(cut_off=cut_off)
        self._move(item, part, said, out)
        self._end_made(out)
        if said.visible:
            self._show_part(item, part, out)
            kind = "refusal" if part.refusal else "output_text"
            delta: Record = {"type": f"response.{kind}.delta", "content_index": part.index}
            item_id = next((key for key, value in self._by_id.items() if value is item), None)
            delta |= {"item_id": item_id, "output_index": item.index, "delta": said.visible}
            if not part.refusal:
                delta["logprobs"] = []
            out.append(self._send(Held(delta)))

    def _finish_parts(self, out: list[bytes], *, cut_off: bool) -> None:
        for item in self._items.values():
            for part in item.parts.values():
                if part is not None:
                    self._finish_part(item, part, out, cut_off)
        self._end_made(out)

    # What is moved out of the text.

    def _move(self, item: Item, part: Part, said: Said, out: list[bytes]) -> None:
        if said.moved:
            made = self._open
            if made is None or made.item["type"] != "reasoning":
                made = self._begin_made(
                    MadeItem.reasoning(self._new_id("rs"), self._next_index()), out
                )
            self._say(made, said.moved, out)
        for delta in part.texts.take_calls(whole=False):
            function = delta["function"]
            if "id" in delta:
                call_id, name = delta["id"], function["name"]
                made = MadeItem.call(self._new_id("fc"), self._next_index(), call_id, name)
                self._begin_made(made, out)
                self._moved_calls += 1
            if function["arguments"] and self._open is not None:
                self._say(self._open, function["arguments"], out)
        if part.texts.unreadable:
            raise _Ended(UNREADABLE_CALL)

    def _begin_made(self, made: MadeItem, out: list[bytes]) -> MadeItem:
        self._end_made(out)
        if self._count > MAX_ITEMS:
            raise _Ended(EVENT_TOO_LARGE)
        self._open = made
        out.extend(map(self._send, map(Held, made.begin())))
        return made

    def _say(self, made: MadeItem, text: str, out: list[bytes]) -> None:
        self._room -= len(text)
        if self._room < 0:
            raise _Ended(EVENT_TOO_LARGE)
        out.append(self._send(Held(made.say(text))))

    def _end_made(self, out: list[bytes]) -> None:
        made, self._open = self._open, None
        if made is not None:
            out.extend(map(self._send, map(Held, made.end())))
            self._made.append(made)

    def _next_index(self) -> int:
        self._count += 1
        return self._count - 1

    def _new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}_{self._ruling.seed}{self._ids:04d}"

    # The response as a whole.

    def _read_response(
        self, kind: str, record: Record, changed: bool, out: list[bytes]
    ) -> tuple[bool, bool]:
        response = record.get("response")
        if not isinstance(response, dict):
            raise MalformedChunk("a response is an object")
        changed |= self._clean_response(response)
        if not self._envelope:
            self._envelope = {key: response[key] for key in response if key != "output"}
        if kind in _LAST:
            self._finish_parts(out, cut_off=kind != "response.completed")
            if kind != "response.failed":
                self._say_instead(out)
        return True, self._judge_output(response) or changed

    def _clean_response(self, response: Record) -> bool:
        changed = self._prune(response, RESPONSE)
        error = response.get("error")
        if error:
            self.stats.error = "upstream_error"
            told, unknown = visible_error(error, self._ruling)
            self.stats.unknown_fields += unknown
            if isinstance(error, dict):
                told = {key: told[key] for key in told if key in error}
            response["error"] = told
            changed |= told != error
        return changed

    def _judge_output(self, response: Record) -> bool:
        """Judge the items of a streamed response, in place, in the order that the client knows."""
        if "output" not in response:
            return False
        items = response["output"]
        listed: list[tuple[int, Record]] = [(made.index, made.item) for made in self._made]
        changed = bool(listed) or items is None
        for position, item in enumerate(items or ()):
            if not isinstance(item, dict):
                raise MalformedChunk("an item is an object")
            known = self._known(position, item)
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
            hidden = self._judge.hides(item)
            known = Item(str(item.get("type")), hidden=hidden)
        if known.hidden:
            left = self._judge.emptied(item) if item.get("type") == "reasoning" else None
            if left is None and known.index is not None:
                left = {key: item[key] for key in ("id", "type") if key in item} | {"summary": []}
            return left
        if item.get("type") != "message":
            self._judge.clean(item)
            return item
        said = bool(item.get("content"))
        self._judge.clean_message(item, self._text_of(known))
        return item if item.get("content") or not said or known.index is not None else None

    def _say_instead(self, out: list[bytes]) -> None:
        """What is sent because nothing else was."""
        text = self._instead()
        if text:
            made = MadeItem.message(self._new_id("msg"), self._next_index())
            self._begin_made(made, out)
            self._say(made, text, out)
            self._end_made(out)

    def _instead(self) -> str:
        """Raises _Ended if the rule wants an error."""
        calls = self._judge.kept_calls + self._moved_calls
        if self._visible or calls or any(texts.visible for texts in self._texts):
            return ""
        wish = self._ruling.policy.on_empty
        self.stats.empty_answers[wish] += 1
        if wish is OnEmpty.ERROR:
            raise _Ended(NOTHING_VISIBLE)
        if wish is OnEmpty.TEXT:
            return self._ruling.policy.empty_text
        return "".join(texts.take_promoted() for texts in self._texts)

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
        return self._send(Held({"type": "response.failed", "response": response}))

    # A document.

    def read_document(self, document: Parsed) -> bytes | None:
        """Judge a whole response: the document for the client, None if it is the same. Raises
        MalformedChunk."""
        record = _record(document)
        if "output" not in record:
            if not record.get("error"):
                raise MalformedChunk("a response has output")
            self.stats.error = "upstream_error"
            told, unknown = visible_error(record["error"], self._ruling)
            self.stats.unknown_fields += unknown
            return dump({"error": told}, exact=True)
        changed = self._clean_response(record)
        try:
            left, items_changed = self._read_items(record["output"], stored=False)
            text = self._instead() if record.get("status") in (None, *_COMPLETE) else ""
        except _Ended as ended:
            self.stats.error = ended.fault.code
            error = {"code": ended.fault.code, "message": ended.fault.message}
            return dump(record | {"status": "failed", "error": error, "output": []}, exact=True)
        if text:
            made = MadeItem.message(self._new_id("msg"), 0)
            made.say(text)
            made.end()
            left.append(made.item)
        changed |= items_changed or bool(text)
        record["output"] = left
        return dump(record, exact=document.exact) if changed else None

    def read_items(self, items: Any) -> tuple[list[Any], bool]:
        """Judge a stored list of items, of input or output: what is left, and whether that is
        another. Raises MalformedChunk."""
        try:
            return self._read_items(items, stored=True)
        except _Ended:
            raise MalformedChunk("a call is not as its family writes it") from None

    def _read_items(self, items: Any, *, stored: bool) -> tuple[list[Any], bool]:
        if items is not None and not isinstance(items, list):
            raise MalformedChunk("the items are a list")
        left: list[Any] = []
        changed = items is None
        for item in items or ():
            if not isinstance(item, dict):
                raise MalformedChunk("an item is an object")
            before = dump(item, exact=False)
            kept = list(self._read_item(item, stored=stored))
            changed |= len(kept) != 1 or dump(kept[0], exact=False) != before
            left += kept
        return left, changed

    def _read_item(self, item: Record, *, stored: bool) -> Iterator[Record]:
        """What is left of an item, and what was moved out of it, before and after."""
        hidden = self._judge.hides(item, stored=stored)
        channel = self._judge.channel(item)
        if channel is Channel.REASONING:
            self._reason(_reasoning_of(item))
        elif hidden and channel is not None and channel is not Channel.MARKUP:
            self._judge.hide(channel, item)
        if hidden:
            left = self._judge.emptied(item) if channel is Channel.REASONING else None
            if left is not None:
                yield left
        elif item.get("type") != "message":
            self._visible |= channel is not Channel.REASONING
            self._judge.clean(item)
            yield item
        elif stored and item.get("role") in ("user", "system", "developer"):
            # The request's own words.
            yield item
        else:
            yield from self._read_message(item)

    def _read_message(self, item: Record) -> Iterator[Record]:
        said = bool(item.get("content"))
        moved: list[MadeItem] = []
        calls: list[MadeItem] = []
        first = True

        def visible(_: int, text: str) -> str:
            nonlocal first
            part = Part(self._ruling_now(first=first), self._shared, refusal=False)
            first = False
            self._texts.append(part.texts)
            feeding = part.feed(text)
            rest = part.finish()
            if part.texts.unreadable:
                raise _Ended(UNREADABLE_CALL)
            if feeding.moved or rest.moved:
                made = MadeItem.reasoning(self._new_id("rs"), 0)
                made.say(feeding.moved + rest.moved)
                moved.append(made)
            for call in part.texts.take_calls(whole=True):
                function = call["function"]
                made = MadeItem.call(self._new_id("fc"), 0, call["id"], function["name"])
                made.say(function["arguments"])
                calls.append(made)
            return feeding.visible + rest.visible

        self._judge.clean_message(item, visible)
        self._moved_calls += len(calls)
        self._visible |= any(
            isinstance(part, dict) and text_key(part.get("type")) is None
            for part in item.get("content") or ()
        )
        for made in (*moved, *calls):
            made.end()
        yield from (made.item for made in moved)
        if item.get("content") or not said:
            yield item
        yield from (made.item for made in calls)

    # Helpers.

    def _prune(self, record: Record, table: Table) -> bool:
        dropped = prune(record, table, keep_unknown=self._keeps_unknown)
        self.stats.unknown_fields += dropped
        return bool(dropped)

    def _prune_part(self, part: Record) -> bool:
        kind = part.get("type")
        return isinstance(kind, str) and kind in PARTS and self._prune(part, PARTS[kind])


_COMPLETE = ("completed", "incomplete")


def _record(parsed: Parsed) -> Record:
    if not isinstance(parsed.value, dict):
        raise MalformedChunk("an event is a JSON object")
    return parsed.value


def _index(value: Any, bound: int, key: str) -> int:
    index = as_int(value)
    if index is None or not 0 <= index < bound:
        raise MalformedChunk(f"{key} is an integer from 0 to {bound - 1}")
    return index


def _delta_text(delta: Any) -> str:
    if isinstance(delta, dict):
        return "".join(value for value in delta.values() if isinstance(value, str))
    return delta if isinstance(delta, str) else ""


def _reasoning_of(item: Record) -> str:
    """The text of a reasoning item: its content, or what was made of it."""
    for key in ("content", "summary"):
        parts = item.get(key)
        texts = [part.get("text") for part in parts if isinstance(part, dict)] if parts else []
        said = "".join(text for text in texts if isinstance(text, str))
        if said:
            return said
    return ""
