"""Tool calls in text, read into names and arguments: every way of writing, cut anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import callreader, jsontext
from sidecar.core.callreader import (
    MAX_ARGUMENTS,
    MAX_HEAD,
    MAX_NAME,
    Begin,
    CallEvent,
    CallFacts,
    CallReader,
    Unreadable,
)
from sidecar.core.format import Arguments, ArgumentsAs, ToolName
from sidecar.core.pythoncalls import MAX_PYTHON
from tests.cuts import every_way, two_way, units

HERMES = CallFacts(
    ToolName(json="name"), Arguments(ArgumentsAs.MEMBER, keys=("arguments", "parameters"))
)
COHERE = CallFacts(ToolName(json="tool_name"), Arguments(ArgumentsAs.MEMBER, keys=("parameters",)))
APERTUS = CallFacts(ToolName(json="*"), Arguments(ArgumentsAs.MEMBER))
KIMI = CallFacts(
    ToolName(
        after="<|tool_call_begin|>",
        until=("<|tool_call_argument_begin|>", "<|tool_call_end|>"),
        strip=("functions.",),
        until_last=":",
    ),
    Arguments(ArgumentsAs.JSON),
)
DEEPSEEK = CallFacts(
    ToolName(
        after="<｜tool▁call▁begin｜>",
        until=("\n", "{", "<｜tool▁call▁end｜>"),
        strip=("function<｜tool▁sep｜>",),
        until_last="<｜tool▁sep｜>",
    ),
    Arguments(ArgumentsAs.JSON),
)
MISTRAL = CallFacts(
    ToolName(after="[TOOL_CALLS]", until=("[ARGS]", "[CALL_ID]", "{"), once=True),
    Arguments(ArgumentsAs.JSON),
)
HARMONY = CallFacts(
    ToolName(after=" to=", until=(" ", "<"), strip=("functions.",), once=True),
    Arguments(ArgumentsAs.JSON),
)
FUNCTIONARY = CallFacts(ToolName(after="<function=", until=(">",)), Arguments(ArgumentsAs.JSON))
QWEN = CallFacts(
    ToolName(after="<function=", until=(">",)),
    Arguments(ArgumentsAs.NAMED, key=("<parameter=", ">"), value=("", "</parameter>")),
)
MINIMAX = CallFacts(
    ToolName(after='<invoke name="', until=('"',)),
    Arguments(ArgumentsAs.NAMED, key=('<parameter name="', '"'), value=(">", "</parameter>")),
)
GLM = CallFacts(
    ToolName(after="<tool_call>", until=("\n", "<arg_key>", "</tool_call>")),
    Arguments(
        ArgumentsAs.NAMED, key=("<arg_key>", "</arg_key>"), value=("<arg_value>", "</arg_value>")
    ),
)
GEMMA = CallFacts(
    ToolName(after="call:", until=("{",)),
    Arguments(ArgumentsAs.NAMED, key=("", ":"), value=("<escape>", "<escape>")),
)
PYTHON = CallFacts(ToolName(after="[", until=("(",)), Arguments(ArgumentsAs.PYTHON))
IN_TOOL_CALL = (HERMES, QWEN, GLM)

BROKEN = "unreadable"
"""Stands where the region turned out to be unreadable, for the last call that had begun too."""

Call = tuple[str, Any] | str


def joined(events: Sequence[CallEvent]) -> list[CallEvent]:
    """``events`` without the boundaries between pieces of arguments."""
    found: list[CallEvent] = []
    for event in events:
        assert event != ""
        if isinstance(event, str) and found and isinstance(found[-1], str):
            found[-1] += event
        else:
            found.append(event)
    return found


def read(
    facts: Sequence[CallFacts],
    pieces: Sequence[str],
    schemas: Mapping[str, object] | None = None,
) -> list[CallEvent]:
    reader = CallReader(facts, schemas or {})
    events = [event for piece in pieces for event in reader.feed(piece)]
    return joined(events + reader.finish())


def calls(
    facts: Sequence[CallFacts], text: str, schemas: Mapping[str, object] | None = None
) -> list[Call]:
    """The calls in ``text``, which are the same wherever it is cut."""
    events = read(facts, [text], schemas)
    for pieces in every_way(text, random_cuts=4):
        assert read(facts, pieces, schemas) == events, pieces
    found: list[Call] = []
    while events:
        begin = events.pop(0)
        if begin == Unreadable():
            assert not events
            found.append(BROKEN)
        elif isinstance(begin, Begin) and events and isinstance(events[0], str):
            if events[1:2] == [Unreadable()]:
                del events[0]
            else:
                written = events.pop(0)
                assert isinstance(written, str)
                found.append((begin.name, json.loads(written)))
        else:
            assert events == [Unreadable()], begin
    return found


# --- JSON objects with a name in them -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"name": "a", "arguments": {"x": 1}}', [("a", {"x": 1})]),
        ('\n{\n "name" : "a" ,\n "arguments" : { "x" : [1, {"y": "}"}] }\n}\n',
         [("a", {"x": [1, {"y": "}"}]})]),
        ('{"arguments": {"name": "Bo"}, "name": "a"}', [("a", {"name": "Bo"})]),
        ('{"name": "a"}', [("a", {})]),
        ('{"name": "a", "arguments": null}', [("a", {})]),
        ('{"arguments": null, "name": "a"}', [("a", {})]),
        ('{"name": "a", "arguments": ""}', [("a", {})]),
        ('{"name": "a", "arguments": "{\\"x\\": \\"\\\\\\"\\"}"}', [("a", {"x": '"'})]),
        ('{"arguments": " {} ", "name": "a"}', [("a", {})]),
        ('{"name": "a", "parameters": {"x": 1}}', [("a", {"x": 1})]),
        ('{"id": "1", "type": ["f", {}], "name": "a", "arguments": {"x": 1}, "n": 1}',
         [("a", {"x": 1})]),
        ('{"id": {"x": ",}"}, "name": "a", "arguments": {"x": 1}}', [("a", {"x": 1})]),
        ('[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {"x": "]"}}]',
         [("a", {}), ("b", {"x": "]"})]),
        ('{"name": "a"}; {"name": "b"}', [("a", {}), ("b", {})]),
        ('{"name": "\\u0061"}', [("a", {})]),
        ('{"name": "a.b/c-d:e_f"}', [("a.b/c-d:e_f", {})]),
        ('{"name": "a", "arguments": {"x": "</tool_call>\\\\"}}', [("a", {"x": "</tool_call>\\"})]),
    ],
)  # fmt: skip
def test_a_json_object_with_a_name(text: str, found: list[Call]) -> None:
    assert calls([HERMES], f"<tool_call>{text}</tool_call>") == found


@pytest.mark.parametrize("marker", ["[TOOL_CALLS] [", " functools[", "Action:\n```json\n[", "["])
def test_the_marker_may_begin_the_json(marker: str) -> None:
    text = marker + '{"name": "a", "arguments": {"x": 1}}]'
    assert calls([HERMES], text) == [("a", {"x": 1})]


def test_other_keys() -> None:
    text = '<|START_ACTION|>[{"tool_call_id": "0", "tool_name": "a", "parameters": {"x": 1}}]'
    assert calls([COHERE], text) == [("a", {"x": 1})]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"a": {"x": 1}}]', [("a", {"x": 1})]),
        ('[{"a": {"a": {}}}, {"b": {}}]', [("a", {"a": {}}), ("b", {})]),
        ('[{"a": null}]', [("a", {})]),
        ('[{"a": {}, "b": {}}]', [BROKEN]),
        ("[{}]", [BROKEN]),
    ],
)
def test_the_only_key_is_the_name(text: str, found: list[Call]) -> None:
    assert calls([APERTUS], f"<|tools_prefix|>{text}<|tools_suffix|>") == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "no call",
        "{}",
        "{",
        "{]",
        '{"name": 1}',
        '{"name": ""}',
        '{"name": "a b"}',
        '{"name": "a", "name": "b"}',
        '{"name": "a", "arguments": {}, "parameters": {}}',
        '{"arguments": {"x": 1}}',
        '{"name": "a", "arguments": [1]}',
        '{"name": "a", "arguments": "[1]"}',
        '{"name": "a", "arguments": "x"}',
        '{"name": "a", "arguments": 123456789012345678901234567890}',
        '{"name": "a", "arguments": true}',
        '{"name": "a", "input": {"x": 1}}',
        '{"name": "a", "arguments": {"x": NaN}}',
        '{"name": "a", "arguments": {"x": Infinity}}',
        '{"name": "a", "arguments": {"x": 1, "x": 2}}',
        '{"name": "a", "arguments": {"x": 01}}',
        '{"name": "a", "arguments": {"x": "a\nb"}}',
        '{"name": "a", "arguments": {x: 1}}',
        '{"name": "a", "arguments": {"x": [1}}',
        '{"name": "a", "arguments": {"x": 1]}',
        '{"name": "a", "arguments": {"x": 1',
        '{"name": "a", "arguments": {"x": "',
        '{"name": "a", "arguments": {"x": "\\',
        '{"name": "a", "arguments": "{}',
        '{"name": "a"',
        '{"name": "a',
        '{"name" "a"}',
        '{"name": "a", "id": 1]}',
        '{"name": "a" "arguments": {}}',
        "{name: 'a'}",
        '{"name": "\\ud800"}',
        '{"' + "n" * MAX_NAME + '": 1, "name": "a"}',
        '{"name": "' + "n" * MAX_NAME + '"}',
        'print({"name": "a"})',
        'x = {"name": "a"}',
    ],
)
def test_what_is_no_json_object_with_a_name_and_arguments(text: str) -> None:
    assert calls([HERMES], f"<tool_call>{text}") == [BROKEN]


def test_a_call_before_the_unreadable_one_is_read() -> None:
    events = read([HERMES], ['[{"name": "a"}, {"nam": "b"}]'])
    assert events == [Begin("a"), "{}", Unreadable()]


@pytest.mark.parametrize(
    "value", ["1" * 5000, '"\\ud800"', '"\ud800"', "1e999", "[" * 90 + "]" * 90]
)
def test_values_that_not_every_library_reads_go_through(value: str) -> None:
    text = f'{{"name": "a", "arguments": {{"x": {value}}}}}'
    assert read([HERMES], [text]) == [Begin("a"), f'{{"x": {value}}}']


@pytest.mark.parametrize("opener", ["[", '{"a":', '[{"a":'])
def test_deep_nesting_is_unreadable(opener: str) -> None:
    text = '{"name": "a", "arguments": {"x": ' + opener * 50_000
    assert read([HERMES], [text])[-1] == Unreadable()
    closer = "".join({"[": "]", "{": "}"}.get(c, "") for c in reversed(opener)) * 50_000
    text = text + "1" + closer + "}}"
    assert read([HERMES], [text])[-1] == Unreadable()


# --- a name between literals, then JSON ---------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "text", "found"),
    [
        (KIMI, "<|tool_calls_section_begin|><|tool_call_begin|>functions.a:0"
               '<|tool_call_argument_begin|>{"x":1}<|tool_call_end|>\n<|tool_call_begin|>'
               "functions.b:1<|tool_call_argument_begin|>{}<|tool_call_end|>",
         [("a", {"x": 1}), ("b", {})]),
        (KIMI, "<|tool_call_begin|>functions.a:0<|tool_call_end|><|tool_call_begin|>functions.b:1"
               '<|tool_call_argument_begin|>{"x":1}<|tool_call_end|>',
         [("a", {}), ("b", {"x": 1})]),
        (KIMI, '<|tool_call_begin|>3<|tool_call_argument_begin|>{"x":1}', [BROKEN]),
        (KIMI, '<|tool_call_begin|>a:0<|tool_call_argument_begin|>{"x":"<|tool_call_begin|>b:1"}',
         [("a", {"x": "<|tool_call_begin|>b:1"})]),
        (DEEPSEEK, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>a\n```json\n"
                   '{"x": {"y": 1}}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
         [("a", {"x": {"y": 1}})]),
        (DEEPSEEK, '<｜tool▁call▁begin｜>a<｜tool▁sep｜>{"x": 1}<｜tool▁call▁end｜>'
                   "<｜tool▁call▁begin｜>b<｜tool▁sep｜><｜tool▁call▁end｜>",
         [("a", {"x": 1}), ("b", {})]),
        (MISTRAL, '[TOOL_CALLS]a[ARGS]{"name": "Bo"}', [("a", {"name": "Bo"})]),
        (MISTRAL, '[TOOL_CALLS]a{"x": 1}', [("a", {"x": 1})]),
        (MISTRAL, '[TOOL_CALLS]a[CALL_ID]a1b2[ARGS]{"x": "[TOOL_CALLS]b{"}',
         [("a", {"x": "[TOOL_CALLS]b{"})]),
        (MISTRAL, "[TOOL_CALLS]a", [BROKEN]),
        (MISTRAL, '[TOOL_CALLS][{"name": "a"}]', [BROKEN]),
        (HARMONY, "<|channel|>commentary to=functions.a <|constrain|>json<|message|>"
                  '{"q":"go to=Paris"}<|call|>',
         [("a", {"q": "go to=Paris"})]),
        (HARMONY, " to=functions.a<|channel|>commentary <|constrain|>json<|message|>{}<|call|>",
         [("a", {})]),
        (HARMONY, "<|channel|>commentary to=functions.now<|message|><|call|>", [("now", {})]),
        (HARMONY, '<|channel|>analysis to=python code<|message|>print({"x": 1})<|call|>', [BROKEN]),
        (HARMONY, "<|channel|>analysis to=python code<|message|>print(1)<|call|>", [BROKEN]),
        (FUNCTIONARY, '<function=a>{"x": 1}</function><function=b></function>',
         [("a", {"x": 1}), ("b", {})]),
        (FUNCTIONARY, "<function=a>{x: 1}</function>", [BROKEN]),
        (FUNCTIONARY, '<function=a>{"x": 1</function>', [BROKEN]),
        (FUNCTIONARY, "<function=>{}</function>", [BROKEN]),
        (FUNCTIONARY, "no call", [BROKEN]),
        (FUNCTIONARY, "<function=" + "a" * (MAX_NAME + 1) + ">{}", [BROKEN]),
        (FUNCTIONARY, "<function=a>" + "-" * (MAX_HEAD + 1) + "{}", [BROKEN]),
    ],
)  # fmt: skip
def test_a_name_between_literals_and_json(facts: CallFacts, text: str, found: list[Call]) -> None:
    if len(text) < 1000:
        assert calls([facts], text) == found
    else:
        assert read([facts], [text])[-1] == read([facts], units(text))[-1] == Unreadable()


# --- arguments between literals -----------------------------------------------------------------

SCHEMA = {
    "a": {
        "properties": {
            "s": {"type": "string"},
            "i": {"type": "integer"},
            "n": {"type": "number"},
            "b": {"type": "boolean"},
            "o": {"type": "object"},
            "l": {"type": "array"},
            "sn": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "si": {"type": ["string", "integer"]},
            "sl": {"oneOf": [{"type": "string"}, {"type": "array"}]},
        }
    }
}


@pytest.mark.parametrize(
    ("facts", "text", "found"),
    [
        (QWEN, "<tool_call>\n<function=a>\n<parameter=x>\n3\n</parameter>\n<parameter=y>\nb c\n"
               "</parameter>\n</function>\n</tool_call>",
         [("a", {"x": 3, "y": "b c"})]),
        (QWEN, "<function=a></function>", [("a", {})]),
        (QWEN, "<function=a>\n<function=b><parameter=x>1</parameter></function>",
         [("a", {}), ("b", {"x": 1})]),
        (QWEN, "<function=a><parameter=x>1</parameter></function><function=b></function>",
         [("a", {"x": 1}), ("b", {})]),
        (QWEN, "<function=a><parameter=x>\n\n  if a < b:\r\n\tc</param \n\n</parameter>",
         [("a", {"x": "\n  if a < b:\r\n\tc</param \n"})]),
        (QWEN, "<function=a><parameter=x>\r\nv\r\n</parameter>", [("a", {"x": "\r\nv\r"})]),
        (QWEN, "<function=a><parameter=x></parameter><parameter=y>\n</parameter>",
         [("a", {"x": "", "y": ""})]),
        (QWEN, "<function=a><parameter=x> </parameter><parameter=y>\n\n\n</parameter>",
         [("a", {"x": " ", "y": "\n"})]),
        (QWEN, "<function=a><parameter=x>1</parameter><parameter=x>2</parameter>", [BROKEN]),
        (QWEN, "<function=a><parameter=x>1", [BROKEN]),
        (QWEN, "<function=a><parameter=x>some text", [BROKEN]),
        (QWEN, "<function=a><parameter=x", [BROKEN]),
        (QWEN, "<function=a><parameter=>1</parameter>", [BROKEN]),
        (QWEN, "<function=a><parameter=x>", [BROKEN]),
        (QWEN, "<function=a", [BROKEN]),
        (QWEN, "<function=a b>", [BROKEN]),
        (QWEN, "<tool_call></tool_call>", [BROKEN]),
        (MINIMAX, '<minimax:tool_call>\n<invoke name="a">\n<parameter name="x">1</parameter>\n'
                  '</invoke>\n<invoke name="b">\n<parameter name="y">[1, 2]</parameter>\n'
                  "</invoke></minimax:tool_call>",
         [("a", {"x": 1}), ("b", {"y": [1, 2]})]),
        (MINIMAX, '<invoke name="a"/><invoke name="b">', [("a", {}), ("b", {})]),
        (MINIMAX, '<invoke name="a"><parameter name="x" string="true">1</parameter>'
                  '<parameter name="y" string="false">1</parameter>'
                  '<parameter name="z" type="string">[1]</parameter>',
         [("a", {"x": "1", "y": 1, "z": "[1]"})]),
        (MINIMAX, '<invoke name="a"><parameter name="x"', [BROKEN]),
        (GLM, "<tool_call>a\n<arg_key>x</arg_key>\n<arg_value>1</arg_value>\n"
              "<arg_key>y</arg_key>\n<arg_value>z</arg_value>\n</tool_call>",
         [("a", {"x": 1, "y": "z"})]),
        (GLM, "<tool_call>a<arg_key>x</arg_key><arg_value>{}</arg_value></tool_call>",
         [("a", {"x": {}})]),
        (GLM, "<tool_call>\na\n</tool_call>", [("a", {})]),
        (GLM, "<tool_call>a</tool_call>", [("a", {})]),
        (GLM, "<tool_call>a<arg_key>x</arg_key><arg_key>y</arg_key><arg_value>1</arg_value>",
         [BROKEN]),
        (GEMMA, "<start_function_call>call:a{x:<escape>1<escape>,y:<escape>b:c<escape>}<end>",
         [("a", {"x": 1, "y": "b:c"})]),
        (GEMMA, "<start_function_call>call:a{}<end_function_call>", [("a", {})]),
        (GEMMA, "call:a{x:<escape>1<escape>}call:b{}", [("a", {"x": 1}), ("b", {})]),
    ],
)  # fmt: skip
def test_arguments_between_literals(facts: CallFacts, text: str, found: list[Call]) -> None:
    assert calls([facts], text) == found


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("s", "3", "3"),
        ("s", '"3"', '"3"'),
        ("s", "null", "null"),
        ("i", "3", 3),
        ("i", " 3 ", 3),
        ("i", "three", "three"),
        ("i", "12 months", "12 months"),
        ("n", "-1.5e3", -1500.0),
        ("b", "true", True),
        ("b", "True", True),
        ("b", "None", None),
        ("o", '{"x": "</p>"}', {"x": "</p>"}),
        ("o", '{"x": 1, "x": 2}', '{"x": 1, "x": 2}'),
        ("l", '[1, "2"]', [1, "2"]),
        ("l", "[1", "[1"),
        ("sn", "null", None),
        ("sn", "3", "3"),
        ("si", "3", 3),
        ("si", "true", "true"),
        ("sl", '["x"]', ["x"]),
        ("sl", '{"x": 1}', '{"x": 1}'),
        ("?", "3", 3),
        ("?", "true", True),
        ("?", "True", "True"),
        ("?", "null", None),
        ("?", '"quoted"', '"quoted"'),
        ("?", "NaN", "NaN"),
        ("?", "003", "003"),
        ("?", "[1] is a source", "[1] is a source"),
        ("?", "new\nlines", "new\nlines"),
        ("?", 'a "b" \\ \x00', 'a "b" \\ \x00'),
    ],
)
def test_a_value_is_what_the_schema_says_or_else_what_it_looks_like(
    key: str, text: str, value: object
) -> None:
    call = f"<function=a>\n<parameter={key}>\n{text}\n</parameter>\n</function>"
    assert calls([QWEN], call, SCHEMA) == [("a", {key: value})]


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        "object",
        {"properties": []},
        {"properties": {"x": 1}},
        {"properties": {"x": {"type": 1}}},
        {"properties": {"x": {"type": [[], {}, None]}}},
        {"properties": {"x": {"anyOf": {}}}},
        {"properties": {"x": {"anyOf": [None, 1, {"type": {}}]}}},
        {"properties": {"x": {"$ref": "#"}}},
    ],
)
def test_a_schema_may_be_anything(schema: object) -> None:
    text = "<function=a><parameter=x>1</parameter></function>"
    assert calls([QWEN], text, {"a": schema}) == [("a", {"x": 1})]


def test_a_declared_tool_may_be_called_anything() -> None:
    assert calls([HERMES], '{"name": "find a seat"}', {"find a seat": {}}) == [("find a seat", {})]


# --- Python -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[a(x=1, y="b")]', [("a", {"x": 1, "y": "b"})]),
        ("<|python_start|>[a(), b.c(x=[1, (2, -3.5)], y={'k': None})]<|python_end|>",
         [("a", {}), ("b.c", {"x": [1, [2, -3.5]], "y": {"k": None}})]),
        ("<function_calls>\na(x=True)\nb(y=true, z=null)\n</function_calls>",
         [("a", {"x": True}), ("b", {"y": True, "z": None})]),
        ("```tool_code\na(x='it\\'s \\d (ok)')\n```", [("a", {"x": "it's \\d (ok)"})]),
        ("[\n  a(\n    x=1,\n  ),\n]", [("a", {"x": 1})]),
        ("a(), b()", [("a", {}), ("b", {})]),
        ("a(x='é ✿ \U0001f600')", [("a", {"x": "é ✿ \U0001f600"})]),
        ("", [BROKEN]),
        ("[]", [BROKEN]),
        ("see [this](https://x)", [BROKEN]),
        ("a(1)", [BROKEN]),
        ("a(*x)", [BROKEN]),
        ("a(**x)", [BROKEN]),
        ("a(x=1, x=2)", [BROKEN]),
        ("a(x=y)", [BROKEN]),
        ("a(x=1j)", [BROKEN]),
        ("a(x=b'')", [BROKEN]),
        ("a(x=...)", [BROKEN]),
        ("a(x={1: 2})", [BROKEN]),
        ("a(x={**y})", [BROKEN]),
        ("a(x={1})", [BROKEN]),
        ("a(x=f'{y}')", [BROKEN]),
        ("a(x=1e999)", [BROKEN]),
        ("a(x=1+1)", [BROKEN]),
        ("a(x=-'b')", [BROKEN]),
        ("a(x=b())", [BROKEN]),
        ("(lambda: 0)()", [BROKEN]),
        ("a()()", [BROKEN]),
        ("x = a()", [BROKEN]),
        ("a\n)(", [BROKEN]),
        ("[a(x=1)", [BROKEN]),
        ("[a(x=1), b(x=", [BROKEN]),
        ("a(x=1)\nb(x=", [BROKEN]),
        ("a(x='", [BROKEN]),
        ("a(x='\ud800')", [BROKEN]),
        ("a(x='\x00')", [BROKEN]),
    ],
)  # fmt: skip
def test_python_calls(text: str, found: list[Call]) -> None:
    assert calls([PYTHON], text) == found


@pytest.mark.parametrize(
    "bomb",
    [
        "1" + "+1" * 30_000,
        "a" + ".b" * 30_000,
        "a" + "()" * 30_000,
        "-" * 60_000 + "1",
        "not " * 15_000 + "1",
        "[" * 60_000,
        "[" * 30_000 + "]" * 30_000,
        "9" * 60_000,
        "0x" + "f" * 60_000,
        "lambda:" * 9_000 + "1",
        "9**9**9**9",
        "'x'*9**9",
        "a " * 30_000,
        "1" * MAX_PYTHON,
    ],
)
def test_python_that_would_exhaust_its_reader(bomb: str) -> None:
    assert read([PYTHON], [f"[a(x={bomb})]"]) == [Unreadable()]
    assert read([PYTHON], [bomb + "("]) == [Unreadable()]


# --- several ways under one marker --------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "text", "found"),
    [
        (IN_TOOL_CALL, '<tool_call>\n{"name": "a", "arguments": {"x": 1}}\n</tool_call>',
         [("a", {"x": 1})]),
        (IN_TOOL_CALL, '<tool_call>{"arguments": {"x": "<function=y>"}, "name": "a"}</tool_call>',
         [("a", {"x": "<function=y>"})]),
        (IN_TOOL_CALL, "<tool_call>\n<function=a>\n<parameter=x>\n{}\n</parameter></tool_call>",
         [("a", {"x": {}})]),
        (IN_TOOL_CALL, "<tool_call>a\n<arg_key>x</arg_key>\n<arg_value>{}</arg_value></tool_call>",
         [("a", {"x": {}})]),
        (IN_TOOL_CALL, "<tool_call>a</tool_call>", [("a", {})]),
        (IN_TOOL_CALL, "<tool_call></tool_call>", [BROKEN]),
        (IN_TOOL_CALL, "<tool_call>what? (nothing)", [BROKEN]),
        ((QWEN, FUNCTIONARY), '<function=a>{"x": "<parameter=y>1</parameter>"}</function>',
         [("a", {"x": "<parameter=y>1</parameter>"})]),
        ((FUNCTIONARY, QWEN), '<function=a>\n<parameter=x>\n{"y": 1}\n</parameter></function>',
         [("a", {"x": {"y": 1}})]),
        ((FUNCTIONARY, QWEN), "<function=a></function>", [("a", {})]),
        ((QWEN, FUNCTIONARY), "<function=a>{", [BROKEN]),
        ((MISTRAL, HERMES), '[TOOL_CALLS] [{"name": "a", "arguments": {"x": 1}}]',
         [("a", {"x": 1})]),
        ((HERMES, MISTRAL), '[TOOL_CALLS]a[ARGS]{"name": "b"}', [("a", {"name": "b"})]),
        ((HERMES, PYTHON), '[a(x={"name": "b"})]', [("a", {"x": {"name": "b"}})]),
        ((PYTHON, MINIMAX), """[a(x='<invoke name="b">')]""", [("a", {"x": '<invoke name="b">'})]),
        ((PYTHON, HERMES), '[{"name": "a", "arguments": {"x": "(y)"}}]', [("a", {"x": "(y)"})]),
        ((PYTHON, MINIMAX), '<invoke name="a"><parameter name="x">1</parameter></invoke>',
         [("a", {"x": 1})]),
    ],
)  # fmt: skip
def test_families_that_share_a_marker_are_told_apart(
    facts: Sequence[CallFacts], text: str, found: list[Call]
) -> None:
    assert calls(facts, text) == found


def test_after_a_long_head_the_first_way_has_it_alone() -> None:
    for size, found in ((MAX_HEAD - 12, [Begin("z"), "{}"]), (MAX_HEAD, [Unreadable()])):
        text = "-" * size + "<function=z>"
        for pieces in ([text], units(text)):
            assert read([HERMES, QWEN], pieces) == found


def test_nothing_follows_what_is_unreadable() -> None:
    reader = CallReader([HERMES, QWEN], {})
    assert reader.feed('x = {"name": "a"} <function=a b>') == [Unreadable()]
    assert reader.feed('{"name": "a"}') == []
    assert reader.finish() == []


# --- streaming ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "head", "rest"),
    [
        (IN_TOOL_CALL, '<tool_call>{"name": "a"', ', "arguments": '),
        ((APERTUS,), '[{"a":', " "),
        ((KIMI,), "<|tool_call_begin|>functions.a:0<|tool_call_argument_begin|>", ""),
        ((MISTRAL,), "[TOOL_CALLS]a[ARGS]", ""),
        ((HARMONY,), " to=functions.a ", "<|constrain|>json<|message|>"),
    ],
)
def test_the_name_and_then_every_character_of_json_comes_at_once(
    facts: Sequence[CallFacts], head: str, rest: str
) -> None:
    reader = CallReader(facts, {})
    assert reader.feed(head[:-1]) == []
    assert reader.feed(head[-1]) == [Begin("a")]
    assert reader.feed(rest) == []
    for character in '{"x": "y z", "n": [1]}':
        assert reader.feed(character) == [character]


def test_a_string_between_literals_comes_while_it_is_written() -> None:
    reader = CallReader([QWEN], {})
    assert reader.feed("<function=a>") == [Begin("a")]
    assert reader.feed("<parameter=x>") == ['{"x": ']
    assert reader.feed('\nsome "text" that goes on') == ['"some \\"text\\" ']
    assert reader.feed(" and on\n</parameter>") == ['that goes on and on"']
    assert reader.feed("<parameter=y>4") == [', "y": ']
    assert reader.feed("2</parameter>") == ["42"]
    assert reader.feed("</function>") == []
    assert reader.finish() == ["}"]


def test_arguments_before_the_name_come_with_it() -> None:
    reader = CallReader([HERMES], {})
    assert reader.feed('{"arguments": {"x": 1}, "name": "a') == []
    assert reader.feed('"') == [Begin("a"), '{"x": 1}']


# --- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "head"),
    [
        (HERMES, '{"name": "a", "arguments": {"x": "'),
        (HERMES, '{"name": "a", "arguments": "'),
        (HERMES, '{"arguments": {"x": "'),
        (FUNCTIONARY, '<function=a>{"x": "'),
        (QWEN, "<function=a><parameter=x>text"),
        (QWEN, "<function=a><parameter=x>[1, "),
    ],
)
def test_arguments_are_bounded(facts: CallFacts, head: str) -> None:
    reader = CallReader([facts], {})
    reader.feed(head)
    pieces = [reader.feed("y" * 65_536) for _ in range(MAX_ARGUMENTS // 65_536 + 1)]
    assert Unreadable() not in pieces[0]
    assert any(Unreadable() in events for events in pieces)


class Work:
    """Counts the characters that the reader parses, and those in which it follows brackets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parsed = self.followed = 0
        parse, seek = jsontext.parse, callreader._Nesting.seek

        def counting_parse(text: bytes) -> object:
            self.parsed += len(text)
            return parse(text)

        def counting_seek(nesting: callreader._Nesting, text: str, position: int) -> int:
            end = seek(nesting, text, position)
            self.followed += end - position
            return end

        monkeypatch.setattr(callreader, "parse", counting_parse)
        monkeypatch.setattr(callreader._Nesting, "seek", counting_seek)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_no_character_is_parsed_twice(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    work = Work(monkeypatch)
    arguments = json.dumps({"code": '} ]\n"{[\\' * 5_000, "list": [{}] * 1_000})
    text = f'{{"name": "a", "arguments": {arguments}}}'
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert read([HERMES], pieces) == [Begin("a"), arguments]
    assert work.parsed <= len(text)
    assert work.followed <= len(text)


# --- anything -----------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)  # fmt: skip
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=5)
CUTS = st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=8)


