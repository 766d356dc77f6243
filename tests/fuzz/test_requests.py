"""Request bodies that nobody would send: each is understood or refused, and a rule for it can be
carried out."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.jsontext import parse
from sidecar.core.policy import Policy, Reasoning, ToolCalls
from sidecar.core.stream import StreamFilter
from sidecar.rules.config import RuleSpec, built_in_config
from sidecar.rules.match import Match
from sidecar.rules.requestfields import FieldAction, FieldTable
from sidecar.rules.ruleset import RuleSet
from sidecar.server.inquiry import inquire
from sidecar.server.replies import Refusal
from sidecar.server.requestfields import governed
from sidecar.server.unambiguous import read_record, the_rule
from tests.fuzz import corpus
from tests.fuzz.budget import examples
from tests.fuzz.engine import NAMES, SUITES, records
from tests.fuzz.mutations import ODD, bytewise, damaged, dumped
from tests.promises import CATALOGUE, LIMIT
from tests.wire.conformance import TOOL

per_format = pytest.mark.parametrize("name", NAMES)

_TOOL: dict[str, Any] = {"name": TOOL, "parameters": {"properties": {"q": {"type": "integer"}}}}
_REQUEST: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "messages": [{"role": "user", "content": "?"}],
    "input": "?",
    "prompt": "<think>\n",
    "raw": True,
    "tools": [
        {"type": "function", "function": _TOOL},
        _TOOL | {"type": "custom", "input_schema": _TOOL["parameters"]},
        {"type": "namespace", "tools": [_TOOL]},
        {"type": "mcp", "server_label": "s"},
    ],
    "functions": [_TOOL],
    "mcp_servers": [{"name": "s"}],
    "reasoning": {"effort": "none", "enabled": False},
    "chat_template_kwargs": {"enable_thinking": False},
    "thinking": {"type": "disabled"},
    "think": False,
    "models": ["m", "n"],
    "logprobs": True,
    "echo": True,
    "return_token_ids": True,
    "extra_body": {"verbose": True},
    "options": {"seed": 1},
}
"""What any of the formats reads."""


@cache
def rules() -> tuple[RuleSet, ...]:
    """The built-in rules, and one that moves what it can."""
    mover = Policy(reasoning=Reasoning.MOVE, tool_calls=ToolCalls.MOVE)
    return (
        RuleSet(built_in_config("http://127.0.0.1/v1").rules, CATALOGUE),
        RuleSet([RuleSpec("moves", Match(), ("all",), mover)], CATALOGUE),
    )


@per_format
@examples(40)
@given(st.data())
def test_a_request_of_any_values_is_refused_or_has_a_rule(name: str, data: st.DataObject) -> None:
    """Tools and switches of any type are read for what they are, what a rule takes out of the body
    is out of it, and the answer is filtered."""
    request = data.draw(_requests())
    body = dumped(request, data.draw(st.integers(0, 2))).encode()
    rules_ = data.draw(st.sampled_from(rules()))
    try:
        record = read_record(body, "", name)
        inquiry = inquire(record, name, SUITES[name].wire_format.path, {})
        rule = the_rule(rules_, inquiry)
        assert rule is not None
        fields = rule.request_fields[name]
        kept = governed(body, record, fields)
    except Refusal as refusal:
        _check(refusal)
        return
    left = parse(kept).value
    assert left == _without(record, fields, ())
    assert kept == body or left != record
    assert inquiry.streams is (request.get("stream", name.startswith("ollama")) is True)
    assert all(isinstance(tool, str) and tool for tool in inquiry.tools)
    ruling = rule.ruling(
        inquiry.tools,
        model=inquiry.facts.model,
        thinking_off=inquiry.thinking_off,
        raw_prompt=inquiry.raw_prompt,
        seed="seed",
    )
    stream = StreamFilter(SUITES[name].wire_format.answer(ruling), limit=LIMIT)
    raw = data.draw(st.sampled_from(corpus.streams(name)))
    assert records(stream.feed(raw) + stream.finish(), SUITES[name]) is not None


@per_format
@examples(40)
@given(st.data())
def test_a_body_is_understood_in_one_way_or_refused(name: str, data: st.DataObject) -> None:
    """Whatever its bytes are: what is understood is a JSON object to the server behind, too, and
    the same one."""
    damaged_bytes = bytewise([json.dumps(_REQUEST).encode()])
    body = data.draw(damaged_bytes | ODD.map(lambda value: dumped(value, 0).encode()))
    try:
        record = read_record(body, "", name)
    except Refusal as refusal:
        _check(refusal)
        return
    value = json.loads(body)
    assert record.keys() == value.keys()
    assert all(record[key] == value[key] for key in ("model", "stream", "prompt") if key in value)


@st.composite
def _requests(draw: st.DrawFn, /) -> dict[str, Any]:
    """A request, with some of its values replaced, removed, or under other keys."""
    request = _REQUEST
    for _ in range(draw(st.integers(1, 4))):
        request = draw(damaged(request))
    return request if isinstance(request, dict) else _REQUEST


def _check(refusal: Refusal) -> None:
    """It says in one sentence what is wrong, and does not quote what it does not know."""
    assert refusal.status == 400
    assert refusal.fault.message.endswith(".")
    assert "zz" not in refusal.fault.message


def _without(record: Any, fields: FieldTable, at: tuple[str, ...]) -> Any:
    """What is left of the record, as the table is to be read."""
    if not isinstance(record, dict) or (at and at not in fields.objects):
        return record
    paths = {key: (*at, key.casefold()) for key in record}
    return {
        key: _without(value, fields, paths[key])
        for key, value in record.items()
        if fields.actions.get(paths[key], FieldAction.PASS) is FieldAction.PASS
    }
