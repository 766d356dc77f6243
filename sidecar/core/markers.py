"""Which markers to look for, and which tail of a text might still become one.

A marker is a literal in which ``{name}``, ``{number}`` and ``{space}`` stand for runs of characters
(``_RUNS``); a rule may take more ways of writing it for the same (:mod:`sidecar.core.spelling`).
A :class:`MarkerSet` answers one question: what stands at this position? It holds no state, so a set
is built once per place a lane can be in, and shared by all streams.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

from sidecar.core.format import At, Region
from sidecar.core.spelling import (
    AS_WRITTEN,
    ATTRIBUTES,
    ESCAPED_ATTRIBUTES,
    REFERENCES,
    SPACE,
    Spelling,
)
from sidecar.core.unread import BETWEEN, Stops

BODY_STOPS = "\"'(){}[]"
"""The characters that decide where a value ends, in JSON (RFC 8259, 2) and in Python."""


class _Run(NamedTuple):
    """What a placeholder stands for: the longest run of certain characters, of a length from
    ``least`` to ``most`` (each is held back while it may go on)."""

    characters: re.Pattern[str]
    least: int
    most: int


PLACEHOLDERS = ("{name}", "{number}", SPACE)
"""What a format's markers may have in them."""


def _attributes(ways: Mapping[str, tuple[str, ...]]) -> _Run:
    """A run that ends before another tag and before the end of this one; ``ways`` are the further
    ways of writing a character."""
    less, slash, greater = (
        "(?:" + "|".join(map(re.escape, (character, *ways.get(character, ())))) + ")"
        for character in "</>"
    )
    inside = rf"(?!{less}|{slash}?{greater})(?s:.)"
    return _Run(re.compile(rf"(?:[ \t\r\n](?:{inside})*)?"), 1, 256)


_RUNS = {
    "{name}": _Run(re.compile(r"[A-Za-z0-9_.\-]*"), 1, 64),  # as long as OpenAI lets a tool's be
    "{number}": _Run(re.compile(r"[0-9]*"), 1, 4),
    SPACE: _Run(re.compile(r"[ \t\r\n]*"), 0, 32),  # a line end and an indentation
    ATTRIBUTES: _attributes({}),
    ESCAPED_ATTRIBUTES: _attributes(REFERENCES),
}
_TOKENS = re.compile("(" + "|".join(map(re.escape, _RUNS)) + ")")


def has_placeholder(literal: str) -> bool:
    """Whether a marker stands for more than one text."""
    return _TOKENS.search(literal) is not None


class Action(Enum):
    """What a marker does where it is recognised."""

    OPEN = auto()
    CLOSE = auto()
    DISCARD = auto()
    """It is syntax, and nothing follows from it: a stop token, a stray close marker."""
    TAIL = auto()
    """It is syntax if nothing visible follows in the message, and text otherwise."""


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
    proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker, and what it does here. ``region`` is what it opens or closes."""

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
_BRANCHES = "{}"
"""Under it, a node has its placeholders' nodes by their names."""


class MarkerSet:
    """A set of markers that are looked for together; the longest one at a position wins.

    Of two markers with the same literal and place the first one given counts.
    """

    __slots__ = ("_tries", "body_stops", "firsts", "restricted", "stops", "unread")

    def __init__(self, markers: Iterable[Marker], *, spelling: Spelling = AS_WRITTEN) -> None:
        tries: dict[At, _Node] = {}
        for marker in markers:
            _plant(tries.setdefault(marker.at, {}), marker, spelling)
        self._look_for(tries)

    def without(self, places: Collection[At]) -> MarkerSet:
        """Those that do not count only at ``places``. The two share what they have in common."""
        left = {at: trie for at, trie in self._tries.items() if at not in places}
        if len(left) == len(self._tries):
            return self
        fewer = MarkerSet(())
        fewer._look_for(left)
        return fewer

    def _look_for(self, by_place: dict[At, _Node]) -> None:
        self._tries = by_place
        tries = tuple(by_place.values())
        self.firsts = frozenset().union(*tries)
        """The characters that a marker may begin with."""
        self.restricted = any(at is not At.ANYWHERE for at in self._tries)
        """Whether some marker counts only at certain places."""
        beginnings = _beginnings(tries)
        self.stops = re.compile("|".join(beginnings.values()) or "(?!)")
        """Finds the next character at which something may begin."""
        self.unread = Stops(beginnings)
        """Tells whether there is one."""
        self.body_stops = re.compile(
            "[" + re.escape("".join(sorted(self.firsts)) + BODY_STOPS) + "]"
        )

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

    def find(self, text: str, start: int) -> int | None:
        """Where the first complete marker from ``start`` on ends, of those that count anywhere;
        None if there is none."""
        while (stop := self.stops.search(text, start)) is not None:
            match = self.match(text, stop.start(), (At.ANYWHERE,))
            if match.marker is not None:
                return match.end
            start = stop.start() + 1
        return None