def cut(text: str, sizes: list[int]) -> list[str]:
    """``text`` in pieces of ``sizes``, over and over."""
    pieces: list[str] = []
    while text:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[:size])
        text = text[size:]
    return pieces


@given(OBJECTS, CUTS, st.booleans(), st.sampled_from([None, 2]))
def test_any_arguments_survive_in_a_member(
    arguments: dict[str, Any], sizes: list[int], ascii_only: bool, indent: int | None
) -> None:
    call = {"name": "a", "arguments": arguments}
    swapped = {"arguments": arguments, "name": "a"}
    encoded = {"name": "a", "arguments": json.dumps(arguments)}
    for written in (call, swapped, encoded, [call]):
        text = json.dumps(written, ensure_ascii=ascii_only, indent=indent)
        begin, found = read([HERMES], cut(text, sizes))
        assert begin == Begin("a")
        assert isinstance(found, str)
        assert json.loads(found) == arguments


@given(OBJECTS, CUTS, st.sampled_from([KIMI, DEEPSEEK]))
def test_any_arguments_survive_as_json(
    arguments: dict[str, Any], sizes: list[int], facts: CallFacts
) -> None:
    written = json.dumps(arguments, ensure_ascii=False)
    until = "<|tool_call_argument_begin|>" if facts is KIMI else "\n"
    text = f"{facts.name.after}a{until}{written}"
    begin, found = read([facts], cut(text * 2, sizes))[:2]
    assert begin == Begin("a")
    assert found == written


