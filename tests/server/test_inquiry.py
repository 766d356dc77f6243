"""What is read of a request, in every wire format: tools, and where its answer begins."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.core.jsontext import Number
from sidecar.server.inquiry import Inquiry, inquire
from sidecar.wire.formats import WIRE_FORMATS
from sidecar.wire.responses_fields import HOSTED_TOOLS

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
NESTED = {"type": "function", "function": {"name": "ask", "parameters": SCHEMA}}
FLAT = {"type": "function", "name": "ask", "parameters": SCHEMA}


def read(wire_format: str, **body: Any) -> Inquiry:
    """What the request with this body says."""
    return inquire({"model": "m"} | body, wire_format, "/v1/x", {})


@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda wire_format: wire_format.name)
def test_every_wire_format_is_read(wire_format: Any) -> None:
    """None is served whose requests nobody can read."""
    facts = read(wire_format.name).facts
    assert (facts.model, facts.tools_declared) == ("m", False)
    odd = read(wire_format.name, model=Number("5"), tools="x", mcp_servers=5, prompt=[5])
    assert (odd.tools, odd.facts.model) == ({}, "")


@pytest.mark.parametrize(
    ("wire_format", "tools", "names"),
    [
        ("chat", [NESTED], {"ask": SCHEMA}),
        ("chat", [FLAT], {"ask": SCHEMA}),
        ("chat", [{"type": "custom", "custom": {"name": "sql"}}], {"sql": None}),
        ("responses", [FLAT], {"ask": SCHEMA}),
        ("responses", [NESTED], {"ask": SCHEMA}),
        ("responses", [{"type": "custom", "name": "sql"}], {"sql": None}),
        ("responses", [{"type": "namespace", "name": "crm", "tools": [FLAT, 5]}], {"ask": SCHEMA}),
        ("responses", [{"type": "web_search_2025_08_26"}], {"hosted:web_search_2025_08_26": None}),
        ("responses", [{"type": "mcp", "server_label": "wiki", "server_url": "https://wiki"}],
         {"hosted:mcp": None, "hosted:mcp:wiki": None}),
        ("responses", [{"type": "mcp", "server_label": 5}], {"hosted:mcp": None}),
        ("messages", [{"name": "ask", "input_schema": SCHEMA}], {"ask": SCHEMA}),
        ("messages", [{"type": "custom", "name": "ask", "input_schema": SCHEMA}], {"ask": SCHEMA}),
        ("messages", [NESTED], {"ask": SCHEMA}),
        ("messages", [{"type": "web_search_20250305", "name": "web_search"}],
         {"web_search": None, "hosted:web_search_20250305": None}),
        ("ollama_chat", [NESTED], {"ask": SCHEMA}),
    ],
)  # fmt: skip
def test_a_declared_tool(wire_format: str, tools: list[Any], names: dict[str, object]) -> None:
    """By its name with its parameters; what the provider runs itself, by its type."""
    inquiry = read(wire_format, tools=tools)
    assert inquiry.tools == names
    assert inquiry.facts.tools_declared


@pytest.mark.parametrize("wire_format", WIRE_FORMATS, ids=lambda wire_format: wire_format.name)
def test_an_answer_in_events_is_asked_for(wire_format: Any) -> None:
    """Ollama's API sends events unless it is told not to; an empty key tells it nothing."""
    events = wire_format.name.startswith("ollama")
    asked = {
        stream: read(wire_format.name, stream=stream).streams for stream in (None, True, False)
    }
    assert asked == {None: events, True: True, False: False}
    assert read(wire_format.name).streams is events


def test_every_hosted_tool_of_the_responses_api_is_declared_by_its_type() -> None:
    """The names are those by which an answer's calls are looked up."""
    kinds = {kind for kinds in HOSTED_TOOLS.values() for kind in kinds}
    inquiry = read("responses", tools=[{"type": kind} for kind in kinds])
    assert set(inquiry.tools) == {f"hosted:{kind}" for kind in kinds}


def test_the_servers_of_a_message_are_declared() -> None:
    """They are no tools, but what they offer is called like one."""
    inquiry = read("messages", mcp_servers=[{"type": "url", "name": "wiki", "url": "https://wiki"}])
    assert set(inquiry.tools) == {"hosted:mcp", "hosted:mcp:wiki"}
    assert inquiry.facts.tools_declared


