"""The text of one call region, read into the tools it calls and their arguments as JSON.

Owns how a call is written between its markers; what follows from a call is decided elsewhere. The
calls come out while the text comes in: a name as soon as it is complete, and arguments as they
are written wherever they are written as JSON.

Each way of writing is a generator that is resumed whenever text has come, so that it reads from
top to bottom like the syntax that it knows. None looks back: what is kept is what is not certain
yet, and each character is looked at a fixed number of times.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from pydantic_core import from_json

from sidecar.core.format import ONLY_KEY, Arguments, ArgumentsAs, ToolName
from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.core.pythoncalls import MAX_PYTHON, read_calls

MAX_NAME: Final = 512
"""Characters of a name, of a tool or of an argument, as it is written. OpenAI's API takes 64."""

MAX_HEAD: Final = 4_096
"""Characters read in several ways at once, and of what stands between a name and its arguments.
The longest known head of a call has about a hundred; after these, the first way has it alone."""

MAX_ARGUMENTS: Final = 1_048_576
"""Characters of one call's arguments: more than any model writes into one answer. They are kept to
be checked at their end."""

MAX_TYPES: Final = 32
"""Alternatives of a schema that are asked for their type."""


STRIDE: Final = 4_096
"""Characters of a longer text that are read at a time: what is left of them is copied whenever
something has been read."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A call of ``name`` begins; the pieces that follow are its arguments."""

    name: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The region does not hold a call as its family writes it, or its call breaks off: nothing
    follows, and the call that has begun, if any, may not be complete."""


CallEvent: TypeAlias = Begin | str | Unreadable
"""A string is a piece of the running call's arguments. The pieces of one call are one JSON object;
only where Unreadable follows they may be the beginning of one, or something else."""


class CallFacts(NamedTuple):
    """One way of writing the calls of a region."""

    name: ToolName
    arguments: Arguments


class CallReader:
    """Reads one region: any number of calls.

    ``facts`` are the ways in which the families that share the region's open marker write. They
    are tried side by side; whichever is certain of its syntax or knows a name first, and then the
    beginning of the arguments, is right, and of several at the same character the first.
    ``schemas`` are the declared tools' parameters as JSON schemas, by the tools' names; they may be
    anything.
    """

    def __init__(self, facts: Sequence[CallFacts], schemas: Mapping[str, object]) -> None:
        self._ways = [_WAYS[fact.arguments.kind](fact, schemas) for fact in facts]
        self._room = MAX_HEAD
        """Characters that may still be read in several ways."""

    def feed(self, text: str) -> list[CallEvent]:
        """What ``text``, the next piece of the region's text with its markers, makes certain."""
        events: list[CallEvent] = []
        position = 0
        # One by one, so that where the text is cut does not decide who is first.
        while len(self._ways) > 1 and position < len(text):
            character = text[position]
            events += self._settle([(way, way.feed(character)) for way in self._ways])
            position += 1
            self._room -= 1
            if self._room == 0:
                del self._ways[1:]
        while self._ways and position < len(text):
            found = self._ways[0].feed(text[position : position + STRIDE])
            position += STRIDE
            events += found
            if Unreadable() in found:
                self._ways = []
        return _joined(events)

    def finish(self, *, closed: bool = True) -> list[CallEvent]:
        """What is certain now that the region has ended: by its close marker, or (not ``closed``)
        because the answer has. A region without any call is Unreadable, and so is one that ends
        unclosed before the arguments of a call."""
        ends = [_joined(way.finish(closed=closed)) for way in self._ways]
        self._ways = []
        return next((end for end in ends if Unreadable() not in end), ends[0] if ends else [])

    def _settle(self, found: list[tuple[_Way, list[CallEvent]]]) -> list[CallEvent]:
        """What the ways have made of one character: those that are wrong are dropped."""
        able = [(way, events) for way, events in found if Unreadable() not in events]
        able = [pair for pair in able if pair[0].certain][:1] or able
        if not able:
            self._ways = []
            return [Unreadable()]
        leader, events = next((pair for pair in able if pair[1]), able[0])
        if any(isinstance(event, str) for event in events):
            self._ways = [leader]
        else:
            self._ways = [way for way, others in able if others == events]
        return events