@given(st.dictionaries(st.text("abc", min_size=1), st.text(), min_size=1, max_size=4), CUTS)
def test_any_strings_survive_between_literals(values: dict[str, str], sizes: list[int]) -> None:
    schemas = {"f": {"properties": {key: {"type": "string"} for key in values}}}
    written = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in values.items())
    text = f"<tool_call>\n<function=f>\n{written}</function>\n</tool_call>"
    begin, found = read([QWEN], cut(text, sizes), schemas)
    assert begin == Begin("f")
    assert isinstance(found, str)
    assert json.loads(found) == values


ALL = [
    HERMES,
    COHERE,
    APERTUS,
    KIMI,
    DEEPSEEK,
    MISTRAL,
    HARMONY,
    FUNCTIONARY,
    QWEN,
    MINIMAX,
    GLM,
    GEMMA,
    PYTHON,
]
SYNTAX = [
    "<tool_call>", "</tool_call>", '{"name": "a"', '"arguments": ', "{", "}", "[", "]", '"', ",",
    ":", "\\", "(", ")", "=", "\n", "a", "1", "<function=", ">", "<parameter=", "</parameter>",
    '<invoke name="', "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", " to=", " ",
    "[TOOL_CALLS]", "[ARGS]", "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "call:",
    "<escape>", "\ud800", "null", "{}", "a(x=1)", "'",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(ALL), min_size=1, max_size=3),
    st.lists(st.sampled_from(SYNTAX) | st.text(max_size=3), max_size=30),
    CUTS,
)
def test_any_text_is_read_the_same_in_any_cut_and_yields_json_or_is_unreadable(
    facts: list[CallFacts], parts: list[str], sizes: list[int]
) -> None:
    text = "".join(parts)
    events = read(facts, [text])
    assert read(facts, cut(text, sizes)) == events
    assert read(facts, units(text)) == events
    if events[-1:] == [Unreadable()]:
        events = events[:-2]
    for event in events:
        if isinstance(event, str):
            assert isinstance(json.loads(event), dict)


