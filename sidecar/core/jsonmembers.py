"""A JSON object's text without some of its members: what stays keeps every byte.

Owns where the members of an object begin and end. A value that is read and written again loses how
it was written; whoever only takes something away need not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sidecar.core.jsontext import STRING, STRING_OR_BRACKET

KeyPath = tuple[str, ...]
"""The keys that lead to a member, through objects alone."""

_BLANK = rb"[ \t\n\r]*+"
_KEY = re.compile(_BLANK + b"(" + STRING + b")" + _BLANK + b":" + _BLANK, re.DOTALL)
_PLAIN = re.compile(STRING + rb"|[^\s,\]}\[{]++", re.DOTALL)
"""A value that is neither an object nor a list."""
_REST = re.compile(_BLANK)


class _Member(NamedTuple):
    """Positions: ``start`` is behind the brace or comma before it, ``stop`` at the one behind it,
    and its value is from ``value`` to ``end``."""

    key: str
    start: int
    value: int
    end: int
    stop: int


def without(text: bytes, paths: Iterable[KeyPath]) -> bytes:
    """``text``, an object that :func:`sidecar.core.jsontext.parse` has read, without the members at
    ``paths`` and the commas that only they needed."""
    return _without(text, text.index(b"{"), paths)


def _without(text: bytes, start: int, paths: Iterable[KeyPath]) -> bytes:
    """The same for the object that begins at ``start``; what stands before it stays, and what
    stands behind it."""
    unwanted: set[str] = set()
    inside: dict[str, list[KeyPath]] = {}
    for key, *rest in paths:
        if rest:
            inside.setdefault(key, []).append(tuple(rest))
        else:
            unwanted.add(key)
    kept: list[bytes] = []
    stop = start + 1
    for member in _members(text, start + 1):
        stop = member.stop
        if member.key in unwanted:
            continue
        written = text[member.start : member.stop]
        if member.key in inside:
            written = _without(written, member.value - member.start, inside[member.key])
        kept.append(written)
    return text[: start + 1] + b",".join(kept) + text[stop:]


def _members(text: bytes, position: int) -> Iterator[_Member]:
    """Those of the object whose brace is before ``position``."""
    while (found := _KEY.match(text, position)) is not None:
        end = _end(text, found.end())
        rest = _REST.match(text, end)
        stop = end if rest is None else rest.end()
        yield _Member(json.loads(found[1]), position, found.end(), end, stop)
        if text[stop : stop + 1] != b",":
            return
        position = stop + 1


def _end(text: bytes, position: int) -> int:
    """Where the value that begins at ``position`` ends."""
    plain = _PLAIN.match(text, position)
    if plain is not None:
        return plain.end()
    depth = 0
    for found in STRING_OR_BRACKET.finditer(text, position):
        if found[0] in b"[{":
            depth += 1
        elif found[0] in b"]}":
            depth -= 1
            if depth == 0:
                return found.end()
    return len(text)
