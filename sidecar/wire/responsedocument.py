"""A Responses answer that is one document, and lists of stored items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.jsontext import Parsed, dump
from sidecar.core.stream import MalformedChunk
from sidecar.wire.checked import an_object
from sidecar.wire.errors import UNREADABLE_CALL
from sidecar.wire.fields import Record
from sidecar.wire.items import INPUT_ROLES, text_key
from sidecar.wire.made import MadeItem
from sidecar.wire.messageitem import Part
from sidecar.wire.responsestate import ResponseState, reasoning_of
from sidecar.wire.responsewriter import Ended

_COMPLETE = (None, "completed", "incomplete")
"""The states in which nothing more is to come; some servers give none."""


class ResponseDocument:
    """Judges one document."""

    def __init__(self, state: ResponseState) -> None:
        self._state = state
        self._cut_off = False
        """The model would have gone on."""

    def read(self, document: Parsed) -> bytes | None:
        """Judge a whole response: the document for the client, None if it is the same. Raises
        MalformedChunk."""
        state = self._state
        record = an_object(document.value, "a response")
        if "output" not in record:
            if not record.get("error"):
                raise MalformedChunk("a response has output")
            return dump({"error": state.told(record["error"])}, exact=True)
        self._cut_off = record.get("status") == "incomplete"
        changed = state.clean_response(record)
        if "output" not in record:
            raise MalformedChunk("the output of a response is a list")
        try:
            left, items_changed = self._read_items(record["output"], stored=False)
            text = state.instead() if record.get("status") in _COMPLETE else ""
        except Ended as ended:
            state.stats.error = ended.fault.code
            error = {"code": ended.fault.code, "message": ended.fault.message}
            return dump(record | {"status": "failed", "error": error, "output": []}, exact=True)
        if text:
            made = MadeItem.message(self._state.new_id("msg"), 0)
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
        except Ended:
            raise MalformedChunk("a call is not as its family writes it") from None

    def _read_items(self, items: Any, *, stored: bool) -> tuple[list[Any], bool]:
        if items is not None and not isinstance(items, list):
            raise MalformedChunk("the items are a list")
        left: list[Any] = []
        changed = items is None
        for item in items or ():
            before = dump(an_object(item, "an item"), exact=False)
            kept = list(self._read_item(item, stored=stored))
            changed |= len(kept) != 1 or dump(kept[0], exact=False) != before
            left += kept
        return left, changed

    def _read_item(self, item: Record, *, stored: bool) -> Iterator[Record]:
        """What is left of an item, and what was moved out of it, before and after."""
        hidden = self._state.judge.hides(item, stored=stored)
        channel = self._state.judge.channel(item)
        if channel is Channel.REASONING:
            self._state.reason(reasoning_of(item))
        elif hidden:
            self._state.judge.hide(item)
        if hidden:
            left = self._state.judge.emptied(item) if channel is Channel.REASONING else None
            if left is not None:
                yield left
            return
        if stored and item.get("role") in INPUT_ROLES and item.get("type") == "message":
            # The request's own words.
            yield item
            return
        self._state.judge.count_within(item)
        if item.get("type") == "message":
            yield from self._read_message(item)
        else:
            self._state.visible |= channel is not Channel.REASONING
            self._state.judge.clean(item)
            yield item

    def _read_message(self, item: Record) -> Iterator[Record]:
        said = bool(item.get("content"))
        moved: list[MadeItem] = []
        calls: list[MadeItem] = []
        unfinished: set[str] = set()
        before: Part | None = None

        def visible(position: int, text: str) -> str:
            nonlocal before
            refusal = item["content"][position].get("type") == "refusal"
            part = self._state.new_part(before, refusal=refusal)
            if not refusal:
                before = part
            turns = part.feed(text)
            cut_off = self._cut_off or item.get("status") == "incomplete"
            breaks_off = cut_off and part.texts.lane.call != 0
            turns += part.finish(cut_off=cut_off)
            if part.texts.unreadable:
                raise Ended(UNREADABLE_CALL)
            reasoning = "".join(turn.moved for turn in turns)
            if reasoning:
                moved.append(MadeItem.reasoning(self._state.new_id("rs"), 0))
                moved[-1].say(reasoning)
            for call in (call for turn in turns for call in turn.calls):
                function = call["function"]
                if "id" in call:
                    new_id = self._state.new_id("fc")
                    calls.append(MadeItem.call(new_id, 0, call["id"], function["name"]))
                calls[-1].say(function["arguments"])
            if breaks_off and calls:
                unfinished.add(calls[-1].item["id"])
            return "".join(turn.visible for turn in turns)

        self._state.judge.clean_message(item, visible)
        self._state.visible |= bool(calls) or any(
            isinstance(part, dict) and text_key(part.get("type")) is None
            for part in item.get("content") or ()
        )
        for made in (*moved, *calls):
            made.end("incomplete" if made.item["id"] in unfinished else "completed")
        yield from (made.item for made in moved)
        if item.get("content") or not said:
            yield item
        yield from (made.item for made in calls)
