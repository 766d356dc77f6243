"""``tool_calls: move``: calls in the text become ``tool_calls``, in every cut and as a document."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from sidecar.core.channel import Channel
from sidecar.core.document import filter_document
from sidecar.core.format import Format, Region, ToolName
from sidecar.core.policy import OnEmpty, Policy, Reasoning, ToolCalls
from sidecar.core.vocabulary import Vocabulary
from sidecar.wire.chat import Chat
from sidecar.wire.ruling import Ruling
from tests.cuts import at_random, two_way, units
from tests.promises import (
    CATALOGUE,
    Case,
    cases_in_company,
    chunk,
    compiled,
    document,
    name,
    payloads,
    run,
    stream,
    written,
)

MOVE = Policy(tool_calls=ToolCalls.MOVE)
HERMES = CATALOGUE.resolve(["think", "hermes_tool_call"])
QWEN = CATALOGUE.resolve(["qwen3_coder_xml"])


def wire(formats: tuple[Format, ...] = HERMES, policy: Policy = MOVE, **more: Any) -> Chat:
    return Chat(Ruling(policy, Vocabulary(formats, policy), **more))


class Told(NamedTuple):
    """What a client makes of one choice."""

    text: str
    calls: list[tuple[str, Any]]
    finish: str
    error: str


def told(out: bytes) -> Told:
    """The answer as a client puts it together; fails where a client would."""
    text, finish, error = "", "", ""
    calls: list[list[str]] = []
    ids: set[str] = set()
    *events, done = payloads(out)
    assert done == "[DONE]"
    for event in map(json.loads, events):
        if "error" in event:
            error = event["error"]["code"]
            continue
        (choice,) = event["choices"]
        assert not finish, "something after the finish"
        text += choice["delta"].get("content") or ""
        for delta in choice["delta"].get("tool_calls", ()):
            if delta["index"] == len(calls):
                assert delta["type"] == "function"
                assert delta["id"] not in ids
                ids.add(delta["id"])
                calls.append([delta["function"]["name"], ""])
            assert delta["index"] == len(calls) - 1, "calls come one after another"
            calls[-1][1] += delta["function"]["arguments"]
        finish = choice["finish_reason"] or ""
    # Where the answer ends with an error, the last call may have broken off.
    arguments = [written if error else json.loads(written) for _, written in calls]
    return Told(
        text, [(name, a) for (name, _), a in zip(calls, arguments, strict=True)], finish, error
    )


SEATS = '<tool_call>\n{"name": "seats", "arguments": {"row": 3}}\n</tool_call>'
FREE = '<tool_call>{"arguments": {"a": "</tool_call>"}, "name": "free"}</tool_call>'

ANSWERS: list[tuple[str, Told]] = [
    (f"Let me look.\n{SEATS}", Told("Let me look.\n", [("seats", {"row": 3})], "tool_calls", "")),
    (f"<think>plan</think>{SEATS}", Told("", [("seats", {"row": 3})], "tool_calls", "")),
    (f"<think>plan {SEATS}", Told("", [("seats", {"row": 3})], "tool_calls", "")),
    (
        f"{SEATS}\n{FREE}\nDone.",
        Told("Done.", [("seats", {"row": 3}), ("free", {"a": "</tool_call>"})], "tool_calls", ""),
    ),
    ("Hello", Told("Hello", [], "stop", "")),
    ("`<tool_call>` begins one.", Told("`<tool_call>` begins one.", [], "stop", "")),
    ("A<tool_call>no call</tool_call>B", Told("AB", [], "", "malformed_tool_call")),
    ('A<tool_call>{"name": "f"', Told("A", [("f", "")], "", "malformed_tool_call")),
    ('A<tool_call>{"x": 1}</tool_call>B', Told("AB", [], "", "malformed_tool_call")),
]


@pytest.mark.parametrize(("text", "expected"), ANSWERS)
def test_a_call_in_the_text_becomes_a_tool_call_in_every_cut(text: str, expected: Told) -> None:
    for pieces in [[text], units(text), *two_way(text), *at_random(text, 8)]:
        assert told(run(wire(), [stream(pieces)])) == expected


@pytest.mark.parametrize(
    "opener", ['<tool_call id="1" f=()>', "< tool_call\n>", "&lt;tool_call&gt;", "<TOOL_CALL>"]
)
@pytest.mark.parametrize("call", ['{"name": "seats", "arguments": {}}', "seats", "seats\n"])
def test_a_call_is_read_however_its_markers_are_written(opener: str, call: str) -> None:
    policy = Policy(
        tool_calls=ToolCalls.MOVE,
        case_insensitive=True,
        attributes=True,
        spaced_tags=True,
        html_escaped=True,
    )
    formats = CATALOGUE.resolve(["hermes_tool_call", "glm45_arg_key"])
    text = f"A{opener}{call}&lt;/ tool_CALL&gt;B"
    for pieces in [[text], units(text), *at_random(text, 4)]:
        out = run(wire(formats, policy), [stream(pieces)])
        assert told(out) == Told("AB", [("seats", {})], "tool_calls", "")


@pytest.mark.parametrize("text", [text for text, _ in ANSWERS])
def test_the_bytes_do_not_depend_on_where_the_stream_was_cut(text: str) -> None:
    sent = stream(next(at_random(text, 1)))
    whole = run(wire(), [sent])
    for pieces in [units(sent), *at_random(sent, 8)]:
        assert run(wire(), pieces) == whole


@pytest.mark.parametrize(("text", "expected"), ANSWERS)
def test_a_document_says_the_same(text: str, expected: Told) -> None:
    body = json.loads(filter_document(document(text), wire()))
    if expected.error:
        assert body["error"]["code"] == expected.error
        return
    (choice,) = body["choices"]
    message = choice["message"]
    calls = message.get("tool_calls", [])
    found = [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in calls]
    assert (message["content"] or "", found, choice["finish_reason"]) == expected[:3]
    assert all(set(call) == {"id", "type", "function"} for call in calls)
    assert len({call["id"] for call in calls}) == len(calls)


# Every family that says how its calls are read.

READABLE = [
    case
    for case in cases_in_company()
    if case.example.tools
    and not case.example.name.startswith("cut off")
    and any(region.arguments for region in case.format.regions)
]


def says_not_how(format_: Format) -> bool:
    """Whether some of the family's calls are in a form that is not read."""
    return any(region.tool_name and not region.arguments for region in format_.regions)


