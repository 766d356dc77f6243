"""JSON text to values and back, without losing a digit.

A native library reads and writes nearly everything. What it cannot read (lone surrogates), or
would write differently from how it came (a 30-digit integer, ``1.0e5``), goes the exact way: the
standard library, with numbers kept as the text they were.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple, NoReturn

import orjson

MAX_DEPTH = 128
"""Nesting of a JSON text. Real chunks nest less than ten deep; tool schemas echoed in a response
somewhat more. Deeper ones only serve to exhaust the stack."""


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


class Parsed(NamedTuple):
    """A JSON value and the ``text`` it was read from; ``exact`` if :func:`dump` must write it the
    exact way, because the plain way would not give that text."""

    value: Any
    exact: bool
    text: bytes


class MalformedJSON(ValueError):
    """The text is not JSON, or not JSON that can be read in only one way."""


class DuplicateKey(MalformedJSON):
    """Two readers may see different values of ``key`` (RFC 8259, 4), which is the text's own: it
    may be anything, and is not in the message."""

    def __init__(self, key: str) -> None:
        super().__init__("a key stands twice")
        self.key = key


def parse(text: bytes) -> Parsed:
    """The value of a JSON text in UTF-8 (RFC 8259).

    Raises MalformedJSON for anything else, NaN, infinities and nesting deeper than ``MAX_DEPTH``
    among it, and DuplicateKey.
    """
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise MalformedJSON("it is nested too deeply")
    try:
        value = orjson.loads(text)
        # What writes back to the same bytes holds nothing that was not read.
        if orjson.dumps(value) == text:
            return Parsed(value, False, text)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        pass
    return Parsed(_parse_exactly(text), True, text)


def dump(value: Any, *, exact: bool) -> bytes:
    """``value`` as compact JSON text in UTF-8; ``exact`` for values that ``parse`` called so, whose
    text is ASCII."""
    try:
        # A Number is a str, and must not be written as one.
        text = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_SUBCLASS)
    except orjson.JSONEncodeError:
        return _dump_exactly(value).encode()
    return _dump_exactly(value).encode() if exact and not text.isascii() else text


STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A string of a JSON text, as a regular expression that looks at each byte once (DOTALL)."""
STRING_OR_BRACKET = re.compile(STRING + rb"|[\[\]{}]", re.DOTALL)


def _depth(text: bytes) -> int:
    """The deepest nesting of brackets outside strings."""
    depth = deepest = 0
    for found in STRING_OR_BRACKET.finditer(text):
        if found[0] in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif found[0] in b"]}":
            depth -= 1
    return deepest


def as_int(value: Any) -> int | None:
    """The integer that ``value``, a parsed JSON value, is; None if it is none."""
    if type(value) is int:
        return value
    if isinstance(value, Number) and len(value) < MAX_DIGITS and value.lstrip("-").isdigit():
        return int(value)
    return None


MAX_DIGITS = 20
"""Digits of an integer that is used as one; more than a 64-bit integer has."""


def _parse_exactly(text: bytes) -> Any:
    try:
        return _DECODER.decode(text.decode("utf-8"))
    except MalformedJSON:
        raise
    except (ValueError, RecursionError) as error:
        # The error's own text quotes the input, which may be what must stay hidden.
        raise MalformedJSON("it cannot be parsed") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKey(key)
            seen.add(key)
    return value


def _constant(_: str) -> NoReturn:
    raise MalformedJSON("NaN and Infinity are no numbers in it")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=Number,
    parse_float=Number,
    parse_constant=_constant,
)


def _dump_exactly(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring_ascii(value)
    if kind is Number:
        return str(value)
    if kind is dict:
        members = [
            f"{encode_basestring_ascii(key)}:{_dump_exactly(item)}" for key, item in value.items()
        ]
        return "{" + ",".join(members) + "}"
    if kind is list:
        return "[" + ",".join(map(_dump_exactly, value)) + "]"
    return json.dumps(value)
