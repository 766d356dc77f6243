"""Where a marker may stand in a body that is written as JSON, and where that body ends."""

from __future__ import annotations

import re
from enum import StrEnum

_STRING_STOP = re.compile(r'["\\\n]')
_WHITE_SPACE = " \t\r\n"


class _At(StrEnum):
    BEFORE = "before the body's first character"
    NAME = "in a name before the JSON value"
    VALUE = "in the JSON value"
    STRING = "in a string of the JSON value"
    ESCAPE = "after a backslash in a string"
    AFTER = "after the JSON value"
    TEXT = "in text that is not JSON"


class JsonBody:
    """Follows one region's body; linear, and never looks back.

    ``ends_with_value``: the region has no close marker, so the balanced value ends it; what
    precedes the value (a function's name) is allowed.
    """

    __slots__ = ("_at", "_depth", "_ends_with_value")

    def __init__(self, *, ends_with_value: bool) -> None:
        self._at = _At.BEFORE
        self._depth = 0
        self._ends_with_value = ends_with_value

    def __repr__(self) -> str:
        return f"<JsonBody {self._at} depth={self._depth}>"

    def seek(self, text: str, position: int, stops: re.Pattern[str]) -> int:
        """The next position, from ``position`` on, at which a marker may begin or the value may
        end; the length of ``text`` if there is none. ``stops`` are the first characters of the
        markers, and JSON's brackets and quotes."""
        while position < len(text):
            if self._at is _At.ESCAPE:
                self._at = _At.STRING
                position += 1
            elif self._at is _At.STRING:
                found = _STRING_STOP.search(text, position)
                if found is None:
                    return len(text)
                self._leave_string(found[0])
                position = found.end()
            elif self._at is _At.BEFORE:
                if text[position] not in _WHITE_SPACE:
                    return position
                position += 1
            else:
                found = stops.search(text, position)
                return len(text) if found is None else found.start()
        return position

    def take(self, character: str) -> bool:
        """Read ``character``, found by :meth:`seek` and no marker; True if it ends the region."""
        if self._at is _At.BEFORE:
            if character in "{[":
                self._at = _At.VALUE
                self._depth = 1
            else:
                self._at = _At.NAME if self._ends_with_value else _At.TEXT
        elif self._at is _At.NAME:
            if character == "{":
                self._at = _At.VALUE
                self._depth = 1
        elif self._at is _At.VALUE:
            return self._take_in_value(character)
        return False

    def _take_in_value(self, character: str) -> bool:
        if character == '"':
            self._at = _At.STRING
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            if self._depth == 0:
                self._at = _At.AFTER
                return self._ends_with_value
        return False

    def _leave_string(self, stop: str) -> None:
        if stop == "\\":
            self._at = _At.ESCAPE
        elif stop == '"':
            self._at = _At.VALUE
        elif not self._ends_with_value:
            # A raw line end cannot stand in a JSON string (RFC 8259, 7): whoever wrote this did
            # not write JSON, and waiting for its closing quote could hide the whole answer.
            self._at = _At.TEXT