def _joined(events: list[CallEvent]) -> list[CallEvent]:
    """``events`` with neighbouring pieces of arguments put together."""
    joined: list[CallEvent] = []
    pieces: list[str] = []
    for event in [*events, None]:
        if isinstance(event, str):
            pieces.append(event)
            continue
        if pieces:
            joined.append("".join(pieces))
            pieces = []
        if event is not None:
            joined.append(event)
    return joined


# --- reading text that is still coming ----------------------------------------------------------

_T = TypeVar("_T")
_Steps: TypeAlias = Generator[None, None, _T]
"""A piece of reading: it yields whenever it needs more text, and returns what it has read."""

_SPACE = " \t\r\n"
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_CODE = re.compile(r"[()=]")
"""No family writes these between a call's markers or its name and the brace of its JSON; code does,
and a brace in it is none of JSON."""


class _Malformed(Exception):
    """The text is not written in this way."""


class _Pieces:
    """Text put together from pieces, up to ``limit`` characters."""

    def __init__(self, limit: int) -> None:
        self._room = limit
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise _Malformed
        self._pieces.append(piece)

    def __str__(self) -> str:
        return "".join(self._pieces)


class _Arguments(_Pieces):
    """The JSON object of a call's arguments. That it is broken is seen while it comes, not only
    at its end: it is parsed as far as it goes whenever it has doubled."""

    def __init__(self) -> None:
        super().__init__(MAX_ARGUMENTS)
        self._size = 0
        self._next_check = 64

    def add(self, piece: str) -> None:
        super().add(piece)
        self._size += len(piece)
        if self._size >= self._next_check:
            self._next_check = 2 * self._size
            try:
                from_json(_in_utf8(str(self)), allow_partial=True)
            except ValueError as error:
                # Half of a surrogate pair is valid JSON (RFC 8259, 8.2), which this parser denies.
                if "surrogate" not in str(error) and "hex escape" not in str(error):
                    raise _Malformed from error


_IN_STRING = re.compile(r'["\\]')
_IN_OBJECT = re.compile(r'["{}\[\]]')
_IN_MEMBER = re.compile(r'["{}\[\],]')


class _Nesting:
    """Follows strings and brackets through JSON text that comes in pieces. It finds where the
    object or, as a comma too ends it, the member ends that it is in, which is ``outermost``;
    whether that is JSON is seen when it is parsed."""

    __slots__ = ("_depth", "_escaped", "_outermost", "_quoted")

    def __init__(self, outermost: re.Pattern[str]) -> None:
        self._outermost = outermost
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def seek(self, text: str, position: int) -> int:
        """The position from ``position`` on of what ends the value; the length of ``text`` if there
        is none. ``text`` follows what was sought before."""
        while position < len(text):
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            found = self._stops.search(text, position)
            if found is None:
                break
            stop = found[0]
            if not self._quoted and self._depth == 0 and stop in ",]}":
                return found.start()
            self._pass(stop)
            position = found.end()
        return len(text)

    @property
    def _stops(self) -> re.Pattern[str]:
        if self._quoted:
            return _IN_STRING
        return _IN_OBJECT if self._depth else self._outermost

    def _pass(self, stop: str) -> None:
        if stop == '"':
            self._quoted = not self._quoted
        elif stop == "\\":
            self._escaped = True
        elif stop in "{[":
            self._depth += 1
        else:
            self._depth -= 1


