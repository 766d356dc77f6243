"""Proves of the next bytes that they may pass unread.

Most events of an answer repeat a verified one in all but a few characters of text, and most of
those characters can begin nothing. Such an event changes nothing in whoever would read it, and
leaves as it came: to know that, a few searches are enough.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Settled(NamedTuple):
    """An answer that goes on as it did: an event of this ``name`` (empty if it has none) whose data
    are ``start``, a text and ``end`` passes as it came and changes nothing, if ``stops`` finds
    nothing in the text.

    ``start`` ends and ``end`` begins with the quotes of a JSON string, the text. ``stops`` finds
    at least what cannot stand in such a string as it is (RFC 8259, 7), and the backslash.
    """

    name: bytes
    start: bytes
    end: bytes
    stops: re.Pattern[bytes]


class Around(NamedTuple):
    """What stands ``before`` and ``after`` the data in the bytes of an event of this ``name``."""

    name: bytes
    before: bytes
    after: bytes


NOT_PLAIN = rb'["\\\x00-\x1f]'
"""What cannot stand in a JSON string as it is, and the beginning of an escape, which must be read:
the regular expression of one byte (RFC 8259, 7)."""


class Unread:
    """The events that may pass unread, in a stream that has ``settled``, written as those are that
    have ``around`` around their data, and of at most ``limit`` bytes.

    The proof, for a chunk that consists of one event or of several: it begins and ends with the
    bytes around the text of a verified event. Without the bytes in which one text ends and the
    next one begins, what is left of it has no quote, no backslash and no control character: so each
    text is a JSON string without escapes, and each event is the verified one with another text. It
    also has nothing that the markers of the place could begin with, and is UTF-8: so each text is
    what the verified event's was, visible and without effect. A marker that would begin in one text
    and end in the next one is found as well, since the texts are searched as one.
    """

    __slots__ = ("_after", "_before", "_between", "_limit", "_search", "_skip", "_stop")

    def __init__(self, settled: Settled, around: Around, limit: int) -> None:
        self._before = around.before + settled.start
        self._after = settled.end + around.after
        self._between = self._after + self._before
        self._skip = len(self._before)
        self._stop = -len(self._after)
        self._search = settled.stops.search
        self._limit = limit

    def passes(self, chunk: bytes) -> bool:
        """Whether ``chunk``, which nothing waits for, passes as it is and changes nothing."""
        if not (chunk.startswith(self._before) and chunk.endswith(self._after)):
            return False
        text = chunk[self._skip : self._stop]
        # An event larger than the limit would be one read, or begin in one.
        if not text or len(chunk) > self._limit:
            return False
        if self._between in text:
            text = text.replace(self._between, b"")
        return self._search(text) is None and (text.isascii() or _is_utf8(text))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
