"""Where a close marker counts in a body written as JSON, and where such a body ends."""

from __future__ import annotations

import re

import pytest

from sidecar.core.channel import Channel
from sidecar.core.format import Body, Format, Region
from sidecar.core.jsonbody import JsonBody
from sidecar.core.lane import Lane
from sidecar.core.policy import Policy
from sidecar.core.vocabulary import Vocabulary
from tests.cuts import every_way
from tests.promises import channel_text, segments

CLOSED = Format("c", (Region("call", Channel.TOOL_CALL, ("<c>",), ("</c>",), body=Body.JSON),))
OPEN = Format("o", (Region("call", Channel.TOOL_CALL, ("[C]",), body=Body.JSON),))


def visible(format_: Format, text: str) -> str:
    vocabulary = Vocabulary([format_], Policy())
    found = segments(Lane(vocabulary), [text])
    for pieces in every_way(text, random_cuts=4):
        assert segments(Lane(vocabulary), pieces) == found, pieces
    return channel_text(found, Channel.CONTENT)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "x",
        "{}",
        '{"a": "</c>"}',
        '{"a": "\\"</c>"}',
        '["</c>", {"b": "\\\\"}]',
        '{"</c>": 1}',
        ' \n {"a": "}</c>"} \n ',
        '{"a": 1',
        '{"a": "b\n',
        'text with a { "quote',
        '"</c',
        '{"a": "\\u003c/c> </c>"}',
        '{} trailing "',
    ],
)
def test_a_close_marker_in_a_string_of_json_does_not_close(body: str) -> None:
    assert visible(CLOSED, f"A<c>{body}</c>B") == "AB"


@pytest.mark.parametrize("body", ['x "</c>', 'name {"a": "</c>', '"</c>'])
def test_in_a_body_that_does_not_begin_as_json_the_first_close_marker_closes(body: str) -> None:
    assert visible(CLOSED, f"A<c>{body}B</c>C") == f"A{body.partition('</c>')[2]}BC"


@pytest.mark.parametrize(
    "call",
    [
        "{}",
        "[]",
        'f{"a": [1, {"b": "}]"}]}',
        'f[ARGS]{"a": {}}',
        ' \n[{"a": "]"}, {}]',
        'f[X]\n{"a": "\\"}"}',
    ],
)
def test_without_a_close_marker_the_region_ends_with_the_value(call: str) -> None:
    assert visible(OPEN, f"A[C]{call}B [1] {{x}}") == "AB [1] {x}"


@pytest.mark.parametrize("call", ["", "f", "{", '{"a": "}', "f[", '[{"a": 1}', '{"a": "\\'])
def test_a_value_that_never_ends_stays_hidden(call: str) -> None:
    assert visible(OPEN, f"A[C]{call}") == "A"


def test_the_body_is_read_once_and_no_position_twice() -> None:
    body, text = JsonBody(Body.JSON, closes=False), '{"a": "b\\"", "c": [1, 2]}'
    stops = re.compile('["{}\\[\\]]')
    position, seen = 0, []
    while (position := body.seek(text, position, stops)) < len(text):
        seen.append(position)
        if body.take(text[position]):
            break
        position += 1
    assert seen == sorted(set(seen))
    assert position == len(text) - 1
    assert repr(body) == "<JsonBody after the value depth=0>"