class _Way(ABC):
    """One way of writing, reading one region. ``_text`` has come and is not read yet."""

    def __init__(self, facts: CallFacts, schemas: Mapping[str, object]) -> None:
        self._facts = facts
        self._schemas = schemas
        self._text = ""
        self._ended = False
        self._closed = False
        self.certain = False
        """No other way can be right, although no name is known yet: what looks like a call in
        another syntax is part of an argument."""
        self._out: list[CallEvent] = []
        self._steps = self._read()

    def feed(self, text: str) -> list[CallEvent]:
        """As CallReader's."""
        self._text += text
        return self._resume()

    def finish(self, *, closed: bool) -> list[CallEvent]:
        """As CallReader's."""
        self._ended = True
        self._closed = closed
        return self._resume()

    @abstractmethod
    def _read(self) -> _Steps[None]:
        """Read the region; at its end at least one call must have begun."""

    def _resume(self) -> list[CallEvent]:
        self._out = []
        try:
            next(self._steps)
        except StopIteration:
            # What follows the calls means nothing.
            self._text = ""
        except _Malformed:
            self._out.append(Unreadable())
        return self._out

    def _begin(self, name: str) -> None:
        if len(name) > MAX_NAME or (name not in self._schemas and not _is_name(name)):
            raise _Malformed
        self._out.append(Begin(name))

    def _emit(self, piece: str) -> None:
        if piece:
            self._out.append(piece)

    # Steps.

    def _peek(self) -> _Steps[str]:
        """The next character that is not white space, which is dropped; empty if none follows."""
        while True:
            self._text = self._text.lstrip(_SPACE)
            if self._text or self._ended:
                return self._text[:1]
            yield

    def _pass_to(
        self, literals: Sequence[str], take: Callable[[str], None], *, margin: int = 0
    ) -> _Steps[tuple[str, str]]:
        """Read up to and with the first of ``literals`` to be complete; none if the region ends.

        What stands before goes to ``take`` as it comes, but for its last piece, which is returned
        with the literal: it has the last ``margin`` characters, if there are so many.
        """
        longest = max(map(len, literals)) - 1 + margin
        while True:
            found = _first(self._text, literals)
            if found is not None:
                start, literal = found
                last, self._text = self._text[:start], self._text[start + len(literal) :]
                return last, literal
            if self._ended:
                last, self._text = self._text, ""
                return last, ""
            certain = max(0, len(self._text) - longest)
            take(self._text[:certain])
            self._text = self._text[certain:]
            yield

    def _take_to(self, literals: Sequence[str], limit: int) -> _Steps[tuple[str, str]]:
        """As :meth:`_pass_to`, and returns all that stands before the literal, with the literal."""
        before = _Pieces(limit)
        last, literal = yield from self._pass_to(literals, before.add)
        before.add(last)
        return str(before), literal

    def _pass_nested(
        self, outermost: re.Pattern[str], take: Callable[[str], None], position: int = 0
    ) -> _Steps[None]:
        """Pass JSON to ``take`` as it comes, up to what ends it, from ``position`` on followed."""
        nesting = _Nesting(outermost)
        while (end := nesting.seek(self._text, position)) == len(self._text):
            take(self._text)
            self._text, position = "", 0
            if self._ended:
                raise _Malformed
            yield
        take(self._text[:end])
        self._text = self._text[end:]

    def _pass_object(self, take: Callable[[str], None]) -> _Steps[None]:
        """Pass the object whose brace is the next character to ``take`` as it comes."""
        yield from self._pass_nested(_IN_OBJECT, take, len("{"))
        if self._text[0] != "}":
            raise _Malformed
        take("}")
        self._text = self._text[1:]


def _first(text: str, literals: Sequence[str]) -> tuple[int, str] | None:
    """Where the one of ``literals`` that ends first stands, and which it is."""
    found = [(text.find(literal), literal) for literal in literals]
    ends = [(start + len(literal), start, literal) for start, literal in found if start >= 0]
    return min(ends)[1:] if ends else None


def _ignore(_: str) -> None:
    """Text that means nothing."""


def _no_code(piece: str) -> None:
    if _CODE.search(piece):
        raise _Malformed


_NAME = re.compile(r"[^\s\"'`<>{}()\[\]|,;=\\\x00-\x1f\ud800-\udfff]+")


def _is_name(text: str) -> bool:
    """Whether a tool may be called this; what only counts the calls (Kimi's) names none."""
    return _NAME.fullmatch(text) is not None and not text.isdigit()