def test_a_cut_off_call_is_unreadable_wherever_it_ends() -> None:
    text = '<tool_call>{"name": "a", "arguments": {"x": [1, "y"]}}'
    for head, _ in two_way(text):
        events = read(IN_TOOL_CALL, [head])
        assert (events[-1] == Unreadable()) or events == [Begin("a"), '{"x": [1, "y"]}']


# --- the names alone ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "names"),
    [
        ('[{"a": {}}, {"b": null}]', ["a", "b"]),
        ('[{"a": {}, "b": {}}]', [""]),
        ("[{}, 1]", ["", ""]),
        ("none", []),
    ],
)
def test_the_only_key_names_the_tool(call: str, names: list[str]) -> None:
    assert ToolName(json="*").read(call) == names


def test_white_space_before_a_name_does_not_end_it() -> None:
    assert GLM.name.read("<tool_call>\na\n<arg_key>") == ["a"]


def test_arguments_that_are_no_json_are_told_long_before_their_end() -> None:
    reader = CallReader([HERMES], {})
    reader.feed('<tool_call>{"name": "a", "arguments": {"x": oops, "y": "')
    told = [size for size in range(300) if Unreadable() in reader.feed("z")]
    assert told
    assert told[0] < 100


@pytest.mark.parametrize("half", ["\\ud83e", "\\udd14", "\\ud83e\\n", "\\ud83ex", "\ud83e"])
def test_half_a_surrogate_pair_is_part_of_the_arguments(half: str) -> None:
    text = '{"name": "a", "arguments": {"x": "' + half + "y" * 200 + '"}}'
    for pieces in [[text], units(text)]:
        events = read([HERMES], pieces)
        assert Unreadable() not in events
        assert half in "".join(event for event in events if isinstance(event, str))
