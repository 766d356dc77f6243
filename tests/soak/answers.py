"""Answers made by chance, of which it is known what a client must see of them.

Owns the texts and what is visible of each of their deltas. Knows nothing of HTTP or of faults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from random import Random
from typing import NamedTuple

from tests.wire.conformance import Adapter, Kind, Piece

HIDDEN = "zqhidden"
"""Stands in everything that is hidden, and must be in no byte that leaves."""
SHOWN = "zshown"
"""Stands in everything that is visible, and must be in no line that is logged."""

_THOUGHTS = ("<think>", "</think>"), ("[THINK]", "[/THINK]")
_CALL = f'{{"name": "find", "arguments": {{"q": "{HIDDEN}"}}}}'
_CALLS = ("<tool_call>", _CALL + "</tool_call>"), ("[TOOL_CALLS]", f"[{_CALL}]")
_WORDS = (
    "heat",
    "pump",
    "a < b",
    "10 °C",
    "*outside*",
    "<b>",
    "漢字",
    "🌡️",
    "x_1 & y",
    "[1]",
    "€ 5",
)


class Answer(NamedTuple):
    """``pieces`` with their finish, and what a client must see of each. ``reasoning``
    is what a client gets of that where it is moved: the first reasoning that has a place of its own
    says that there is no other to be moved out of the text."""

    pieces: list[Piece]
    shown: list[str]
    reasoning: str

    @property
    def calls(self) -> list[str]:
        """The arguments of the calls that have a place of their own."""
        return [piece.text for piece in self.pieces if piece.kind is Kind.CALL]

    @property
    def text(self) -> str:
        """All that a client must see."""
        return "".join(self.shown)


def made(
    chance: Random, number: int, adapter: Adapter, *, parts: int, whole: bool = False
) -> Answer:
    """The answer of the stream ``number``, with so many parts: visible text, regions in the text,
    and what has a place of its own in the wire format; ``whole``: in a document."""
    fields = (adapter.whole if whole else adapter.structured) & {Kind.REASONING, Kind.CALL}
    kinds = [_Part.TEXT, _Part.TEXT, _Part.TEXT, _Part.THOUGHT, _Part.CALL, *sorted(fields)]
    pieces: list[Piece] = []
    shown: list[str] = []
    reasoning = ""
    for kind in chance.choices(kinds, k=parts):
        if kind is Kind.REASONING:
            pieces += [Piece(kind, word) for word in (f"Let me {HIDDEN}", f"-{number} think. ")]
            reasoning += f"Let me {HIDDEN}-{number} think. "
        elif kind is Kind.CALL:
            arguments = json.dumps({"q": f"{HIDDEN}-{number}"}, separators=(",", ":"))
            pieces.append(Piece(kind, arguments, "look"))
        else:
            thought = f"{HIDDEN}-{number} " * chance.randint(1, 6) if kind is _Part.THOUGHT else ""
            reasoning += "" if Kind.REASONING in (piece.kind for piece in pieces) else thought
            for delta in _deltas(chance, _units(chance, number, kind, thought)):
                shown += [""] * (len(pieces) - len(shown))
                pieces.append(Piece(Kind.TEXT, "".join(unit for unit, _ in delta)))
                shown.append("".join(unit for unit, visible in delta if visible))
    pieces.append(Piece(Kind.FINISH, "stop"))
    return Answer(pieces, shown + [""] * (len(pieces) - len(shown)), reasoning)


class _Part(StrEnum):
    TEXT = "visible text"
    THOUGHT = "reasoning in the text"
    CALL = "a call in the text"


_Unit = tuple[str, bool]
"""Something that is not cut, and whether it is visible."""


def _units(chance: Random, number: int, part: StrEnum, thought: str) -> list[_Unit]:
    if part is _Part.TEXT:
        words = [f"{SHOWN}-{number}", *chance.choices(_WORDS, k=chance.randint(1, 12))]
        # White space that a region follows may be its separator; a full stop never is.
        return [(character, True) for character in " ".join(words) + "."]
    opener, rest = chance.choice(_THOUGHTS if part is _Part.THOUGHT else _CALLS)
    # In pieces, an open marker is text for whoever sees only the first.
    return [(opener, False), *((character, False) for character in thought + rest)]


def _deltas(chance: Random, units: list[_Unit]) -> Iterator[list[_Unit]]:
    start = 0
    while start < len(units):
        end = start + chance.choice((1, 2, 3, 5, 8, 40))
        yield units[start:end]
        start = end