def _parsed(text: str) -> Any:
    try:
        return parse(_in_utf8(text)).value
    except MalformedJSON as error:
        raise _Malformed from error


def _in_utf8(text: str) -> bytes:
    """JSON text. A lone surrogate has no UTF-8; it can only stand in a string, where its escape is
    as good."""
    return text.encode("utf-8", "backslashreplace")


def _parsed_object(text: str) -> None:
    if not isinstance(_parsed(text), dict):
        raise _Malformed


# --- a JSON object with the name and the arguments ----------------------------------------------


class _MemberCalls(_Way):
    """JSON objects, one after another or in an array, each of which is a call."""

    def _read(self) -> _Steps[None]:
        begun = False
        while (yield from self._finds_brace()):
            yield from self._call()
            begun = True
        if not begun:
            raise _Malformed

    def _finds_brace(self) -> _Steps[bool]:
        last, brace = yield from self._pass_to(("{",), _no_code)
        _no_code(last)
        return bool(brace)

    def _call(self) -> _Steps[None]:
        self._name = ""
        self._arguments: _Arguments | None = None
        self._stray = False
        """A member that holds an object and is not known: these may be the arguments."""
        while (yield from self._peek()) != "}":
            key = yield from self._string()
            if (yield from self._peek()) != ":":
                raise _Malformed
            self._text = self._text[1:]
            self.certain = True
            yield from self._member(key)
            if (yield from self._peek()) not in (",", "}"):
                raise _Malformed
            self._text = self._text.removeprefix(",")
        self._text = self._text[1:]
        self._end_call()

    def _end_call(self) -> None:
        if not self._name or (self._arguments is None and self._stray):
            raise _Malformed
        if self._arguments is None or not str(self._arguments):
            self._emit("{}")

    def _member(self, key: str) -> _Steps[None]:
        name_key, keys = self._facts.name.json, self._facts.arguments.keys
        if name_key == ONLY_KEY:
            self._call_is_named(key)
            yield from self._read_arguments()
        elif key == name_key:
            self._call_is_named((yield from self._string()))
        elif key in keys:
            yield from self._read_arguments()
        else:
            self._stray |= (yield from self._peek()) == "{"
            yield from self._pass_nested(_IN_MEMBER, _ignore)

    def _call_is_named(self, name: str) -> None:
        if self._name:
            raise _Malformed
        self._begin(name)
        self._name = name
        if self._arguments is not None:
            self._emit(str(self._arguments))

    def _read_arguments(self) -> _Steps[None]:
        if self._arguments is not None:
            raise _Malformed
        self._arguments = _Arguments()
        if (yield from self._peek()) == "{":
            yield from self._pass_object(self._argue)
        else:
            value = _Pieces(MAX_ARGUMENTS)
            yield from self._pass_nested(_IN_MEMBER, value.add)
            arguments = _parsed(str(value))
            if arguments is None or arguments == "":
                return
            if not isinstance(arguments, str):
                raise _Malformed
            self._argue(arguments.strip(_SPACE))
        _parsed_object(str(self._arguments))

    def _argue(self, piece: str) -> None:
        assert self._arguments is not None
        self._arguments.add(piece)
        if self._name:
            self._emit(piece)

    def _string(self) -> _Steps[str]:
        """A short JSON string: a key or a name."""
        if (yield from self._peek()) != '"':
            raise _Malformed
        while (found := _STRING.match(self._text)) is None:
            if self._ended or len(self._text) > MAX_NAME:
                raise _Malformed
            yield
        if found.end() > MAX_NAME:
            raise _Malformed
        self._text = self._text[found.end() :]
        return str(_parsed(found[0]))


# --- a name between literals --------------------------------------------------------------------


