"""Proves of the next bytes of a stream what becomes of them, without reading their events.

Most events of an answer repeat a verified one in all but a few characters of text, and most of
those characters can begin nothing. So it is known what becomes of them: they leave as they came, or
not at all. To know that, a few searches are enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import orjson

if TYPE_CHECKING:
    from sidecar.core.stream import Reading

NOT_PLAIN = rb'["\\\x00-\x1f]'
"""What cannot stand in a JSON string as it is, and the beginning of an escape: the regular
expression of one byte (RFC 8259, 7)."""

_MOST = 64
"""Events whose texts are judged as one, so that what is refused for one of them costs so many at
the most."""


_LONG = 256
"""Characters from which on it costs less to look for each beginning of a marker than for all at
once: to find one character processors have instructions of their own, to find one of several not."""


class Stops:
    """What a text that is not read must not have: what a marker may begin with.

    ``beginnings`` are regular expressions by the character with which what each finds begins.
    """

    def __init__(self, beginnings: Mapping[str, str]) -> None:
        self._beginnings = beginnings

    def within(self, text: str) -> bool:
        """Whether ``text`` has one of them."""
        if len(text) < _LONG:
            return self._any.search(text) is not None
        return any(first in text and one.search(text) is not None for first, one in self._each)

    @cached_property
    def as_it_came(self) -> re.Pattern[bytes]:
        """Finds one in the inside of a JSON string in UTF-8, and as well what cannot stand in one,
        and escapes."""
        # Each is a sequence of characters, and UTF-8 is found only where it is.
        return re.compile(b"|".join((NOT_PLAIN, *map(str.encode, self._beginnings.values()))))

    @cached_property
    def _any(self) -> re.Pattern[str]:
        return re.compile("|".join(self._beginnings.values()) or "(?!)")

    @cached_property
    def _each(self) -> tuple[tuple[str, re.Pattern[str]], ...]:
        return tuple((first, re.compile(one)) for first, one in self._beginnings.items())


class Around(NamedTuple):
    """What stands ``before`` and ``after`` a part of something in its bytes."""

    before: bytes
    after: bytes


Take: TypeAlias = "Callable[[str], Reading | None]"


class Settled(NamedTuple):
    """An answer of which it is known how it goes on: with an event whose data are a text in the
    frame ``around``, and of which nothing but that text is to be judged.

    What stands before the text ends, and what stands after it begins, with the quotes of a JSON
    string, the text. ``take`` judges it: what becomes of the event, None if it must be read in
    full, and then nothing happened. Where text is shown, ``stops`` is what it must have none of to
    leave as it came; ``note`` is told of such texts before anything else is judged, and ``name`` is
    that of such an event, empty if it has none. Where text is hidden and nothing else happens,
    ``hide`` says whether that holds for one, and if not, nothing happened.
    """

    around: Around
    take: Take
    stops: Stops | None = None
    note: Callable[[str], None] | None = None
    hide: Callable[[str], bool] | None = None
    name: bytes = b""


class Repeated:
    """The events that repeat a verified one in all but its text, in a stream whose events are
    written as one with ``event`` around its data; ``data`` is what stands around the text in those.
    None has more than ``limit`` bytes.

    The proof that an event is one of them: it begins and ends with the bytes around the text of a
    verified one. What is between reads as one JSON string, or has no byte that such a string cannot
    have as it is, and is UTF-8; and the first occurrence of the end is taken, which begins with a
    quote. So the event is the verified one with another text.
    """

    __slots__ = ("_after", "_before", "_limit", "data", "event")

    def __init__(self, data: Around, event: Around, limit: int) -> None:
        self.data = data
        self.event = event
        self._before = event.before + data.before
        self._after = data.after + event.after
        self._limit = limit

    def shown(self, chunk: bytes, position: int, stops: Stops, texts: list[str]) -> int:
        """Where the first event begins that is none of them, or has one of the ``stops``; one
        begins at ``position``. The texts of those before it are added to ``texts``."""
        before, after, came = self._before, self._after, stops.as_it_came.search
        if len(chunk) > self._limit:
            return position
        while chunk.startswith(before, position):
            start = position + len(before)
            end = chunk.find(after, start)
            if end < 0:
                break
            text = chunk[start:end]
            if len(text) >= _LONG or b"\\" in text:
                said = read(text)
                if said is None or stops.within(said):
                    break
            elif came(text) is not None:
                break
            else:
                try:
                    said = text.decode()
                except UnicodeDecodeError:
                    break
            texts.append(said)
            position = end + len(after)
        return position

    def hidden(self, chunk: bytes, position: int, hide: Callable[[str], bool]) -> int:
        """Where the first event begins that is none of them, has no text, or is refused by
        ``hide``, which is given the texts of some of them as one."""
        said: list[str] = []
        at = position
        while len(said) < _MOST and (found := self.text(chunk, at)) is not None and found[0]:
            said.append(found[0])
            at = found[1]
        return at if said and hide("".join(said)) else position

    def text(self, chunk: bytes, position: int) -> tuple[str, int] | None:
        """The text of the event at ``position``, and where the event ends; None if it is none of
        them."""
        if len(chunk) > self._limit or not chunk.startswith(self._before, position):
            return None
        start = position + len(self._before)
        end = chunk.find(self._after, start)
        said = None if end < 0 else read(chunk[start:end])
        return None if said is None else (said, end + len(self._after))


def read(text: bytes) -> str | None:
    """What the inside of a JSON string says; None if it is none."""
    try:
        said: str = orjson.loads(b'"%b"' % text)
    except orjson.JSONDecodeError:
        return None
    return said
