"""The items of a streamed Responses answer, by what its events call them; of a message its parts,
their lanes and their places.

Owns what is known of the items so far; what is made of their events is decided in
:mod:`sidecar.wire.responseitems` and :mod:`sidecar.wire.responsetexts`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sidecar.core.channel import Channel
from sidecar.core.stream import MalformedChunk
from sidecar.wire.calls import CallFilter
from sidecar.wire.checked import an_index
from sidecar.wire.fields import Record
from sidecar.wire.items import MAX_ITEMS
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.texts import Texts, Turn

MAX_PARTS = 256
"""Parts of one message: real ones have one, rarely two."""

MAX_ID = 1024
"""Characters of an id that is remembered; some servers encrypt theirs. An item with a longer one is
known by its index."""


class Held:
    """An event that is sent as soon as something shows that it is needed. ``text`` is the JSON that
    it came as, empty if it is ours or was changed."""

    __slots__ = ("record", "text")

    def __init__(self, record: Record, text: bytes = b"") -> None:
        self.record = record
        self.text = text


class Part:
    """One text of a message. ``index`` is the client's, None until it is announced."""

    def __init__(self, ruling: Ruling, shared: Shared, *, refusal: bool) -> None:
        self.index: int | None = None
        self.opening: list[Held] = []
        """What announces it, and its first delta if that says nothing."""
        self.fed = False
        """Some of its text came in pieces."""
        self.ended = False
        self.refusal = refusal
        self._ruling = ruling._replace(start=None) if refusal else ruling
        self.texts = self._read(shared)

    @property
    def hid(self) -> bool:
        """Something of it was hidden."""
        return self.texts.hid

    def feed(self, text: str) -> list[Turn]:
        """More of its text."""
        self.fed = True
        return self.texts.feed_in_turn(text)

    def finish(self, *, cut_off: bool = False) -> list[Turn]:
        """What was held; empty if it has ended before."""
        if self.ended:
            return []
        self.ended = True
        return self.texts.finish_in_turn(cut_off=cut_off)

    def visible(self, text: str) -> str:
        """What is visible of the whole text, which events repeat. Counts nothing."""
        texts = self._read(Shared(self._ruling))
        return texts.feed(text).visible + texts.finish(cut_off=False).visible

    def _read(self, shared: Shared) -> Texts:
        policy, progress = self._ruling.policy, shared.progress
        calls = CallFilter(policy.tool_calls, self._ruling.declared, shared.stats, progress)
        return Texts(self._ruling, shared, calls, progress)


class Item:
    """One item. ``kind`` is its type, None if only its events were seen; ``channel`` is what it is
    as a whole. ``index`` is the client's, None until it is announced; ``parts`` are a message's, by
    upstream's index."""

    def __init__(
        self, kind: str | None, channel: Channel | None, item_id: Any, hidden: bool = False
    ) -> None:
        self.kind = kind
        self.channel = channel
        self.id = item_id if isinstance(item_id, str) and len(item_id) <= MAX_ID else None
        self.hidden = hidden
        self.index: int | None = None
        self.opening: Held | None = None
        self.counted = False
        """Its hidden text was counted, as it came."""
        self.complete = False
        self.parts: dict[int, Part | None] = {}
        """None for a part that is hidden."""
        self._shown_parts = 0

    @property
    def is_message(self) -> bool:
        """Whether its parts are read."""
        return self.kind == "message" and not self.hidden

    @property
    def hid(self) -> bool:
        """Something of its parts was hidden."""
        return any(part is None or part.hid for part in self.parts.values())

    def add_part(self, position: int, part: Part | None) -> None:
        """A part begins. Raises MalformedChunk if there are too many."""
        if len(self.parts) >= MAX_PARTS:
            raise MalformedChunk(f"a message has up to {MAX_PARTS} parts")
        self.parts[position] = part

    def next_part_index(self) -> int:
        """The client's index of the part that is announced now."""
        self._shown_parts += 1
        return self._shown_parts - 1


class Items:
    """The items of one stream. Some servers give no indexes, some the same to every item, and some
    call an item something else in each event: the id counts, and if it is unknown the index."""

    def __init__(self) -> None:
        self._all: list[Item] = []
        self._by_id: dict[str, Item] = {}
        self._by_index: dict[int, Item] = {}

    def __iter__(self) -> Iterator[Item]:
        return iter(self._all)

    def find(self, record: Record) -> Item | None:
        """The item that an event is about. Raises MalformedChunk."""
        return self.called(record.get("item_id")) or self.at(record.get("output_index"))

    def find_text(self, record: Record) -> Item | None:
        """The item that an event of a text is about. What has the index of an item that is no
        message, but another id, is of one that was never announced. Raises MalformedChunk."""
        item_id = record.get("item_id")
        item = self.called(item_id)
        if item is not None:
            return item
        item = self.at(record.get("output_index"))
        other = item is not None and item.kind != "message" and item.id is not None
        return None if other and item_id is not None else item

    def called(self, item_id: Any) -> Item | None:
        """The latest item with this id."""
        return self._by_id.get(item_id) if isinstance(item_id, str) else None

    def at(self, index: Any) -> Item | None:
        """The latest item at upstream's ``index``. Raises MalformedChunk."""
        if index is None:
            return None
        return self._by_index.get(an_index(index, MAX_ITEMS, "output_index"))

    def add(self, item: Item, index: Any) -> Item:
        """An item begins, at upstream's ``index`` if it has one. Raises MalformedChunk."""
        if len(self._all) >= MAX_ITEMS:
            raise MalformedChunk(f"an answer has up to {MAX_ITEMS} items")
        if index is not None:
            self._by_index[an_index(index, MAX_ITEMS, "output_index")] = item
        self._all.append(item)
        if item.id is not None:
            self._by_id[item.id] = item
        return item