@pytest.mark.parametrize("case", READABLE, ids=lambda case: f"{case.format.id}-{case.example.name}")
def test_every_family_s_calls_are_moved_or_the_client_is_told(case: Case) -> None:
    vocabulary = compiled(case.formats, MOVE)
    start = vocabulary.start_in_reasoning if case.example.starts_in_reasoning else None

    def answer(pieces: list[str]) -> Told:
        return told(run(Chat(Ruling(MOVE, vocabulary, start=start)), [stream(pieces)]))

    text = case.example.text
    whole = answer([text])
    assert whole.text == case.example.visible
    names = list(dict.fromkeys(name for name, _ in whole.calls))
    if names or not (whole.error or says_not_how(case.format)):
        assert names == list(case.example.tools)[: len(names) if whole.error else None]
        assert whole.error or whole.finish == "tool_calls"
    for pieces in [units(text), *at_random(text, 3)]:
        assert answer(pieces) == whole


def said(deltas: list[Any]) -> tuple[str, str, list[tuple[str, str]]]:
    """The answer, the reasoning and the calls of deltas, or of one message."""
    calls: list[tuple[str, str]] = []
    for call in (call for delta in deltas for call in delta.get("tool_calls") or ()):
        if "id" in call:
            calls.append((call["function"]["name"], ""))
        name, arguments = calls[-1]
        calls[-1] = name, arguments + call["function"]["arguments"]
    text = "".join(delta.get("content") or "" for delta in deltas)
    reasoning = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    return text, reasoning, calls


@pytest.mark.parametrize("case", list(cases_in_company()), ids=name)
def test_the_document_says_the_reasoning_and_the_calls_that_the_stream_says(case: Case) -> None:
    policy = Policy(reasoning=Reasoning.MOVE, tool_calls=ToolCalls.MOVE)
    vocabulary = compiled(case.formats, policy)
    start = vocabulary.start_in_reasoning if case.example.starts_in_reasoning else None
    ruling = Ruling(policy, vocabulary, start=start)
    text = case.example.text
    whole = json.loads(filter_document(document(text), Chat(ruling)))
    events = [json.loads(p) for p in payloads(run(Chat(ruling), [stream(units(text))]))[:-1]]
    if "error" in whole:
        assert events[-1] == whole
        return
    message = whole["choices"][0]["message"]
    found = said([event["choices"][0]["delta"] for event in events])
    assert found == said([message])
    assert found[:2] == (case.example.visible, case.example.reasoning)


def test_of_the_examples_most_are_moved() -> None:
    moved = 0
    for case in READABLE:
        vocabulary = compiled(case.formats, MOVE)
        start = vocabulary.start_in_reasoning if case.example.starts_in_reasoning else None
        out = run(Chat(Ruling(MOVE, vocabulary, start=start)), [stream([case.example.text])])
        moved += not told(out).error
    assert moved > 0.8 * len(READABLE)