def test_a_legacy_function_is_a_tool_of_a_chat_alone() -> None:
    """No other wire format has them."""
    for wire_format in WIRE_FORMATS:
        inquiry = read(wire_format.name, functions=[{"name": "ask", "parameters": SCHEMA}])
        assert inquiry.tools == ({"ask": SCHEMA} if wire_format.name == "chat" else {})


@pytest.mark.parametrize("wire_format", ["completions", "ollama_generate"])
def test_a_completion_declares_no_tools(wire_format: str) -> None:
    """It has none: the key would only choose another rule."""
    inquiry = read(wire_format, tools=[NESTED])
    assert inquiry.tools == {}
    assert not inquiry.facts.tools_declared


@pytest.mark.parametrize("wire_format", ["chat", "responses", "messages", "ollama_chat"])
@pytest.mark.parametrize("tool", [5, None, [], {}, {"name": 5}, {"type": "function", "name": ""}])
def test_a_tool_that_makes_no_sense_has_no_name(wire_format: str, tool: object) -> None:
    """The request lists tools all the same, as far as a rule is concerned."""
    inquiry = read(wire_format, tools=[tool])
    assert inquiry.tools == {}
    assert inquiry.facts.tools_declared


OFF: dict[str, dict[str, Any]] = {
    "effort": {"reasoning": {"effort": "none"}},
    "enabled": {"reasoning": {"enabled": False}},
    "template": {"chat_template_kwargs": {"enable_thinking": False}},
    "type": {"thinking": {"type": "disabled"}},
    "think": {"think": False},
    "flat_effort": {"reasoning_effort": "none"},
    "parsed": {"reasoning_format": "parsed"},
}
SWITCHES: dict[str, set[str]] = {
    "chat": set(OFF),
    "completions": set(),
    "responses": {"effort", "enabled", "template"},
    "messages": {"type", "template"},
    "ollama_chat": {"think"},
    "ollama_generate": {"think"},
}


@pytest.mark.parametrize("wire_format", SWITCHES)
def test_thinking_is_switched_off_by_what_the_wire_format_knows(wire_format: str) -> None:
    """A key that its servers ignore says nothing of where the answer begins."""
    found = {name for name, body in OFF.items() if read(wire_format, **body).thinking_off}
    assert found == SWITCHES[wire_format]


@pytest.mark.parametrize(
    ("wire_format", "body"),
    [
        ("responses", {"reasoning": {"effort": "low"}}),
        ("responses", {"reasoning": "none"}),
        ("messages", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("messages", {"thinking": None}),
        ("ollama_chat", {"think": 0}),
        ("ollama_chat", {"think": "high"}),
    ],
)
def test_thinking_that_is_on(wire_format: str, body: dict[str, Any]) -> None:
    """Another value of the same key, or another type."""
    assert not read(wire_format, **body).thinking_off


@pytest.mark.parametrize(
    ("wire_format", "body", "prompt"),
    [
        ("chat", {"prompt": "x"}, None),
        ("responses", {"prompt": "x", "raw": True}, None),
        ("messages", {"prompt": "x"}, None),
        ("ollama_chat", {"prompt": "x", "raw": True}, None),
        ("completions", {"prompt": "x"}, "x"),
        ("completions", {"prompt": ["x"]}, "x"),
        ("completions", {"prompt": ["x", "y"]}, ""),
        ("completions", {"prompt": "x", "echo": True}, ""),
        ("completions", {"prompt": [1, 2]}, ""),
        ("ollama_generate", {"prompt": "x"}, None),
        ("ollama_generate", {"prompt": "x", "raw": 1}, None),
        ("ollama_generate", {"prompt": "x", "raw": True}, "x"),
        ("ollama_generate", {"prompt": 5, "raw": True}, ""),
    ],
)
def test_a_prompt_is_raw_where_no_template_adds_to_it(
    wire_format: str, body: dict[str, Any], prompt: str | None
) -> None:
    """Then it alone says where the answer begins."""
    assert read(wire_format, **body).raw_prompt == prompt
