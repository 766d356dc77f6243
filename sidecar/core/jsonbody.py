"""Where a marker may stand in a body that is written as JSON or Python, and where the body ends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from sidecar.core.format import Body

STRING_STOPS = {quote: re.compile(rf"[{quote}\\\n]") for quote in "\"'"}
"""By its quote, what ends a string, or escapes what would."""

_WHITE_SPACE = " \t\r\n"
_QUOTES = {Body.JSON: '"', Body.VALUE: '"', Body.PYTHON: "\"'"}
_OPENING = {Body.JSON: "{[", Body.VALUE: "{[", Body.PYTHON: "{[("}
_CLOSING = {Body.JSON: "}]", Body.VALUE: "}]", Body.PYTHON: "}])"}
_GOES_ON = ",:}])"
"""What may follow a string in a value."""

MAX_STRING = 512
"""Characters that are waited for to see whether a string ends as one; a longer one does. They are
looked at again with every piece of text that comes."""


class _At(StrEnum):
    BEFORE = "before the body's first character"
    NAME = "in a name before the value"
    VALUE = "in the value"
    STRING = "in a string of the value"
    ESCAPE = "after a backslash in a string"
    AFTER = "after the value"
    TEXT = "in text that is no value"


class JsonBody:
    """Follows one region's body; linear, and never looks back.

    ``closes``: the region has close markers; if it has none the balanced value ends it, and what
    precedes the value (a function's name) is allowed. ``opener`` is the text of the open marker:
    the brackets that it leaves open belong to the value.
    """

    __slots__ = ("_at", "_body", "_closes", "_depth", "_quote")

    def __init__(self, body: Body, *, closes: bool, opener: str = "") -> None:
        self._body = body
        self._closes = closes
        self._quote = '"'
        opened = sum(map(opener.count, _OPENING[body])) - sum(map(opener.count, _CLOSING[body]))
        self._depth = max(opened, 0)
        self._at = _At.VALUE if opened > 0 else _At.BEFORE

    def __repr__(self) -> str:
        return f"<JsonBody {self._at} depth={self._depth}>"

    @property
    def in_string(self) -> bool:
        """Whether the next character is part of a string."""
        return self._at is _At.STRING

    def seek(
        self,
        text: str,
        position: int,
        stops: re.Pattern[str],
        inner: Mapping[str, re.Pattern[str]] = STRING_STOPS,
    ) -> int:
        """The next position, from ``position`` on, at which a marker may begin or the value may
        end; the length of ``text`` if there is none. ``stops`` finds the first characters of the
        markers, brackets and quotes; ``inner``, by its quote, what ends a string or counts even in
        one."""
        while position < len(text):
            if self._at is _At.ESCAPE:
                self._at = _At.STRING
                position += 1
            elif self._at is _At.STRING:
                found = inner[self._quote].search(text, position)
                if found is None:
                    return len(text)
                if found[0] not in ("\\", "\n", self._quote):
                    return found.start()
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
            self._begin(character)
        elif self._at is _At.NAME:
            if character == "{":
                self._at = _At.VALUE
                self._depth = 1
        elif self._at is _At.AFTER:
            if character in _OPENING[self._body]:
                self._at = _At.VALUE
                self._depth = 1
        elif self._at is _At.VALUE:
            return self._take_in_value(character)
        return False

    def goes_on(self, text: str, position: int, *, final: bool) -> bool | None:
        """Whether the string that ``position`` is in ends as a string of a value does; None if the
        text ends before that is known, and will go on unless ``final``."""
        stops = STRING_STOPS[self._quote]
        window = text[position : position + MAX_STRING]
        position = 0
        while (found := stops.search(window, position)) is not None:
            if found[0] == "\n":
                return False
            position = found.end() + (found[0] == "\\")
            if found[0] == self._quote:
                rest = window[position:].lstrip(_WHITE_SPACE)
                if rest:
                    return rest[0] in _GOES_ON
                break
        if len(window) == MAX_STRING:
            return True
        return False if final else None

    def _begin(self, character: str) -> None:
        if character in _OPENING[self._body]:
            self._at = _At.VALUE
            self._depth = 1
        elif self._body is Body.PYTHON and (character.isidentifier() or not self._closes):
            self._at = _At.VALUE
        else:
            self._at = _At.TEXT if self._closes else _At.NAME

    def _take_in_value(self, character: str) -> bool:
        if character in _QUOTES[self._body]:
            self._at = _At.STRING
            self._quote = character
        elif character in _OPENING[self._body]:
            self._depth += 1
        elif character in _CLOSING[self._body]:
            self._depth -= 1
            if self._depth <= 0:
                self._at = _At.AFTER
                return not self._closes or self._body is Body.VALUE
        return False

    def _leave_string(self, stop: str) -> None:
        if stop == "\\":
            self._at = _At.ESCAPE
        elif stop == self._quote:
            self._at = _At.VALUE
        elif self._closes:
            # A raw line end cannot stand in a JSON string (RFC 8259, 7): whoever wrote this did
            # not write JSON, and waiting for its closing quote could hide the whole answer.
            self._at = _At.TEXT