class Proof(NamedTuple):
    """What shows that a region is one: any of ``literals`` before the first of ``closers``."""

    literals: MarkerSet
    closers: MarkerSet

    @classmethod
    def of(cls, region: Region, spelling: Spelling) -> Proof:
        """That of a region which has to be proven."""

        def found(literals: Iterable[str]) -> MarkerSet:
            markers = (Marker(literal, Action.DISCARD, "") for literal in literals)
            return MarkerSet(markers, spelling=spelling)

        return cls(found(region.proof), found(region.close))


def _plant(root: _Node, marker: Marker, spelling: Spelling) -> None:
    for pattern in spelling.patterns(marker.literal):
        node, references = root, spelling.references(pattern)
        for token in _TOKENS.split(pattern):
            if token in _RUNS:
                node = node.setdefault(_BRANCHES, {}).setdefault(token, {})
                continue
            for character in token:
                step = _step(node, character, spelling)
                for reference in references.get(character, ()):
                    beginning = node
                    for letter in reference[:-1]:
                        beginning = _step(beginning, letter, spelling)
                    beginning[reference[-1]] = step
                node = step
        node.setdefault(_LEAF, marker)


def _step(node: _Node, character: str, spelling: Spelling) -> _Node:
    """The node that ``character`` leads to, made if there is none."""
    step: _Node = node.setdefault(character, {})
    if spelling.any_case and character.isascii():
        node[character.swapcase()] = step
    return step


def _walk(node: _Node, text: str, position: int) -> Match:
    best: Marker | None = None
    end = 0
    pending = False
    while True:
        if _LEAF in node and position >= end:
            best, end = node[_LEAF], position
        for token, after in node.get(_BRANCHES, {}).items():
            found = _walk_run(_RUNS[token], after, text, position)
            pending = pending or found.pending
            if found.end > end:
                best, end = found.marker, found.end
        if position == len(text):
            return Match(best, end, pending or any(len(key) == 1 for key in node))
        step = node.get(text[position])
        if step is None:
            return Match(best, end, pending)
        node = step
        position += 1


def _walk_run(run: _Run, after: _Node, text: str, position: int) -> Match:
    found = run.characters.match(text, position, position + run.most)
    stop = found.end() if found else position
    if stop == len(text) and stop - position < run.most:
        return Match(None, 0, True)
    return _walk(after, text, stop) if stop - position >= run.least else NO_MATCH


_DEPTH = 4
"""How many characters ahead a stop is looked at. HTML is full of ``<``, prose is full of the
letters that some markers begin with, and few of them are read."""


def _beginnings(tries: Sequence[_Node]) -> dict[str, str]:
    """By the character at which one of the markers may begin, a pattern for it where it does: what
    follows may be the marker, or the text ends."""
    return {
        first: re.escape(first) + (f"(?={ahead})" if (ahead := _ahead(nodes, _DEPTH)) else "")
        for first, nodes in _steps(tries).items()
    }


def _ahead(nodes: Sequence[_Node], depth: int) -> str:
    """A pattern for what may follow in any of ``nodes``; empty if that may be anything."""
    if not depth or any(
        _LEAF in node or node.get(_BRANCHES, {}).keys() - {SPACE} for node in nodes
    ):
        return ""
    ways = [
        re.escape(character) + _ahead(after, depth - 1)
        for character, after in _steps(nodes).items()
    ]
    if spaced := [node[_BRANCHES][SPACE] for node in nodes if _BRANCHES in node]:
        ways.append(_RUNS[SPACE].characters.pattern + _ahead(spaced, depth - 1))
    return "(?:" + "|".join([*ways, BETWEEN, r"\Z"]) + ")"


def _steps(nodes: Sequence[_Node]) -> dict[str, list[_Node]]:
    """By character, where it leads to from any of ``nodes``."""
    steps: dict[str, list[_Node]] = {}
    for node in nodes:
        for character, step in node.items():
            if character != _BRANCHES:
                steps.setdefault(character, []).append(step)
    return steps
