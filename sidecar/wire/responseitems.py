"""The items of a streamed Responses answer: which are announced, and what is left of them when they
are complete and wherever they are repeated.

An item may turn out to be another than it was announced as, so each repetition is judged anew: it
is hidden if the announcement was, or if it is itself.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.jsontext import Parsed, dump
from sidecar.wire.checked import an_object
from sidecar.wire.fields import Record
from sidecar.wire.items import MAX_ITEMS, is_reasoning_part
from sidecar.wire.messageitem import Held, Item, Items
from sidecar.wire.responses_fields import (
    AUDIO_EVENTS,
    CALL_EVENTS,
    OPAQUE_EVENTS,
    REASONING_EVENTS,
    RESULT_EVENTS,
)
from sidecar.wire.responsestate import DROPPED, Judged, ResponseState, reasoning_of
from sidecar.wire.responsetexts import ResponseTexts
from sidecar.wire.responsewriter import Writer

_REASONING, _TOOL_CALL = Channel.REASONING, Channel.TOOL_CALL

_UNKNOWN = 2 * MAX_ITEMS
"""Stands for the index of an item that the client was not told of: more than any has."""

_CHANNELS: dict[str, Channel] = (
    dict.fromkeys(REASONING_EVENTS, _REASONING)
    | dict.fromkeys(RESULT_EVENTS, Channel.TOOL_RESULT)
    | dict.fromkeys(CALL_EVENTS, Channel.TOOL_CALL)
    # A picture is what was asked for: it goes with its call.
    | {"response.image_generation_call.partial_image": Channel.TOOL_CALL}
)
"""By its type, what an event says."""

OF_ITEM = _CHANNELS.keys() | AUDIO_EVENTS | OPAQUE_EVENTS
"""The events of an item that is kept or hidden as a whole."""


class ResponseItems:
    """The items of one answer."""

    def __init__(
        self, state: ResponseState, items: Items, writer: Writer, texts: ResponseTexts
    ) -> None:
        self._state = state
        self._judge = state.judge
        self._items = items
        self._writer = writer
        self._texts = texts

    # Events.

    def read_added(self, record: Record, event: Parsed, changed: bool) -> Judged:
        """An item is announced."""
        inner = an_object(record.get("item"), "an item")
        index = record.get("output_index")
        known = self._items.called(inner.get("id"))
        # Some servers give all items the same id, and then each has its index.
        again = index is None or known is self._items.at(index)
        if again and known is not None and known.kind == inner.get("type"):
            # It was announced before, or a text of it came first.
            return DROPPED
        item = self._new_item(inner, index)
        if item.channel is _TOOL_CALL:
            self._state.tell_call(item, inner)
        if item.hidden:
            left = self._emptied(item, inner)
            if left is None:
                return DROPPED
            record["item"] = left
            self._writer.place(item, record)
            return True, True
        changed |= self._judge.clean(inner)
        if not item.is_message:
            self._state.note(inner)
            return True, self._writer.place(item, record) or changed
        if inner.get("content"):
            # Its parts are announced one by one.
            inner["content"] = []
            changed = True
        item.opening = self._state.hold(record, event.text, changed=changed)
        return DROPPED

    def read_done(self, record: Record, changed: bool) -> Judged:
        """An item is complete."""
        inner = an_object(record.get("item"), "an item")
        index = record.get("output_index")
        item = self._items.called(inner.get("id")) or self._items.at(index)
        if item is None:
            item = self._new_item(inner, index)
        self._tell(item, inner)
        self._complete(item, inner)
        left, cleaned = self._left(item, inner)
        if left is None:
            return DROPPED
        if left is not inner:
            record["item"] = left
            if item.index is None:
                self._writer.place(item, record)
                added = {key: value for key, value in record.items() if key != "sequence_number"}
                self._writer.send(Held(added | {"type": "response.output_item.added"}))
        self._writer.show(item)
        return True, self._writer.place(item, record) or changed or cleaned

    def read_of_item(self, kind: str, record: Record, changed: bool) -> Judged:
        """An event of an item that is kept or hidden as a whole."""
        channel = _CHANNELS.get(kind)
        item = self._items.find(record)
        if item is None and channel is not None:
            hidden = self._judge.hides_channel(channel)
            item = Item(None, channel, record.get("item_id"), hidden=hidden)
            self._items.add(item, record.get("output_index"))
        text = _delta_text(record.get("delta"))
        if channel is _REASONING and text:
            self._state.reason(text)
        if kind in AUDIO_EVENTS:
            self._state.progress.show()
        elif channel is Channel.TOOL_RESULT:
            self._state.progress.result(text)
        if item is None:
            self._state.visible |= kind in AUDIO_EVENTS
            return True, changed
        if channel is _TOOL_CALL:
            self._state.progress.call(item, None, text)
        item.counted |= bool(text)
        hidden = item.hidden or (channel is not item.channel and self._hides(channel))
        if hidden or (item.is_message and channel is not None):
            if channel is not None and channel is not _REASONING:
                self._state.stats.hide_field(channel, len(text))
            return DROPPED
        if item.is_message:
            self._writer.show(item)
            self._state.visible = True
        return True, self._writer.place(item, record) or changed

    def read_part(self, kind: str, record: Record, event: Parsed, changed: bool) -> Judged:
        """An event that announces, completes or annotates a part: of a message, or of reasoning
        that a server announces so."""
        self._state.progress.cite(record.get("annotation"))
        if is_reasoning_part(record.get("part")):
            item = self._items.find(record)
            if item is None:
                item = Item(None, _REASONING, record.get("item_id"), hidden=self._hides(_REASONING))
                self._items.add(item, record.get("output_index"))
        else:
            item = self._texts.item_of(record)
        if item.is_message:
            if kind == "response.content_part.added":
                return self._texts.read_added(item, record, event, changed)
            return self._texts.read_part(item, kind, record, changed)
        inner = record.get("part")
        if item.hidden or item.channel is not _REASONING or not isinstance(inner, dict):
            self._state.stats.unknown_fields += not item.hidden
            return DROPPED
        stays, cleaned = self._judge.clean_part(inner, str)
        return stays, self._writer.place(item, record) or changed or cleaned

    # The items of a response.

    def complete(self, response: Record) -> None:
        """All items are complete, also those that ``response`` is the first to tell of."""
        for position, value in enumerate(response.get("output") or ()):
            inner = an_object(value, "an item")
            self._complete(self._known(position, inner) or self._new_item(inner, None), inner)

    def judge_output(self, response: Record) -> bool:
        """Judge the items of a response, in place, in the order that the client knows. Returns
        whether they were changed."""
        if "output" not in response:
            return False
        made = self._writer.made
        listed: list[tuple[int, Record]] = [(each.index, each.item) for each in made]
        changed = bool(made) or response["output"] is None
        for position, value in enumerate(response["output"] or ()):
            inner = an_object(value, "an item")
            item = self._known(position, inner) or Item(None, None, None)
            before = dump(inner, exact=False)
            left, _ = self._left(item, inner)
            changed |= left is None or dump(left, exact=False) != before
            if left is not None:
                listed.append((_UNKNOWN if item.index is None else item.index, left))
        order = [index for index, _ in listed]
        if order != sorted(order):
            listed.sort(key=itemgetter(0))
            changed = True
        response["output"] = [item for _, item in listed]
        return changed

    def _known(self, position: int, inner: Record) -> Item | None:
        """The streamed item that one of the whole response is."""
        item = self._items.called(inner.get("id")) or self._items.at(position)
        return item if item is not None and item.kind in (None, inner.get("type")) else None

    # Items.

    def _new_item(self, inner: Record, index: Any) -> Item:
        kind, channel = inner.get("type"), self._judge.channel(inner)
        hidden = self._judge.hides(inner)
        item = Item(kind if isinstance(kind, str) else None, channel, inner.get("id"), hidden)
        if hidden and channel is Channel.MARKUP:
            self._judge.hide(inner)
            item.counted = True
        return self._items.add(item, index)

    def _tell(self, item: Item, inner: Record) -> None:
        """A complete item, as a person is told of it."""
        if item.channel is _TOOL_CALL:
            self._state.tell_call(item, inner)
            self._state.tell_results_within(inner)
        elif item.channel is Channel.TOOL_RESULT:
            self._state.tell_result(inner.get("output") or inner.get("result"))

    def _hides(self, channel: Channel | None) -> bool:
        return channel is not None and self._judge.hides_channel(channel)

    def _complete(self, item: Item, inner: Record) -> None:
        """The item is complete: what is said nowhere else is counted, and moved."""
        if item.complete:
            return
        item.complete = True
        channel = self._judge.channel(inner)
        if not (item.hidden or self._judge.hides(inner)):
            self._judge.count_within(inner)
            if inner.get("type") == "message":
                self._texts.end_message(item, inner)
            else:
                self._state.note(inner)
        elif not item.counted:
            if channel is _REASONING:
                self._state.reason(reasoning_of(inner))
            else:
                self._judge.hide(inner)

    def _left(self, item: Item, inner: Record) -> tuple[Record | None, bool]:
        """What is left of a complete item, ``inner`` itself or less, and whether it was changed;
        None if nothing is."""
        if item.hidden or self._judge.hides(inner):
            return self._emptied(item, inner), True
        if inner.get("type") != "message":
            return inner, self._judge.clean(inner)
        said = bool(inner.get("content"))
        changed = self._judge.clean_message(inner, self._texts.text_of(item))
        if item.index is None and not inner.get("content") and (said or item.hid):
            return None, True
        return inner, changed

    def _emptied(self, item: Item, inner: Record) -> Record | None:
        """What is left of a hidden item, None if nothing is."""
        if inner.get("type") != "reasoning":
            return None
        left = self._judge.emptied(inner)
        if left is None and item.index is not None:
            # It was announced, for what it had then.
            left = {"id": item.id, "type": "reasoning", "summary": []}
        return left


def _delta_text(delta: Any) -> str:
    if isinstance(delta, dict):
        return "".join(value for value in delta.values() if isinstance(value, str))
    return delta if isinstance(delta, str) else ""
