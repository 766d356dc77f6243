"""YAML text into plain values, each with its line and column. The only importer of ``yaml``.

Owns what a file may look like: scalars are read by the core schema of YAML 1.2 (``on`` is text),
and whatever says something else than it seems is a mistake. Knows nothing of what a file means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import yaml

from sidecar.errors import ConfigError, Mistake

Value: TypeAlias = "dict[str, Value] | list[Value] | str | int | float | bool | None"
KeyPath: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = tuple[int, int]
Loader: TypeAlias = "type[yaml.SafeLoader | yaml.CSafeLoader]"

MAX_BYTES: Final = 1024 * 1024
"""No file of rules comes near; a wrong path (a log, a model) is refused before it is read."""
MAX_DEPTH: Final = 64
"""The deepest sensible file has 6 levels; the bound keeps the reader's recursion harmless."""
MAX_DIGITS: Final = 18
"""What fits 64 bits; also keeps ``int()`` away from its own limit of 4300 digits."""

MAX_SHOWN: Final = 60
"""Characters of a key or of a value that a mistake repeats: it has to fit a line."""

_FAST: Final[Loader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What YAML forbids, the tab, and what YAML 1.1 took for a line break or a mark and editors do not.
_UNREADABLE = re.compile(
    "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BEYOND_UNICODE = re.compile(r"\\U(?!000|0010)")
_INT = re.compile(r"[-+]?[0-9]+")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NAMED: Final[Mapping[str, bool | float | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{
        sign + name: float(sign + "inf")
        for sign in ("", "+", "-")
        for name in (".inf", ".Inf", ".INF")
    },
}

_MISFIT: Final = "found something that does not fit, expected the indentation of lines above"
_SYNTAX: Final = (
    ("mapping values are not", "found a ':' where no key can be, expected quotes around the value"),
    ("sequence entries are not", "found a list inside a line, expected each item on its own line"),
    ("that cannot start any token", "found a character that starts no value, expected quotes"),
    ("expected <block end>", _MISFIT),
    ("expected '<document", _MISFIT),
    ("expected the node content", "found punctuation, expected a value; write it in quotes"),
    ("undefined tag handle", "found a tag (!), expected a plain or quoted value"),
    ("unknown escape character", 'found an unknown escape, expected \\\\ for a backslash in "…"'),
    ("escape sequence of", 'found an unfinished escape, expected hexadecimal digits in "…"'),
)
"""The parser's problem -> the sentence. What is not here speaks for itself."""
_UNFINISHED: Final = (
    ("could not find expected ':'", "found a line without ':', expected 'key: value'"),
    ("found unexpected end of stream", "found a quote that is never closed, expected its end"),
    ("expected ',' or ']'", "found a list that goes wrong, expected ',' or ']' after each item"),
    ("expected ',' or '}'", "found a mapping that goes wrong, expected ',' or '}' after each pair"),
)
"""The same for what the parser notices lines later: the mistake is where it begins."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file's value (plain dicts, lists and scalars) and where each part of it stands."""

    file: str
    value: Value = field(repr=False)
    places: Mapping[KeyPath, Place] = field(default_factory=dict, repr=False)
    key_places: Mapping[KeyPath, Place] = field(default_factory=dict, repr=False)

    def position(self, path: KeyPath) -> Place:
        """Line and column (from 1) of the value at ``path``, or of its nearest ancestor's."""
        return self.places.get(self.nearest(path), (0, 0))

    def key_position(self, path: KeyPath) -> Place:
        """Line and column (from 1) of the key that ``path`` ends in; failing that, the value's."""
        return self.key_places.get(path) or self.position(path)

    def nearest(self, path: KeyPath) -> KeyPath:
        """``path``, or as much of it as the document has."""
        while path and path not in self.places:
            path = path[:-1]
        return path

    def mistake(self, path: KeyPath, message: str, *, at_key: bool = False) -> Mistake:
        """A mistake of this file at the value (or the key) of ``path``."""
        line, column = self.key_position(path) if at_key else self.position(path)
        return Mistake(self.file, line, column, dotted(path), message)


def dotted(path: KeyPath) -> str:
    """``("rules", 0, "name")`` as ``rules.0.name``."""
    return ".".join(_printable(str(part)) for part in path)


def _printable(text: str) -> str:
    """A key as it can stand in a line."""
    short = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return short if short.isprintable() else repr(short)[1:-1]


def is_secret(path: KeyPath) -> bool:
    """Whether the value at ``path`` must not be shown to anyone."""
    return "api_key" in path or path[:1] == ("auth",)


def load(path: Path, until: str | None = None) -> Document:
    """Read the file at ``path``, as far as the key ``until`` on its outermost level;
    :class:`ConfigError` if that fails or it is not strict YAML."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise _whole(file, f"cannot be read ({reason}), expected a YAML file") from None
    _check_size(len(data), file)
    if until is not None:
        data = data.partition(f"\n{until}:".encode())[0] + b"\n"
    try:
        return parse(data.decode("utf-8"), file)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        message = f"found the byte 0x{data[error.start]:02x}, expected UTF-8 text"
        raise ConfigError([Mistake(file, *_place_in(before), "", message)]) from None


def parse(text: str, file: str, loader: Loader = _FAST) -> Document:
    """Read ``text``; ``file`` is the name that mistakes give. :class:`ConfigError` if not strict.

    The parser in C is a fast path: what it refuses is read again by the one in Python, so that a
    mistake has the same words and the same place with both.
    """
    _check_size(len(text.encode("utf-8", "surrogatepass")), file)
    text = text.removeprefix("\ufeff")
    _check_characters(text, file)
    try:
        return _read(text, file, loader)
    except ConfigError:
        return _read(text, file, yaml.SafeLoader)


def _whole(file: str, message: str) -> ConfigError:
    return ConfigError([Mistake(file, 0, 0, "", message)])


def _check_size(size: int, file: str) -> None:
    if size > MAX_BYTES:
        raise _whole(file, "found more than 1 MiB, expected a smaller file")


def _check_characters(text: str, file: str) -> None:
    found = _UNREADABLE.search(text)
    if found is None:
        return
    if found[0] == "\t":
        message = 'found a tab, expected spaces; in a value write "\\t"'
    else:
        code = f"{ord(found[0]):04X}"
        message = f'found the invisible character U+{code}, expected it as an escape in "…"'
    raise ConfigError([Mistake(file, *_place_in(text[: found.start()]), "", message)])


def _place_in(before: str) -> Place:
    """The place right after ``before``, with the line breaks of YAML: LF, CR, CRLF."""
    lines = re.split("\r\n|\r|\n", before)
    return len(lines), len(lines[-1]) + 1


def _read(text: str, file: str, loader: Loader) -> Document:
    reader = _Reader(text, file, loader)
    try:
        document = reader.document()
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax(error, file)]) from None
    except (ValueError, OverflowError):
        raise ConfigError([_beyond_unicode(text, file)]) from None
    if reader.mistakes:
        raise ConfigError(reader.mistakes)
    return document


def _beyond_unicode(text: str, file: str) -> Mistake:
    # The parser in Python gives no place for this, the only error that it leaves to Python.
    found = _BEYOND_UNICODE.search(text)
    before = text[: found.start()] if found else ""
    message = 'found an escape beyond "\\U0010ffff", expected a character that exists'
    return Mistake(file, *_place_in(before), "", message)


def _syntax(error: yaml.MarkedYAMLError, file: str) -> Mistake:
    problem = error.problem or error.context or "it cannot be read"
    for part, sentence in _UNFINISHED:
        if part in problem:
            return Mistake(file, *_place(error.context_mark), "", sentence)
    known = (sentence for part, sentence in _SYNTAX if part in problem)
    message = next(known, f"found something that is not YAML: {problem}")
    return Mistake(file, *_place(error.problem_mark or error.context_mark), "", message)


def _place(mark: _Mark | None) -> Place:
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


class _Mark(Protocol):
    """Where something stands, from 0: each of the two parsers has a class for it."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class _Reader:
    """Turns the parser's events into a value; mistakes that allow reading on are collected."""

    def __init__(self, text: str, file: str, loader: Loader) -> None:
        self.mistakes: list[Mistake] = []
        self._file = file
        self._places: dict[KeyPath, Place] = {}
        self._key_places: dict[KeyPath, Place] = {}
        self._flow = 0
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=loader)

    def document(self) -> Document:
        value: Value = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                self._check_start(event, documents)
            elif isinstance(event, yaml.NodeEvent):
                value = self._value(event, ())
        if value is None:
            self._places[()] = (1, 1)
        return Document(self._file, value, self._places, self._key_places)

    def _check_start(self, event: yaml.DocumentStartEvent, documents: int) -> None:
        if documents > 1:
            self._mistake(event, (), "found a second document, expected one a file")
        if event.version or event.tags:
            self._mistake(event, (), "found a % directive, expected none")

    def _mistake(self, event: yaml.Event, path: KeyPath, message: str) -> None:
        place = _place(event.start_mark)
        self.mistakes.append(Mistake(self._file, *place, dotted(path), message))

    def _value(self, event: yaml.Event, path: KeyPath) -> Value:
        self._places[path] = _place(event.start_mark)
        if len(path) > MAX_DEPTH:
            self._mistake(event, (), f"found more than {MAX_DEPTH} levels, expected fewer")
            raise ConfigError(self.mistakes)
        self._check_node(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if not isinstance(event, yaml.CollectionStartEvent):
            return None
        flow = bool(event.flow_style)
        self._flow += flow
        mapping = isinstance(event, yaml.MappingStartEvent)
        value: Value = self._mapping(path) if mapping else self._sequence(path)
        self._flow -= flow
        return value

    def _check_node(self, event: yaml.Event, path: KeyPath) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._mistake(event, path, "found an alias (*), expected the value written out")
        elif getattr(event, "anchor", None):
            self._mistake(event, path, "found an anchor (&), expected values without anchors")
        if getattr(event, "tag", None):
            self._mistake(event, path, "found a tag (!), expected a plain or quoted value")

    def _sequence(self, path: KeyPath) -> list[Value]:
        items: list[Value] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, Value]:
        pairs: dict[str, Value] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event, path)
            here = (*path, key)
            if key in pairs:
                first = self._key_places[here][0]
                self._mistake(event, here, f"found again, first on line {first}, expected it once")
            else:
                self._key_places[here] = _place(event.start_mark)
            pairs[key] = self._value(next(self._events), here)
            if pairs[key] is None:
                # Nothing was written there, so the key is what can be pointed at.
                self._places[here] = _place(event.start_mark)
        return pairs

    def _key(self, event: yaml.Event, path: KeyPath) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            self._mistake(event, path, "found a key of many parts, expected text as key")
            self._value(event, (*path, "?"))
            return "?"
        self._check_node(event, path)
        key = self._scalar(event, path)
        if key == "<<" and not event.style:
            self._mistake(event, path, "found the merge key <<, expected the keys written out")
        if isinstance(key, str):
            return key
        found = _printable(event.value) or "nothing"
        self._mistake(event, path, f"found {found} as key, expected text; write it in quotes")
        return str(event.value)

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> Value:
        text: str = event.value
        if event.style:
            if _SURROGATE.search(text):
                self._mistake(event, path, "found half a surrogate pair, expected a character")
            return text
        if self._flow and "?" in text:
            # The parser in C takes it, the one in Python does not; refused by both.
            self._mistake(event, path, "found a '?' in a plain value, expected quotes around it")
        if text in _NAMED:
            return _NAMED[text]
        if _INT.fullmatch(text):
            return self._int(event, path)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _int(self, event: yaml.ScalarEvent, path: KeyPath) -> int:
        text: str = event.value
        digits = text.lstrip("+-")
        if len(digits) > MAX_DIGITS:
            message = f"found a number of more than {MAX_DIGITS} digits, expected it in quotes"
            self._mistake(event, path, message)
            return 0
        if _LEADING_ZERO.fullmatch(text):
            self._mistake(event, path, _leading_zero(text, path))
        return int(text)


def _leading_zero(text: str, path: KeyPath) -> str:
    if is_secret(path):
        return "found a number with a leading 0, expected quotes around it"
    return f'found {text}, a number with a leading 0, expected {int(text)} or "{text}"'
