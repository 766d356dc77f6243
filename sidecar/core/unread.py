"""Proves of the next bytes that they may pass unread.

Most events of an answer repeat a verified one in all but a few characters of text, and most of
those characters can begin nothing. Such an event changes nothing in whoever would read it, and
leaves as it came: to know that, a few searches are enough.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson

NOT_PLAIN = rb'["\\\x00-\x1f]'
"""What cannot stand in a JSON string as it is, and the beginning of an escape: the regular
expression of one byte (RFC 8259, 7)."""


class Stops(NamedTuple):
    """What a text that is not read must not have: what a marker may begin with, and line ends.

    ``as_it_came`` searches the inside of a JSON string in UTF-8, and finds as well what cannot
    stand in one, and escapes; ``as_it_reads`` searches what such a string says.
    """

    as_it_came: re.Pattern[bytes]
    as_it_reads: re.Pattern[bytes]

    @classmethod
    def of(cls, markers: bytes) -> Stops:
        """With the regular expression of what markers may begin with."""
        return cls(*(re.compile(also + b"|" + markers) for also in (NOT_PLAIN, rb"[\r\n]")))


class Settled(NamedTuple):
    """An answer that goes on as it did: an event of this ``name`` (empty if it has none) whose data
    are ``start``, a text and ``end`` passes as it came and changes nothing, if the text has none of
    the ``stops``.

    ``start`` ends and ``end`` begins with the quotes of a JSON string, the text.
    """

    name: bytes
    start: bytes
    end: bytes
    stops: Stops


class Around(NamedTuple):
    """What stands ``before`` and ``after`` the data in the bytes of an event of this ``name``."""

    name: bytes
    before: bytes
    after: bytes


class Unread:
    """The events that may pass unread, in a stream that has ``settled``, written as those are that
    have ``around`` around their data, and of at most ``limit`` bytes.

    The proof, for a chunk of one event or of several: it begins and ends with the bytes around the
    text of a verified event. The bytes in which one text ends and the next one begins are taken out
    of what is left, unless the backslash before them makes them a part of a text. Then, if no byte
    is left that a JSON string cannot have, or if what is left reads as one string, each text is the
    inside of a string, and each event is the verified one with another text. All are UTF-8, which
    is looked at before, and none has anything that a marker of the place could begin with, nor a
    line end: so each is what the verified event's was, visible and without effect. A marker that
    would begin in one text and end in the next one is found as well, since they are searched as
    one.
    """

    __slots__ = (
        *("_after", "_before", "_between", "_came", "_limit", "_reads", "_skip", "_stop"),
        *("around", "settled"),
    )

    def __init__(self, settled: Settled, around: Around, limit: int) -> None:
        self.settled = settled
        self.around = around
        self._before = around.before + settled.start
        self._after = settled.end + around.after
        self._between = self._after + self._before
        self._skip = len(self._before)
        self._stop = -len(self._after)
        self._came = settled.stops.as_it_came.search
        self._reads = settled.stops.as_it_reads.search
        self._limit = limit

    def passes(self, chunk: bytes) -> bool:
        """Whether ``chunk``, which nothing waits for, passes as it is and changes nothing."""
        if not (chunk.startswith(self._before) and chunk.endswith(self._after)):
            return False
        text = chunk[self._skip : self._stop]
        if not text or len(chunk) > self._limit or not (text.isascii() or _is_utf8(text)):
            return False
        if self._between in text:
            if b"\\" + self._between in text:
                return False
            text = text.replace(self._between, b"")
        if b"\\" in text:
            try:
                said: str = orjson.loads(b'"%b"' % text)
            except orjson.JSONDecodeError:
                return False
            return self._reads(said.encode()) is None
        return self._came(text) is None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
