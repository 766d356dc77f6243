"""Members cut out of a JSON object's text: the rest keeps every byte, however it is written."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jsonmembers import KeyPath, without
from sidecar.core.jsontext import parse


@pytest.mark.parametrize(
    ("text", "paths", "left"),
    [
        ('{"a":1}', ["a"], "{}"),
        (' { "a" : 1 } \n', ["a"], " {} \n"),
        ('{"a":1,"b":2,"c":3}', ["a"], '{"b":2,"c":3}'),
        ('{"a":1,"b":2,"c":3}', ["b"], '{"a":1,"c":3}'),
        ('{"a":1,"b":2,"c":3}', ["c"], '{"a":1,"b":2}'),
        ('{"a":1,"b":2,"c":3}', ["c", "a"], '{"b":2}'),
        ('{\n  "a": 1,\n  "b": 2\n}', ["a"], '{\n  "b": 2\n}'),
        ('{\n  "a": 1,\n  "b": 2\n}', ["b"], '{\n  "a": 1}'),
        ('{"\\u0061":1,"b":2}', ["a"], '{"b":2}'),
        ('{"a\\"b":1,"b":2}', ['a"b'], '{"b":2}'),
        ('{"a":"}\\"],{","b":[{"a":"]"},"{"]}', ["a"], '{"b":[{"a":"]"},"{"]}'),
        ('{"b":[{"a":"]\\\\"},"{"],"a":2}', ["b"], '{"a":2}'),
        ('{"a":true,"b":1.0e400,"c":-0.0}', ["a"], '{"b":1.0e400,"c":-0.0}'),
        ('{"x":{"a":1,"b":{"a":2}},"a":3}', ["x.a"], '{"x":{"b":{"a":2}},"a":3}'),
        ('{"x":{"a":1,"b":{"a":2}},"a":3}', ["x.b.a", "a"], '{"x":{"a":1,"b":{}}}'),
        ('{"x" : { "a" : 1 } , "a":3}', ["x.a"], '{"x" : {} , "a":3}'),
        ('{"a":"\\ud83e","b":"é"}', ["b"], '{"a":"\\ud83e"}'),
    ],
)
def test_members_are_cut_out(text: str, paths: list[str], left: str) -> None:
    """With the comma that only they needed, and with the white space around them."""
    cut = without(text.encode(), [tuple(path.split(".")) for path in paths])
    assert cut.decode() == left
    parse(cut)


class Member(NamedTuple):
    """One member as it is written, in pieces."""

    key: str
    before: str
    value: str | list[Member]
    after: str


BLANK = st.sampled_from(["", "", " ", "\n\t", "\r\n "])
NUMBERS = ["0", "-0", "1.0", "1.10", "1e400", "-1E+3", "0.1000000000000000055", "9" * 40]
ODD_STRINGS = ['"\\u003c\\/"', '"\\ud83e"', '"\\\\"', '"\\"}"', '"],{"', '"\u2028"', '"é"', '""']
TEXTS = st.text('a"\\\n{}[],:é\U0001f6a2\x00 ', max_size=6)
STRINGS = st.builds(json.dumps, TEXTS, ensure_ascii=st.booleans())
SCALARS = st.sampled_from([*NUMBERS, *ODD_STRINGS, "true", "false", "null"]) | STRINGS
LISTS = st.builds(
    lambda items, blank: f"[{blank}{f',{blank}'.join(items)}{blank}]",
    st.lists(SCALARS | st.just('{"a": [{}]}'), max_size=3),
    BLANK,
)


def keys(text: str) -> st.SearchStrategy[str]:
    """How a key may be written."""
    spelt = "".join(f"\\u{ord(character):04x}" for character in text)
    return st.sampled_from([json.dumps(text), f'"{spelt}"'])


@st.composite
def objects(draw: st.DrawFn, depth: int = 2) -> list[Member]:
    """The members of an object."""
    members = []
    for key in draw(st.lists(st.sampled_from(["a", "b", "é", "x y", ""]), unique=True)):
        inside = depth and draw(st.booleans())
        value = draw(objects(depth - 1)) if inside else draw(SCALARS | LISTS)
        before = draw(BLANK) + draw(keys(key)) + draw(BLANK) + ":" + draw(BLANK)
        members.append(Member(key, before, value, draw(BLANK)))
    return members


def written(members: list[Member], cut: set[KeyPath], at: KeyPath = ()) -> str:
    """The object without the members at ``cut``."""
    kept = []
    for key, before, value, after in members:
        path = (*at, key)
        if path not in cut:
            text = value if isinstance(value, str) else written(value, cut, path)
            kept.append(before + text + after)
    return "{" + ",".join(kept) + "}"


def paths_in(members: list[Member], at: KeyPath = ()) -> list[KeyPath]:
    """Where its members are."""
    found: list[KeyPath] = []
    for key, _, value, _ in members:
        found += [(*at, key), *([] if isinstance(value, str) else paths_in(value, (*at, key)))]
    return found


def exactly(text: bytes) -> Any:
    """A text's value, with numbers as they were written."""
    return json.loads(text, parse_int=lambda n: ("number", n), parse_float=lambda n: ("number", n))


def pruned(value: Any, cut: set[KeyPath], at: KeyPath = ()) -> Any:
    """An object's value without the members at ``cut``."""
    if not isinstance(value, dict):
        return value
    return {
        key: pruned(item, cut, (*at, key)) for key, item in value.items() if (*at, key) not in cut
    }


@given(objects(), st.data(), BLANK, BLANK)
def test_nothing_else_is_changed(
    members: list[Member], data: st.DataObject, before: str, after: str
) -> None:
    """Numbers, escapes, white space and the order of keys: the text is the one that would have been
    written without the members, and its value is the old one without them."""
    found = paths_in(members)
    cut = set(data.draw(st.lists(st.sampled_from(found), unique=True))) if found else set()
    text = (before + written(members, set()) + after).encode("utf-8")
    left = without(text, cut)
    assert left == (before + written(members, cut) + after).encode("utf-8")
    assert exactly(left) == pruned(exactly(text), cut)
    parse(left)
