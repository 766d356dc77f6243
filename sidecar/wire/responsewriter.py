"""The client's side of a streamed Responses answer: which items it knows, under which indexes, and
what the next event's number is.

An item is announced when it is certain that something of it stays; that gives it its
``output_index``, so that there are no gaps, and likewise a part its ``content_index``.
"""

from __future__ import annotations

from collections.abc import Iterable

from sidecar.core.jsontext import Parsed, as_int, dump
from sidecar.core.sse import event as written
from sidecar.core.stream import EVENT_TOO_LARGE, Fault
from sidecar.wire.fields import Record
from sidecar.wire.items import MAX_ITEMS
from sidecar.wire.made import MAX_MADE, MadeItem
from sidecar.wire.messageitem import Held, Item, Part


class Ended(Exception):
    """The answer cannot go on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code)
        self.fault = fault


class Writer:
    """Writes the events of one answer, and remembers those items that are ours. What is sent waits
    to be taken."""

    def __init__(self) -> None:
        self.made: list[MadeItem] = []
        """The items that are ours and complete."""
        self._open: MadeItem | None = None
        """The one that is not complete."""
        self._out: list[bytes] = []
        self._room = MAX_MADE
        self._count = 0
        """How many items the client has been told of."""
        self._number: int | None = None
        """The next event's; None while upstream gives none."""

    def begin(self, record: Record) -> None:
        """An event has come: the first that has a number says where they begin."""
        if self._number is None:
            self._number = as_int(record.get("sequence_number"))

    def number(self, record: Record) -> bool:
        """Give an event of upstream's its number. Returns whether it had another."""
        given = record.get("sequence_number")
        if given is None or self._number is None:
            return False
        changed = as_int(given) != self._number
        if changed:
            record["sequence_number"] = self._number
        self._number += 1
        return changed

    def take(self) -> tuple[bytes, ...]:
        """The events since the last time."""
        if not self._out:
            return ()
        out = tuple(self._out)
        self._out.clear()
        return out

    def event(self, record: Record, event: Parsed) -> bytes:
        """An event of upstream's that was changed."""
        return written(dump(record, exact=event.exact), record["type"].encode())

    def send(self, held: Held) -> None:
        """An event that was held, or one of our own."""
        record = held.record
        if not held.text and self._number is not None:
            record["sequence_number"] = self._number
        if self.number(record):
            held.text = b""
        self._out.append(written(held.text or dump(record, exact=False), record["type"].encode()))

    def place(self, item: Item, record: Record) -> bool:
        """Give an event of ``item`` the client's index. Returns whether it had another."""
        if item.index is None:
            item.index = self.next_index()
        if record.get("output_index") is None or as_int(record["output_index"]) == item.index:
            return False
        record["output_index"] = item.index
        return True

    def put(self, item: Item, part: Part, record: Record) -> bool:
        """Give an event of ``part`` the client's indexes. Returns whether it had others."""
        changed = self.place(item, record)
        if "content_index" in record and as_int(record["content_index"]) != part.index:
            record["content_index"] = part.index
            changed = True
        return changed

    def show(self, item: Item) -> None:
        """Announce the item, unless that was done."""
        held, item.opening = item.opening, None
        if held is not None:
            if self.place(item, held.record):
                held.text = b""
            self.send(held)
        elif item.index is None:
            item.index = self.next_index()

    def show_part(self, item: Item, part: Part) -> None:
        """Announce the part and its item, unless that was done."""
        self.show(item)
        opening, part.opening = part.opening, []
        if part.index is None:
            part.index = item.next_part_index()
        for held in opening:
            if self.put(item, part, held.record):
                held.text = b""
            self.send(held)

    def next_index(self) -> int:
        """The index of one more item. Raises Ended if there are too many."""
        if self._count >= 2 * MAX_ITEMS:
            raise Ended(EVENT_TOO_LARGE)
        self._count += 1
        return self._count - 1

    # Items of our own. One is open at a time.

    def begin_made(self, made: MadeItem) -> None:
        """Announce an item of ours."""
        self.end_made()
        self._open = made
        self._send_all(made.begin())

    def opened(self, kind: str) -> bool:
        """Whether an item of ours of this type is open."""
        return self._open is not None and self._open.item["type"] == kind

    def say(self, text: str) -> None:
        """More of the item that is open. Raises Ended if it is too much."""
        if self._open is None:
            return
        self._room -= len(text)
        if self._room < 0:
            raise Ended(EVENT_TOO_LARGE)
        self.send(Held(self._open.say(text)))

    def end_made(self, status: str = "completed") -> None:
        """Complete the item that is open, if one is."""
        made, self._open = self._open, None
        if made is not None:
            self._send_all(made.end(status))
            self.made.append(made)

    def _send_all(self, records: Iterable[Record]) -> None:
        for record in records:
            self.send(Held(record))
