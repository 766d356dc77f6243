"""JSON text: what is read natively, what exactly, what is refused, and that no digit is lost."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jsontext import MAX_DEPTH, MalformedJSON, Number, dump, parse


def test_compact_text_is_read_natively() -> None:
    parsed = parse(b'{"a":[1,2.5,true,null,"\xc3\xa9"]}')
    assert parsed.value == {"a": [1, 2.5, True, None, "é"]}
    assert not parsed.exact


@pytest.mark.parametrize(
    "number",
    ["123456789012345678901234567890", "1.0e5", "-0.0", "1E400", "0.1000000000000000055", "1.10"],
)
def test_a_number_keeps_its_digits_where_another_key_is_edited(number: str) -> None:
    value, exact, *_ = parse(b'{"a":%s,"b":"x"}' % number.encode())
    value["b"] = "y"
    assert dump(value, exact=exact) == b'{"a":%s,"b":"y"}' % number.encode()


def test_numbers_of_the_exact_way_are_no_strings_in_the_text() -> None:
    value, exact, *_ = parse(b'{"a": [1.50]}')
    assert exact
    assert value == {"a": [Number("1.50")]}
    assert dump(value, exact=True) == b'{"a":[1.50]}'


def test_white_space_goes_the_exact_way_and_comes_back_compact() -> None:
    value, exact, *_ = parse(b' { "a" : 1 ,\n"b" : [ ] } ')
    assert dump(value, exact=exact) == b'{"a":1,"b":[]}'


def test_a_lone_surrogate_survives() -> None:
    value, exact, *_ = parse(b'{"a":"x\\ud83e","b":1}')
    assert value["a"] == "x\ud83e"
    assert dump(value, exact=exact) == b'{"a":"x\\ud83e","b":1}'


def test_a_lone_surrogate_in_a_value_of_ours_is_written_too() -> None:
    assert dump({"a": "\udd14"}, exact=False) == b'{"a":"\\udd14"}'


def test_an_escaped_key_is_the_key_it_spells() -> None:
    assert parse(b'{"\\u0063ontent":1}').value == {"content": Number("1")}


@pytest.mark.parametrize(
    "text",
    [b'{"a":1,"a":2}', b'{"b":{"a":1,"a":1}}', b'[{"a":1,"\\u0061":2}]'],
)
def test_a_duplicate_key_is_refused_however_it_is_spelled(text: bytes) -> None:
    with pytest.raises(MalformedJSON):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"{}x",
        b"{'a':1}",
        b'{"a":1,}',
        b"[01]",
        b'{"a":NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'"a\nb"',
        b'"\\x"',
        b'"\\u12"',
        b"data",
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-16-le"),
        b'"\xff"',
        b'"\xc0\xbc"',
        b'"\xe0\x80\xbc"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
    ],
)
def test_what_is_not_json_in_utf_8_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedJSON):
        parse(text)


def test_the_error_does_not_quote_the_text() -> None:
    with pytest.raises(MalformedJSON) as caught:
        parse(b'{"a": "secret')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("space", [b"", b" "], ids=["compact", "exact"])
def test_nesting_up_to_the_limit_is_read_and_written(space: bytes) -> None:
    text = b"[" * MAX_DEPTH + space + b"]" * MAX_DEPTH
    value, exact, *_ = parse(text)
    assert dump(value, exact=exact) == text.replace(b" ", b"")


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 200, 300, 900, 5000, 100_000])
@pytest.mark.parametrize("space", [b"", b" "], ids=["compact", "exact"])
def test_deeper_nesting_is_refused(space: bytes, depth: int) -> None:
    with pytest.raises(MalformedJSON):
        parse(b'{"a":' * depth + space + b"1" + b"}" * depth)
    with pytest.raises(MalformedJSON):
        parse(b"[" * depth + space + b"]" * depth)


def test_brackets_in_strings_are_no_nesting() -> None:
    text = b'{"a":"%s"}' % (b"[{" * 1000)
    assert parse(text).value == {"a": "[{" * 1000}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_is_read_and_written_says_the_same(
    value: object, indent: int | None, ascii_only: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    parsed = parse(text)
    again = dump(parsed.value, exact=parsed.exact)
    assert json.loads(again) == json.loads(text)