class _NamedCalls(_Way):
    """Calls whose name stands after a literal; the arguments follow in one form or another."""

    def _read(self) -> _Steps[None]:
        assert self._facts.name.after is not None
        self._after = self._facts.name.after
        self._next = () if self._facts.name.once else (self._after,)
        """The literal that begins another call."""
        if not (yield from self._skip_to_next((self._after,))):
            raise _Malformed
        follows = True
        while follows:
            name = yield from self._name()
            follows = yield from self._arguments(name)

    @abstractmethod
    def _arguments(self, name: str) -> _Steps[bool]:
        """Read the arguments of a call that has begun, and up to the next. Returns whether one
        follows."""

    @property
    @abstractmethod
    def _opener(self) -> str:
        """What the arguments open with."""

    def _name(self) -> _Steps[str]:
        yield from self._peek()
        written, literal = yield from self._take_to(self._facts.name.until, MAX_NAME)
        if not literal:
            raise _Malformed
        if any(wanted in literal for wanted in (self._opener, *self._next)):
            self._text = literal + self._text
        name = self._facts.name.clean(written)
        self._begin(name)
        return name

    def _skip_to_next(self, literals: Sequence[str]) -> _Steps[bool]:
        if not literals:
            return False
        _, literal = yield from self._pass_to(literals, _ignore)
        return bool(literal)


class _JsonCalls(_NamedCalls):
    """The arguments are the JSON object that begins with the first brace after the name."""

    _opener = "{"

    def _arguments(self, name: str) -> _Steps[bool]:
        markup, literal = yield from self._take_to((self._opener, *self._next), MAX_HEAD)
        _no_code(markup)
        if literal != self._opener:
            if not literal and not self._closed:
                raise _Malformed
            self._emit("{}")
            return bool(literal)
        self._text = literal + self._text
        self._written = _Arguments()
        yield from self._pass_object(self._argue)
        _parsed_object(str(self._written))
        return (yield from self._skip_to_next(self._next))

    def _argue(self, piece: str) -> None:
        self._written.add(piece)
        self._emit(piece)


# --- arguments between literals -----------------------------------------------------------------

_SAYS_STRING = re.compile(r"""\b(?:string=["']true["']|type=["']string["'])""")
_PYTHON_CONSTANTS = {"True": "true", "False": "false", "None": "null"}
_JSON_STARTS = frozenset("{[-0123456789tfnTFN")
_TYPES = {"{": "object", "[": "array", "t": "boolean", "f": "boolean", "n": "null"}
_STRING_ONLY = frozenset({"string"})


class _ParameterCalls(_NamedCalls):
    """The arguments stand one after another, keys and values between literals."""

    @property
    def _opener(self) -> str:
        return self._facts.arguments.key[0] or self._facts.arguments.key[1]

    def _arguments(self, name: str) -> _Steps[bool]:
        self._room = MAX_ARGUMENTS
        keys: set[str] = set()
        while True:
            key, follows = yield from self._key()
            if key is None:
                if not (follows or keys or self._closed):
                    raise _Malformed
                self._emit("}" if keys else "{}")
                return follows
            if not key or key in keys:
                raise _Malformed
            markup = yield from self._markup()
            types = _declared_types(self._schemas.get(name), key)
            self._argue(("{" if not keys else ", ") + _quote(key) + ": ")
            keys.add(key)
            yield from self._value(_STRING_ONLY if _SAYS_STRING.search(markup) else types)

    def _argue(self, piece: str) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise _Malformed
        self._emit(piece)

    def _key(self) -> _Steps[tuple[str | None, bool]]:
        """The next key; None if the call ends, and then whether another call follows."""
        opens, closes = self._facts.arguments.key
        before = ""
        if opens:
            _, literal = yield from self._pass_to((opens, *self._next), _ignore)
        else:
            before, literal = yield from self._take_to((closes, *self._next), MAX_NAME)
        if literal != self._opener:
            return None, bool(literal)
        if opens:
            before, literal = yield from self._take_to((closes,), MAX_NAME)
            if not literal:
                raise _Malformed
        return before.strip(_SPACE + ","), False

    def _markup(self) -> _Steps[str]:
        """What stands between a key and its value."""
        opens = self._facts.arguments.value[0]
        if not opens:
            return ""
        markup, literal = yield from self._take_to((opens,), MAX_HEAD)
        if not literal or self._opener in markup:
            raise _Malformed
        return markup

    def _value(self, types: frozenset[str]) -> _Steps[None]:
        while not self._text and not self._ended:
            yield
        # One line end on either side belongs to the markup.
        self._text = self._text.removeprefix("\n")
        value = _Value(types, self._argue)
        closes = self._facts.arguments.value[1]
        last, literal = yield from self._pass_to((closes,), value.add, margin=len("\n"))
        if not literal:
            # The value was cut off: a part of it would be another value.
            raise _Malformed
        value.add(last.removesuffix("\n"))
        value.end()