def test_arguments_flow_as_they_arrive() -> None:
    chat = wire()
    text = '<tool_call>{"name": "write", "arguments": {"text": "a long story'
    (sent,) = [stream([*units(text)]).partition(b'"finish_reason":"stop"')[0]]
    out = run(chat, [sent])
    assert out.count(b'"tool_calls"') > 10
    assert b'"name":"write"' in out


def test_named_arguments_take_the_types_that_the_request_declares() -> None:
    values = "".join(f"<parameter={key}>\n3\n</parameter>\n" for key in "ab")
    text = f"<tool_call>\n<function=f>\n{values}</function>\n</tool_call>"
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
    found = told(run(wire(QWEN, schemas={"f": schema}), [stream([text])]))
    assert found.calls == [("f", {"a": "3", "b": 3})]


# Beside other things.


def test_calls_in_fields_stay_and_share_the_indexes() -> None:
    field = {
        "index": 0,
        "id": "x",
        "type": "function",
        "function": {"name": "g", "arguments": "{}"},
    }
    chunks = [
        chunk({0: {"content": SEATS}}),
        chunk({0: {"tool_calls": [field]}}),
        chunk({0: {}}, finish="tool_calls"),
    ]
    found = told(run(wire(), [written(chunks, (",", ":"))]))
    assert found == Told("", [("seats", {"row": 3}), ("g", {})], "tool_calls", "")


def test_choices_do_not_affect_each_other() -> None:
    out = run(wire(), [stream(units(f"A{SEATS}B"), units("Hello"), units(FREE))])
    finishes: dict[int, str] = {}
    names: dict[int, str] = {}
    ids = set()
    events = map(json.loads, payloads(out)[:-1])
    for choice in (choice for event in events for choice in event["choices"]):
        for delta in choice["delta"].get("tool_calls", ()):
            if "id" in delta:
                ids.add(delta["id"])
                names[choice["index"]] = delta["function"]["name"]
        if choice["finish_reason"]:
            finishes[choice["index"]] = choice["finish_reason"]
    assert finishes == {0: "tool_calls", 1: "stop", 2: "tool_calls"}
    assert names == {0: "seats", 2: "free"}
    assert len(ids) == 2


def test_the_ids_of_two_answers_differ_by_their_seeds() -> None:
    first, second = (run(wire(seed=seed), [stream([SEATS])]) for seed in ("a", "b"))
    assert first != second
    assert first.replace(b"call_a", b"call_b") == second


def test_an_answer_of_calls_alone_is_not_empty() -> None:
    policy = Policy(tool_calls=ToolCalls.MOVE, on_empty=OnEmpty.ERROR)
    assert told(run(wire(policy=policy), [stream([SEATS])])).error == ""


def test_reasoning_is_moved_beside_the_calls() -> None:
    policy = Policy(tool_calls=ToolCalls.MOVE, reasoning=Reasoning.MOVE)
    out = run(wire(policy=policy), [stream(units(f"<think>plan {SEATS}Done."))])
    said = [json.loads(event)["choices"][0]["delta"] for event in payloads(out)[:-1]]
    assert "".join(delta.get("reasoning_content") or "" for delta in said) == "plan "
    assert told(out) == Told("Done.", [("seats", {"row": 3})], "tool_calls", "")


def test_a_finish_for_length_stays_one() -> None:
    chunks = [chunk({0: {"content": SEATS}}), chunk({0: {}}, finish="length")]
    assert told(run(wire(), [written(chunks, (",", ":"))])).finish == "length"


@pytest.mark.parametrize("cut", ['{"name": "f"', '{"name": "f", "arguments": {"a": "b'])
def test_a_call_that_was_cut_off_for_length_stays_as_far_as_it_came(cut: str) -> None:
    chunks = [chunk({0: {"content": f"<tool_call>{cut}"}}), chunk({0: {}}, finish="length")]
    out = run(wire(), [written(chunks, (",", ":"))])
    said = [json.loads(event)["choices"][0] for event in payloads(out)[:-1]]
    arguments = "".join(
        call["function"]["arguments"]
        for choice in said
        for call in choice["delta"].get("tool_calls", ())
    )
    assert arguments == cut.partition('"arguments": ')[2]
    assert said[-1]["finish_reason"] == "length"


def test_a_call_without_its_arguments_is_none() -> None:
    kimi = CATALOGUE.resolve(["kimi_k2_tools"])
    text = "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0"
    assert told(run(wire(kimi), [stream([text])])).error == "malformed_tool_call"


def test_calls_of_a_family_that_does_not_say_how_they_are_read_are_hidden() -> None:
    silent = Region("call", Channel.TOOL_CALL, ("<c>",), ("</c>",), tool_name=ToolName(json="name"))
    text = 'A<c>{"name": "f"}</c>B'
    found = told(run(wire((Format("silent", (silent,)),)), [stream(units(text))]))
    assert found == Told("AB", [], "stop", "")
