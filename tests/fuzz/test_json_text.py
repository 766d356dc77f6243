"""JSON texts, right and damaged: what is read is what others read, in the only way to read it."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import orjson
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jsonmembers import without
from sidecar.core.jsontext import MAX_DEPTH, MalformedJSON, Number, dump, parse
from tests.fuzz import corpus
from tests.fuzz.budget import examples
from tests.fuzz.engine import NAMES
from tests.fuzz.mutations import ODD, bytewise, damaged, dumped

_TEXTS = tuple(text for name in NAMES for text in corpus.documents(name)[:60])
_VALUES = st.recursive(
    ODD,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@examples(400)
@given(bytewise(_TEXTS) | st.binary(max_size=30))
def test_what_is_read_is_what_the_standard_library_reads(text: bytes) -> None:
    """And what is not read is no JSON to it, or nested too deeply, or has a key twice."""
    try:
        parsed = parse(text)
    except MalformedJSON:
        assert _strictly(text) is _NOT_READ
        return
    assert _plain(parsed.value) == _strictly(text)
    again = dump(parsed.value, exact=parsed.exact)
    assert _strictly(again) == _strictly(text)


@examples(150)
@given(_VALUES, st.integers(0, 2))
def test_every_value_is_read_and_written(value: Any, style: int) -> None:
    """Lone halves of characters, numbers of any size, and keys of any text too."""
    text = dumped(value, style).encode()
    parsed = parse(text)
    assert json.loads(dump(parsed.value, exact=parsed.exact)) == json.loads(text)


@examples(150)
@given(st.data())
def test_members_are_taken_out_and_the_rest_stays(data: st.DataObject) -> None:
    """Whatever the text of an object looks like, and whichever of its members are unwanted."""
    value = data.draw(st.sampled_from(_TEXTS).map(json.loads).flatmap(damaged))
    if not isinstance(value, dict):
        return
    text = dumped(value, data.draw(st.integers(0, 2))).encode()
    paths = data.draw(st.lists(_paths(value), max_size=4))
    left = without(text, paths)
    expected = value
    for path in paths:
        expected = _removed(expected, path)
    assert json.loads(left) == expected
    assert left == text or expected != value


@st.composite
def _paths(draw: st.DrawFn, value: Any, /) -> tuple[str, ...]:
    """The keys that lead to one of the members of an object, or to none."""
    if not isinstance(value, dict) or not value:
        return ("zz",)
    key = draw(st.sampled_from(sorted(value)))
    goes_on = isinstance(value[key], dict) and draw(st.booleans())
    return (key, *(draw(_paths(value[key])) if goes_on else ()))


def _removed(value: Any, path: tuple[str, ...]) -> Any:
    key, *rest = path
    if not isinstance(value, dict) or key not in value:
        return value
    if rest:
        return value | {key: _removed(value[key], tuple(rest))}
    return {other: item for other, item in value.items() if other != key}


_NOT_READ = object()


def _strictly(text: bytes) -> Any:
    """The value by the standard library, its numbers as they are written."""
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=_pairs,
            parse_constant=_refuse,
            parse_int=lambda digits: ("number", digits),
            parse_float=lambda digits: ("number", digits),
        )
    except (ValueError, RecursionError):
        return _NOT_READ
    return value if _depth(value) <= MAX_DEPTH else _NOT_READ


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def _refuse(_: str) -> NoReturn:
    raise ValueError


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def _plain(value: Any) -> Any:
    """A value of ours, as :func:`_strictly` has it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Number) or type(value) in (int, float):
        return ("number", str(value) if isinstance(value, Number) else orjson.dumps(value).decode())
    return value
