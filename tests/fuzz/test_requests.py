"""Request bodies that nobody would send: each is understood or refused, and a rule for it can be
carried out."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.policy import Policy, Reasoning, ToolCalls
from sidecar.core.stream import StreamFilter
from sidecar.rules.config import RuleSpec, built_in_config
from sidecar.rules.match import Match
from sidecar.rules.ruleset import RuleSet
from sidecar.server.inquiry import Inquiry, read_inquiry
from sidecar.server.replies import Refusal
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


def understood(name: str, body: bytes) -> Inquiry:
    """What a request with this body says. Raises Refusal."""
    path = SUITES[name].wire_format.path
    return read_inquiry(make_mocked_request("POST", path), path, body, name)


@per_format
@examples(40)
@given(st.data())
def test_a_request_of_any_values_has_a_rule(name: str, data: st.DataObject) -> None:
    """Tools and switches of any type are read for what they are, and the answer is filtered."""
    request = _REQUEST
    for _ in range(data.draw(st.integers(1, 4))):
        request = data.draw(damaged(request))
    if not isinstance(request, dict):
        return
    said = understood(name, dumped(request, data.draw(st.integers(0, 2))).encode())
    assert said.streams is (request.get("stream", name.startswith("ollama")) is True)
    assert all(isinstance(tool, str) and tool for tool in said.tools)
    rule = data.draw(st.sampled_from(rules())).choose(said.facts)
    assert rule is not None
    ruling = rule.ruling(
        said.tools,
        model=said.facts.model,
        thinking_off=said.thinking_off,
        raw_prompt=said.raw_prompt,
        seed="seed",
    )
    stream = StreamFilter(SUITES[name].wire_format.answer(ruling), limit=LIMIT)
    raw = data.draw(st.sampled_from(corpus.streams(name)))
    assert records(stream.feed(raw) + stream.finish(), SUITES[name]) is not None


@per_format
@examples(40)
@given(st.data())
def test_a_body_is_understood_in_one_way_or_refused(name: str, data: st.DataObject) -> None:
    """Whatever its bytes are: what is understood is a JSON object to the server behind, too, which
    has the same model in it."""
    body = data.draw(
        bytewise([json.dumps(_REQUEST).encode()]) | ODD.map(lambda v: dumped(v, 0).encode())
    )
    try:
        said = understood(name, body)
    except Refusal as refusal:
        assert refusal.status == 400
        assert refusal.fault.code == "invalid_json"
        return
    value = json.loads(body)
    model = value.get("model")
    assert said.facts.model == (model if isinstance(model, str) else "")
