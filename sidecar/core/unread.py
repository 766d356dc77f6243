"""Proves of the next bytes of a stream what becomes of them, without reading their events.

Most events of an answer repeat a verified one in all but a few characters of text, and most of
those characters can begin nothing. So it is known what becomes of them: they leave as they came, or
not at all. To know that, a few searches are enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import orjson

NOT_PLAIN = rb'["\\\x00-\x1f]'
"""What cannot stand in a JSON string as it is, and the beginning of an escape: the regular
expression of one byte (RFC 8259, 7)."""

_MOST = 64
"""Events that are taken together, so that what fails for one of them costs so many at the most."""


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


class Frame(NamedTuple):
    """The bytes of an event of this ``name``, empty if it has none, ``before`` and ``after`` a
    part of it."""

    name: bytes
    before: bytes
    after: bytes


class Showing(NamedTuple):
    """An answer that shows text: an event whose data are a text in the ``frame`` passes as it came
    and changes nothing, if the text has none of the ``stops``.

    What stands before the text ends, and what stands after it begins, with the quotes of a JSON
    string, the text.
    """

    frame: Frame
    stops: Stops


class Hiding(NamedTuple):
    """An answer that hides text: such an event is dropped if ``hide``, which is given the text,
    says so; if not, nothing happened."""

    frame: Frame
    hide: Callable[[str], bool]


Settled: TypeAlias = Showing | Hiding
"""An answer that goes on as it did."""


class Unread:
    """The events that need not be read, in a stream that has ``settled``, if its events are written
    as one in which ``around`` is around the data, and have at most ``limit`` bytes.

    The proof: an event begins and ends with the bytes around the text of a verified one. What is
    between them reads as one JSON string, or has no byte that such a string cannot have as it is,
    and is UTF-8; the first occurrence of the end is taken, and it begins with a quote. So the event
    is the verified one with another text, and of that is known what is asked of it.
    """

    __slots__ = ("_after", "_before", "_limit", "around", "settled", "shows")

    def __init__(self, settled: Settled, around: Frame, limit: int) -> None:
        self.settled = settled
        self.around = around
        self.shows = isinstance(settled, Showing)
        """Whether these events leave as they came; if not, they do not leave."""
        self._before = around.before + settled.frame.before
        self._after = settled.frame.after + around.after
        self._limit = limit

    def run(self, chunk: bytes, position: int) -> int:
        """Where the first event begins that must be read, in the bytes from ``position`` on, where
        one begins. What becomes of those before it has happened, but for their being sent."""
        settled = self.settled
        if len(chunk) > self._limit or not chunk.startswith(self._before, position):
            return position
        if isinstance(settled, Showing):
            return self._shown(chunk, position, settled.stops)
        return self._hidden(chunk, position, settled.hide)

    def _shown(self, chunk: bytes, position: int, stops: Stops) -> int:
        before, after, came = self._before, self._after, stops.as_it_came.search
        while chunk.startswith(before, position):
            start = position + len(before)
            end = chunk.find(after, start)
            if end < 0:
                break
            text = chunk[start:end]
            if b"\\" in text:
                said = _read(text)
                if said is None or stops.as_it_reads.search(said.encode()) is not None:
                    break
            elif came(text) is not None or not (text.isascii() or _is_utf8(text)):
                break
            position = end + len(after)
        return position

    def _hidden(self, chunk: bytes, position: int, hide: Callable[[str], bool]) -> int:
        before, after = self._before, self._after
        said: list[str] = []
        at = position
        while len(said) < _MOST and chunk.startswith(before, at):
            start = at + len(before)
            end = chunk.find(after, start)
            text = None if end < 0 else _read(chunk[start:end])
            if text is None:
                break
            said.append(text)
            at = end + len(after)
        return at if said and hide("".join(said)) else position


def _read(text: bytes) -> str | None:
    """What the inside of a JSON string says; None if it is none."""
    try:
        said: str = orjson.loads(b'"%b"' % text)
    except orjson.JSONDecodeError:
        return None
    return said


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