class _Value:
    """One argument as plain text, turned into JSON: a string as it comes, anything else at its end,
    which decides what it is. ``types`` are the declared ones, none if nothing is known."""

    def __init__(self, types: frozenset[str], argue: Callable[[str], None]) -> None:
        self._types = types
        self._argue = argue
        self._held = _Pieces(MAX_ARGUMENTS)
        self._decided = False
        self._is_string = False
        if types == _STRING_ONLY:
            self._begin_string()

    def add(self, piece: str) -> None:
        """Take the next piece of the text."""
        if not self._decided and piece.strip():
            self._decided = True
            if piece.strip()[0] not in _JSON_STARTS:
                self._begin_string()
        if self._is_string:
            self._argue(_quote(piece)[1:-1])
        else:
            self._held.add(piece)

    def end(self) -> None:
        """The text is complete."""
        if self._is_string:
            self._argue('"')
            return
        text = str(self._held)
        self._argue(_as_json(text, self._types) or _quote(text))

    def _begin_string(self) -> None:
        self._decided = self._is_string = True
        self._argue('"' + _quote(str(self._held))[1:-1])


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _as_json(text: str, types: frozenset[str]) -> str:
    """``text`` if it is JSON of a declared type; empty if it is to be a string."""
    value = text.strip(_SPACE)
    if types and "string" not in types:
        value = _PYTHON_CONSTANTS.get(value, value)
    try:
        _parsed(value)
    except _Malformed:
        return ""
    found = _TYPES.get(value[0], "number")
    fits = found in types or (found == "number" and "integer" in types)
    return value if fits or "string" not in types else ""


def _declared_types(schema: object, key: str) -> frozenset[str]:
    """The JSON types of the property ``key``, as far as ``schema`` says them plainly."""
    declared = _member_of(_member_of(schema, "properties"), key)
    found: set[str] = set()
    for option in _options(declared):
        types = _member_of(option, "type")
        named = types[:MAX_TYPES] if isinstance(types, list) else [types]
        found.update(name for name in named if isinstance(name, str))
    return frozenset(found)


def _options(declared: object) -> Iterator[object]:
    yield declared
    for key in ("anyOf", "oneOf"):
        options = _member_of(declared, key)
        if isinstance(options, list):
            yield from options[:MAX_TYPES]


def _member_of(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


# --- calls in Python ----------------------------------------------------------------------------

_BEGINS_CALL = re.compile(r"[\w.]+\s*(?:[\[>|\n]|$)")
"""What stands before the first bracket, from its end: a name, and what may stand before a call."""


class _PythonCalls(_Way):
    """Python calls with constants as keyword arguments: in a list, or one a line."""

    def _read(self) -> _Steps[None]:
        source = _Pieces(MAX_PYTHON)
        opened = False
        while True:
            source.add(self._text)
            if not opened and "(" in self._text:
                opened = True
                self.certain = _BEGINS_CALL.match(str(source).partition("(")[0][::-1]) is not None
            self._text = ""
            if self._ended:
                break
            yield
        try:
            calls = read_calls(str(source))
        except ValueError as error:
            raise _Malformed from error
        for name, arguments in calls:
            self._begin(name)
            self._emit(arguments)


_WAYS: Final[Mapping[ArgumentsAs, type[_Way]]] = {
    ArgumentsAs.MEMBER: _MemberCalls,
    ArgumentsAs.JSON: _JsonCalls,
    ArgumentsAs.NAMED: _ParameterCalls,
    ArgumentsAs.PYTHON: _PythonCalls,
}
