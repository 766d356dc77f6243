"""Recognises an event that differs from a judged one in nothing but its text.

Most events of a plain answer do. Their bytes before and after the text are those of an event that
was read in full and passed, so nothing is left to judge but the text, and no JSON needs parsing: a
quarter of the cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import orjson

from sidecar.core.jsontext import STRING, dump
from sidecar.core.unread import NOT_PLAIN, Frame, Hiding, Showing, Stops

_NOT_PLAIN = re.compile(NOT_PLAIN)


class Template:
    """One event's bytes around its text."""

    __slots__ = ("_end", "_hiding", "_showing", "_start")

    def __init__(self, start: bytes, end: bytes) -> None:
        self._start = start
        self._end = end
        self._showing: Showing | None = None
        self._hiding: Hiding | None = None

    @classmethod
    def of(cls, data: bytes, text: str, key: str = "content") -> Template | None:
        """The template of an event, a JSON text, in which a string ``key``'s value is ``text``;
        None if that cannot be told for certain."""
        found = [*_member(key).finditer(data)]
        if len(found) != 1 or _read(found[0][1]) != text:
            return None
        start, end = data[: found[0].start(1) + 1], data[found[0].end(1) - 1 :]
        # Without an escape every key is spelled as it is, and every quote is one of a string's.
        return None if b"\\" in start or b"\\" in end else cls(start, end)

    def showing(self, stops: Stops, name: bytes = b"") -> Showing:
        """The answer shows the text of events that fit and have this ``name``, if it has none of
        the ``stops``; the same object for the same stops."""
        if self._showing is None or self._showing.stops is not stops:
            self._showing = Showing(Frame(name, self._start, self._end), stops)
        return self._showing

    def hiding(self, hide: Callable[[str], bool]) -> Hiding:
        """The answer hides their text, if ``hide``, which is always the same, says so; the same
        object each time."""
        if self._hiding is None:
            self._hiding = Hiding(Frame(b"", self._start, self._end), hide)
        return self._hiding

    def fits(self, data: bytes) -> bool:
        """Whether an event differs from the template in nothing but its text."""
        return data.startswith(self._start) and data.endswith(self._end)

    def with_text(self, text: str) -> bytes:
        """The event with another text."""
        return self._start + dump(text, exact=False)[1:-1] + self._end

    def text_of(self, data: bytes) -> str | None:
        """The text of an event that fits; None if it does not, or its text needs parsing."""
        if not self.fits(data):
            return None
        plain = data[len(self._start) : len(data) - len(self._end)]
        if len(data) < len(self._start) + len(self._end):
            return None
        try:
            if _NOT_PLAIN.search(plain) is None:
                return plain.decode()
        except UnicodeDecodeError:
            return None
        # Nothing else can be read as one string: a quote that is not escaped would end it.
        return _read(b'"%b"' % plain)


@cache
def _member(key: str) -> re.Pattern[bytes]:
    """Finds a member of this key that is a string, if no key is spelled with an escape."""
    space = rb"[ \t\r\n]*+"
    return re.compile(
        b'"%b"' % key.encode() + space + b":" + space + b"(" + STRING + b")", re.DOTALL
    )


def _read(string: bytes) -> str | None:
    """What a JSON string says; None if it is none, or has half a surrogate pair."""
    try:
        text: str = orjson.loads(string)
    except orjson.JSONDecodeError:
        return None
    return text
