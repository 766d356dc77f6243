"""Answers of which the generator knows what is hidden: words that must arrive, in their order, and
a secret that must not; and the ways in which a server may write them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st

from sidecar.core.channel import Channel
from sidecar.core.format import At, Body, Region
from sidecar.core.framing import LINES
from tests.promises import CATALOGUE, HIDDEN, spelled
from tests.wire.conformance import Event, Kind, Piece, Suite

SECRET = "Zq7Xk9Wv3J"
SECRETS = tuple(SECRET[i : i + 3] for i in range(len(SECRET) - 2))
"""What none may see of it."""

_FILLERS = (
    " kl mno. ",
    ",;!?\n",
    "\n\n",
    " - ",
    "(ß)",
    "漢",
    "🤔",
    "\u2028",
    "\x85",
    "\\",
    "/",
    "$x$",
)
_NEARLY = ("<", "</", "<th", "a < b", "<|", "[", "<t x", "<thinks", "&lt;think&gt;", "{", "<tool_")
"""What begins as a marker does, and is none."""


class Made(NamedTuple):
    """``pieces`` have their finish; ``words`` are those that must arrive, in their order."""

    pieces: list[Piece]
    words: list[str]


def _regions() -> list[tuple[str, str, Region]]:
    """The open and close markers of the regions that stand alone anywhere in a text, and end where
    they are closed."""
    return [
        (spelled(opener), spelled(closer), region)
        for format_ in CATALOGUE.resolve(["all"])
        for region in format_.regions
        for opener in region.open
        for closer in region.close
        if region.channel in HIDDEN and region.at is At.ANYWHERE
        if not (region.then or region.inside or region.proof)
    ]


_REGIONS = _regions()


def _hidden(chance: Random) -> str:
    """A region with the secret in it, as a model writes it."""
    opener, closer, region = chance.choice(_REGIONS)
    if region.body is Body.PYTHON:
        call = f'find(q="{SECRET}")'
        return opener + (call if "[" in opener else f"[{call}]") + closer
    if region.body is not Body.TEXT or region.channel is Channel.TOOL_CALL:
        return opener + json.dumps({"name": "find", "arguments": {"q": SECRET}}) + closer
    return (
        opener
        + chance.choice(["", "\n", "So: "])
        + SECRET
        + chance.choice(["", "`x` <b>"])
        + closer
    )


@st.composite
def answers(draw: st.DrawFn, suite: Suite) -> Made:
    """An answer with one text, in deltas that are cut anywhere."""
    parts = st.sampled_from(
        ["word", "word", "filler", "nearly", "hidden", *suite.adapter.structured]
    )
    chance = Random(draw(st.integers(0, 2**32)))
    pieces: list[Piece] = []
    words: list[str] = []
    text = ""
    for part in draw(st.lists(parts, min_size=1, max_size=8)):
        if part in suite.adapter.structured:
            pieces += (Piece(Kind.TEXT, delta) for delta in _deltas(chance, text))
            pieces += _structured(chance, Kind(part), pieces)
            text = ""
        elif part == "word":
            words.append(f"w{len(words)}w")
            text += f" {words[-1]} "
        elif part == "hidden":
            text += _hidden(chance)
        else:
            text += chance.choice(_FILLERS if part == "filler" else _NEARLY)
    pieces += (Piece(Kind.TEXT, delta) for delta in _deltas(chance, text))
    return Made([*pieces, Piece(Kind.FINISH, "stop")], words)


def _structured(chance: Random, kind: Kind, before: list[Piece]) -> Iterator[Piece]:
    """What has a place of its own."""
    if kind is Kind.REASONING:
        yield from (Piece(kind, delta) for delta in _deltas(chance, f"So: {SECRET}."))
    elif kind is Kind.CALL:
        yield Piece(kind, json.dumps({"q": SECRET}, separators=(",", ":")), "look")
    elif before and before[-1].kind is Kind.CALL:
        yield Piece(kind, f"{SECRET} was found.")


def _deltas(chance: Random, text: str) -> Iterator[str]:
    """``text`` in pieces; a character of two UTF-16 units may be cut, too, as some servers do."""
    units = [unit for character in text for unit in _units(character)]
    while units:
        size = chance.choice((1, 1, 2, 3, 7, 30))
        yield "".join(units[:size])
        del units[:size]


def _units(character: str) -> str:
    encoded = character.encode("utf-16-be", "surrogatepass")
    return "".join(chr(encoded[i] << 8 | encoded[i + 1]) for i in range(0, len(encoded), 2))


# --- as servers write it ------------------------------------------------------------------------

_NOISE = (f": {SECRET}", f"id: {SECRET}", f"retry: {SECRET}", f"{SECRET}: x", f"DATA: {SECRET}")
"""Lines that no client reads."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_CHARACTER = re.compile(r"\\u[0-9a-f]{4}|\\.|[^\"]")


def written(chance: Random, suite: Suite, made: Made, *, noisy: bool) -> bytes:
    """The stream of the answer; ``noisy``: with all that a client has to ignore, or to read in
    spite of how it is written."""
    events = suite.adapter.events(made.pieces)
    if not noisy:
        return suite.stream(events)
    if suite.framing is LINES:
        ends = ("\n", "\r\n", "\n\n", " \n")
        return "".join(_json(chance, record) + chance.choice(ends) for _, record in events).encode()
    end = chance.choice(("\n", "\r\n", "\r"))
    blocks = [_block(chance, event) for event in events]
    mark = [["data: [DONE]"]] if suite.framing.mark else []
    lines = [line for block in [*blocks, *mark] for line in [*block, ""]]
    return (chance.choice(("", "\ufeff")) + "".join(line + end for line in lines)).encode()


def _block(chance: Random, event: Event) -> list[str]:
    name, record = event
    data = _json(chance, record)
    lines = [f"event: {name}"] if name else []
    at = data.index(":")  # it is no part of a string
    if data[at + 1] == " " and chance.random() < 0.5:
        lines += [f"data: {data[: at + 1]}", f"data: {data[at + 1 :]}"]
    else:
        lines.append(chance.choice(("data: ", "data:")) + data)
    if chance.random() < 0.3:
        lines.insert(chance.randint(0, len(lines)), chance.choice(_NOISE))
    if chance.random() < 0.1:
        lines += ["", chance.choice((*_NOISE, "", "data:", f"event: {SECRET}"))]
    return lines


def _json(chance: Random, record: Any) -> str:
    """With keys that nobody knows, and escapes that nobody needs."""
    separators = chance.choice(((",", ":"), (", ", ": ")))
    text = json.dumps(_strange(chance, record), separators=separators)
    if chance.random() < 0.5:
        return text
    return _STRING.sub(lambda string: f'"{_escaped(chance, string[0][1:-1])}"', text)


def _escaped(chance: Random, string: str) -> str:
    def escape(found: re.Match[str]) -> str:
        plain = len(found[0]) == 1 and chance.random() < 0.2
        return f"\\u{ord(found[0]):04x}" if plain else found[0]

    return _CHARACTER.sub(escape, string)


def _strange(chance: Random, value: Any) -> Any:
    if isinstance(value, list):
        return [_strange(chance, item) for item in value]
    if not isinstance(value, dict):
        return value
    members = [(key, _strange(chance, item)) for key, item in value.items()]
    if chance.random() < 0.1:
        key = chance.choice(("zz_new", "Reasoning_Content", "CONTENT", ""))
        members.insert(chance.randint(0, len(members)), (key, chance.choice((SECRET, [SECRET]))))
    return dict(members)
