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

_MOST, _LEAST = 16_384, 2048
"""Bytes of a stream whose events are judged as one, at the most: more of them would hardly cost
less. Fewer are tried where some were refused, for what was one of them."""

BETWEEN = "\x7f"
"""What stands between the texts of several events. It can stand in a JSON string as it is, is no
part of an escape nor of another character, and no model writes it."""

_LONG = 256
"""Characters from which on it costs less to look for each beginning of a marker than for all at
once: for one character, processors have instructions of their own."""


class Stops:
    """What a text that is not read must not have: what a marker may begin with.

    ``beginnings`` are regular expressions by the character with which what each finds begins. To
    them, :data:`BETWEEN` is the end of a text.
    """

    def __init__(self, beginnings: Mapping[str, str]) -> None:
        self._beginnings = beginnings

    def within(self, text: str) -> bool:
        """Whether ``text`` has one of them."""
        found = self._any.search(text) if len(text) < _LONG else self.first(text)
        return found is not None

    def first(self, text: str) -> int | None:
        """Where the first of them begins in ``text``; None if it has none."""
        if len(text) < _LONG:
            found = self._any.search(text)
            return None if found is None else found.start()
        each = (one.search(text) for first, one in self._each if first in text)
        return min((found.start() for found in each if found is not None), default=None)

    @cached_property
    def plain(self) -> bytes:
        """The ASCII characters that stand in a JSON string as they are, and begin none of them."""
        excluded = '"\\' + "".join(self._beginnings)
        return bytes(code for code in range(0x20, 0x7F) if chr(code) not in excluded)

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
    verified one. What is between reads as one JSON string, or has no character but such as stand in
    one as they are; so there is no quote in it, with which the end begins, but escaped ones. So the
    event is the verified one with another text.

    The proof for several at once: their texts, with :data:`BETWEEN` between each two, read as one
    JSON string. If one of the texts ended within an escape or a character, or had a quote, they
    would not.
    """

    __slots__ = (
        "_after",
        "_around",
        "_before",
        "_between",
        "_limit",
        "_stretch",
        "data",
        "event",
    )

    def __init__(self, data: Around, event: Around, limit: int) -> None:
        self.data = data
        self.event = event
        self._before = event.before + data.before
        self._after = data.after + event.after
        self._between = self._after + self._before
        self._around = len(self._between)
        self._limit = limit
        self._stretch = _MOST

    def alone(self, chunk: bytes, stops: Stops) -> str | None:
        """The text of the event that ``chunk`` is, if it is one of them and has none of the
        ``stops``."""
        # Only without both of them it is so much shorter.
        text = chunk.removeprefix(self._before).removesuffix(self._after)
        if len(chunk) - len(text) != self._around or len(chunk) > self._limit:
            return None
        if len(text) < _LONG and not text.strip(stops.plain):
            return text.decode()
        said = read(text)
        return None if said is None or stops.within(said) else said

    def shown(self, chunk: bytes, position: int, stops: Stops, texts: list[str]) -> int:
        """Where the first event begins that is none of them, or has one of the ``stops``; one
        begins at ``position``. The texts of those before it are added to ``texts``."""
        before, after = self._before, self._after
        if len(chunk) > self._limit:
            return position
        while chunk.startswith(before, position):
            start = position + len(before)
            end = chunk.find(after, start)
            if end < 0:
                break
            if chunk.startswith(before, end + len(after)):
                several = self._several(chunk, start)
                if several is not None:
                    inside, said = several
                    stop = stops.first(said)
                    if stop is None:
                        texts.append(said.replace(BETWEEN, ""))
                        position += self._length(inside)
                        continue
                    self._stretch = _LEAST
                    texts.append(said[:stop].rpartition(BETWEEN)[0].replace(BETWEEN, ""))
                    return position + self._length(inside[: said.count(BETWEEN, 0, stop)])
            one = read(chunk[start:end])
            if one is None or stops.within(one):
                break
            texts.append(one)
            position = end + len(after)
        return position

    def hidden(self, chunk: bytes, position: int, hide: Callable[[str], bool]) -> int:
        """Where the first event begins that is none of them, has no text, or is refused by
        ``hide``, which is given the texts of some of them as one."""
        one = self.text(chunk, position)
        if one is None or not one[0]:
            return position
        text, end = one
        if chunk.startswith(self._before, end):
            several = self._several(chunk, position + len(self._before))
            if several is not None:
                inside, said = several
                if all(inside) and hide(said.replace(BETWEEN, "")):
                    return position + self._length(inside)
                self._stretch = _LEAST
        return end if hide(text) else position

    def text(self, chunk: bytes, position: int) -> tuple[str, int] | None:
        """The text of the event at ``position``, and where the event ends; None if it is none of
        them."""
        if len(chunk) > self._limit or not chunk.startswith(self._before, position):
            return None
        start = position + len(self._before)
        end = chunk.find(self._after, start)
        said = None if end < 0 else read(chunk[start:end])
        return None if said is None else (said, end + len(self._after))

    def _several(self, chunk: bytes, start: int) -> tuple[list[bytes], str] | None:
        """What is inside of some events that follow each other, the text of the first of which
        begins at ``start``, and what they say, with :data:`BETWEEN` between each two; None if what
        may be one of them is none."""
        between, after, inside = self._between, self._after, list[bytes]()
        last = start + self._stretch
        while start < last:
            end = chunk.find(b'"', start)
            if not chunk.startswith(between, end):
                # The last of them, or an escaped quote.
                end = chunk.find(after, start)
                if not chunk.startswith(between, end):
                    if end >= 0:
                        inside.append(chunk[start:end])
                    break
            inside.append(chunk[start:end])
            start = end + len(between)
        said = read(BETWEEN.encode().join(inside))
        if said is None or said.count(BETWEEN) != len(inside) - 1:
            self._stretch = _LEAST
            return None
        self._stretch = min(2 * self._stretch, _MOST)
        return inside, said

    def _length(self, inside: list[bytes]) -> int:
        """That of the events with these insides."""
        return len(inside) * len(self._between) + sum(map(len, inside))


def read(text: bytes) -> str | None:
    """What the inside of a JSON string says; None if it is none."""
    try:
        said: str = orjson.loads(b'"%b"' % text)
    except orjson.JSONDecodeError:
        return None
    return said
