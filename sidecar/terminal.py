"""Two texts side by side on a terminal. Knows nothing of streams or of what the texts are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, zip_longest
from operator import attrgetter
from typing import Final, NamedTuple

# ASCII alone: not every terminal and pipe can write more.
_BETWEEN: Final = " | "
_NARROWEST: Final = 10
DIM, RED = "\x1b[2m", "\x1b[31m"
_PLAIN, _CLEAR_BELOW = "\x1b[0m", "\x1b[J"


class Span(NamedTuple):
    """A run of text in one style."""

    text: str
    dim: bool = False


class Column(NamedTuple):
    """One side: its title, and the text below it."""

    title: str
    spans: Sequence[Span]


def columns(
    left: Column, right: Column, width: int, *, styled: bool, style: str = DIM
) -> list[str]:
    """The rows, ``width`` characters at most, of two columns with their titles on top.

    ``styled`` dims what is to be dim, by escape sequences that take no room: ``style``.
    """
    side = max(_NARROWEST, (width - len(_BETWEEN)) // 2)
    rule = [Span("-" * side)]
    rows = (
        (_title(left, side), _title(right, side)),
        (rule, rule),
        *zip_longest(wrap(left.spans, side), wrap(right.spans, side), fillvalue=()),
    )
    return [
        _BETWEEN.join(_paint(row, side, style if styled else "") for row in pair).rstrip()
        for pair in rows
    ]


def wrap(spans: Iterable[Span], width: int) -> list[list[Span]]:
    """The text in rows of at most ``width`` characters, broken between words where one fits."""
    rows: list[list[Span]] = [[]]
    room = width
    for text, dim in _words(spans, width):
        if text == "\n" or len(text) > room:
            rows.append([])
            room = width
            if text.isspace():
                continue
        rows[-1].append(Span(text, dim))
        room -= len(text)
    return rows


class Screen:
    """Draws frames in place, each over the one before. ``write`` is as that of a text file."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._height = 0

    def draw(self, rows: Sequence[str]) -> None:
        """Replaces the frame that was drawn last by ``rows``."""
        up = f"\x1b[{self._height}A" if self._height else ""
        self._write(f"{up}\r{_CLEAR_BELOW}" + "".join(f"{row}\n" for row in rows))
        self._height = len(rows)


def _words(spans: Iterable[Span], width: int) -> Iterator[Span]:
    word = re.compile(rf"\n|[^\S\n]+|\S{{1,{width}}}")
    for text, dim in spans:
        for part in word.findall(text):
            yield Span(part, dim)


def _title(column: Column, width: int) -> list[Span]:
    return [Span(column.title[:width])]


def _paint(row: Iterable[Span], width: int, style: str) -> str:
    painted, room = "", width
    for dim, spans in groupby(row, key=attrgetter("dim")):
        text = "".join(span.text for span in spans)
        painted += f"{style}{text}{_PLAIN}" if style and dim else text
        room -= len(text)
    return painted + " " * room
