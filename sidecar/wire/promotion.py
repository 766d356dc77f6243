"""Hidden reasoning, kept in case that nothing else is left to send (``on_empty: promote``)."""

from __future__ import annotations

MAX_PROMOTED = 65_536
"""Bytes, if nothing else is said. An answer that was misfiled as reasoning is a page or two; a
model that reasons for longer and then says nothing has not misfiled an answer."""


class Room:
    """How many bytes of UTF-8 the choices of one answer may still keep together."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size


class Promotion:
    """The beginning of one choice's reasoning, as much of it as there was ``room`` for."""

    __slots__ = ("_room", "_texts")

    def __init__(self, room: Room) -> None:
        self._texts: list[str] = []
        self._room = room

    def keep(self, text: str) -> None:
        """``text`` was hidden."""
        left = self._room.left
        if not left or not text:
            return
        # Half a surrogate pair is a character of its own here, and of three bytes.
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > left:
            end = left
            while data[end] & 0xC0 == 0x80:  # in the middle of a character
                end -= 1
            text = data[:end].decode("utf-8", "surrogatepass")
            # What follows would not be the text that follows.
            self._room.left = 0
        else:
            self._room.left = left - len(data)
        self._texts.append(text)

    def take(self) -> str:
        """What was kept; there is no more of it afterwards."""
        text = "".join(self._texts).strip()
        self._texts = []
        return text
