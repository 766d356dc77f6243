"""Which literals to look for, and which tail of a text might still become one.

A :class:`MarkerSet` answers one question: what stands at this position? It holds no state, so a
set is built once per place a lane can be in, and shared by all streams.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from sidecar.core.format import At, Region

QUOTE_STOPS = "`~\n"
"""The characters that code spans and fences are made of (CommonMark 0.31, 4.5 and 6.1)."""

JSON_STOPS = '"{}[]'
"""The characters that decide where a JSON value ends (RFC 8259, 2)."""


class Action(Enum):
    """What a marker does where it is recognised."""

    OPEN = auto()
    CLOSE = auto()
    DISCARD = auto()
    """It is syntax, and nothing follows from it: a stop token, a stray close marker."""


@dataclass(frozen=True, slots=True, eq=False)
class ActiveRegion:
    """A region of a rule's formats; compared by identity.

    ``formats`` are the ids it counts as belonging to; its hidden text is counted for
    ``format_id``. ``kept``: its channel is, so its text and its markers are visible text.
    ``implicit``: the prompt opened it, so it may be any family's reasoning.
    """

    facts: Region
    format_id: str
    formats: frozenset[str]
    kept: bool = False
    implicit: bool = False
    then: ActiveRegion | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """A literal, and what it does here. ``region`` is what it opens or closes."""

    literal: str
    action: Action
    format_id: str
    region: ActiveRegion | None = None
    at: At = At.ANYWHERE


@dataclass(frozen=True, slots=True)
class Match:
    """What stands at a position.

    ``marker`` is the longest complete marker, ending before ``end``; ``pending`` says that the
    text ended while a longer marker was still possible, so nothing is certain yet.
    """

    marker: Marker | None
    end: int
    pending: bool


NO_MATCH = Match(None, 0, False)

_Node = dict[str, Any]
_LEAF = ""


class MarkerSet:
    """A set of markers that are looked for together; the longest one at a position wins.

    Of two markers with the same literal and place the first one given counts.
    """

    __slots__ = ("_tries", "json_stops", "restricted", "stops")

    def __init__(
        self,
        markers: Iterable[Marker],
        *,
        quotes: bool = False,
        without: At | None = None,
    ) -> None:
        """``quotes``: the characters of code spans and fences are stops too. ``without``: markers
        that count only there are left out."""
        self._tries: dict[At, _Node] = {}
        literals = set()
        for marker in markers:
            if marker.at is without:
                continue
            node = self._tries.setdefault(marker.at, {})
            for character in marker.literal:
                node = node.setdefault(character, {})
            node.setdefault(_LEAF, marker)
            literals.add(marker.literal)
        firsts = {literal[0] for literal in literals}
        self.restricted = any(at is not At.ANYWHERE for at in self._tries)
        """Whether some marker counts only at certain places."""
        quoting = QUOTE_STOPS if quotes and firsts else ""
        self.stops = _beginnings(literals, quoting)
        """Finds the next character at which something may begin."""
        self.json_stops = _any_of(firsts | set(JSON_STOPS))

    def match(self, text: str, start: int, places: Collection[At]) -> Match:
        """What stands at ``start``, a position that is all of ``places``."""
        best = NO_MATCH
        pending = False
        for at, root in self._tries.items():
            if text[start] in root and at in places:
                found = _walk(root, text, start)
                pending = pending or found.pending
                if found.end > best.end:
                    best = found
        return Match(best.marker, best.end, pending) if pending else best


def _walk(node: _Node, text: str, start: int) -> Match:
    marker: Marker | None = None
    end = 0
    for position in range(start, len(text)):
        step = node.get(text[position])
        if step is None:
            return Match(marker, end, False)
        node = step
        if _LEAF in node:
            marker, end = node[_LEAF], position + 1
    return Match(marker, end, any(key != _LEAF for key in node))


def _beginnings(literals: set[str], characters: str) -> re.Pattern[str]:
    """Finds a character of ``characters``, or one at which one of ``literals`` may begin: its
    second character follows, or nothing does. HTML is full of ``<``, and few of them are read."""
    seconds: dict[str, set[str]] = {}
    for literal in literals:
        seconds.setdefault(literal[0], set()).add(literal[1:2])
    ways = [re.escape(character) for character in characters]
    for first, following in seconds.items():
        ahead = "" if "" in following else f"(?={_any_of(following).pattern}|\\Z)"
        ways.append(re.escape(first) + ahead)
    return re.compile("|".join(ways) or r"(?!)")


def _any_of(characters: set[str]) -> re.Pattern[str]:
    if not characters:
        return re.compile(r"(?!)")
    return re.compile("[" + "".join(map(re.escape, sorted(characters))) + "]")
