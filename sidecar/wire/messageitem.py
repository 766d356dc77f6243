"""One item of a streamed Responses answer; of a message its parts, their lanes and their places.

Owns what is known of the message so far; the events are written by :mod:`sidecar.wire.responses`.
"""

from __future__ import annotations

from sidecar.core.stream import MalformedChunk
from sidecar.wire.calls import CallFilter
from sidecar.wire.fields import Record
from sidecar.wire.ruling import Ruling, Shared
from sidecar.wire.texts import Said, Texts

MAX_PARTS = 256
"""Parts of one message: real ones have one, rarely two."""


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
        self.opening: Held | None = None
        self.fed = False
        """Some of its text came in pieces."""
        self.ended = False
        self.refusal = refusal
        self._ruling = ruling._replace(start=None) if refusal else ruling
        calls = CallFilter(ruling.policy.tool_calls, ruling.declared, shared.stats)
        self.texts = Texts(self._ruling, shared, calls)
        self._whole = ("", "")
        """The text that was asked for last, and what of it is visible: events repeat it."""

    @property
    def hid(self) -> bool:
        """Something of it was hidden."""
        return self.texts.hid

    def feed(self, text: str) -> Said:
        """More of its text."""
        self.fed = True
        return self.texts.feed(text)

    def finish(self, *, cut_off: bool = False) -> Said:
        """What was held; empty if it has ended before."""
        if self.ended:
            return Said("", "")
        self.ended = True
        return self.texts.finish(cut_off=cut_off)

    def visible(self, text: str) -> str:
        """What is visible of the whole text, which events repeat. Counts nothing."""
        if self._whole[0] != text:
            shared = Shared(self._ruling)
            calls = CallFilter(self._ruling.policy.tool_calls, self._ruling.declared, shared.stats)
            texts = Texts(self._ruling, shared, calls)
            shown = texts.feed(text).visible + texts.finish(cut_off=False).visible
            self._whole = (text, shown)
        return self._whole[1]


class Item:
    """One item of a stream. ``index`` is the client's, None until it is announced; ``parts`` are a
    message's, by upstream's index."""

    def __init__(self, kind: str | None, *, hidden: bool = False) -> None:
        self.kind = kind
        self.hidden = hidden
        self.index: int | None = None
        self.opening: Held | None = None
        self.counted = False
        """Its hidden text was counted, as it came."""
        self.parts: dict[int, Part | None] = {}
        """None for a part that is hidden."""
        self._shown_parts = 0

    @property
    def is_message(self) -> bool:
        """Whether its parts are read."""
        return self.kind == "message" and not self.hidden

    def add_part(self, position: int, part: Part | None) -> None:
        """A part begins. Raises MalformedChunk if there are too many."""
        if len(self.parts) >= MAX_PARTS:
            raise MalformedChunk(f"a message has up to {MAX_PARTS} parts")
        self.parts[position] = part

    def next_part_index(self) -> int:
        """The client's index of the part that is announced now."""
        self._shown_parts += 1
        return self._shown_parts - 1
