"""What a chat request says that a rule may ask, read from its body once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import web

from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.rules.match import RequestFacts
from sidecar.server.replies import Refusal
from sidecar.wire.calls import function_of


class Inquiry(NamedTuple):
    """``tools`` are those of the request, by their names, with what it says of their parameters (a
    JSON schema, or anything); ``thinking_off``: it asks the model not to think. ``raw_prompt`` is
    that of a completion, empty if it is none that one answer continues."""

    facts: RequestFacts
    tools: Mapping[str, object]
    thinking_off: bool
    raw_prompt: str


_THINKING_OFF: tuple[tuple[tuple[str, ...], object], ...] = (
    (("chat_template_kwargs", "enable_thinking"), False),  # vLLM, SGLang: Qwen, GLM
    (("chat_template_kwargs", "thinking"), False),  # DeepSeek, Kimi
    (("enable_thinking",), False),  # DashScope
    (("reasoning_effort",), "none"),
    (("reasoning", "effort"), "none"),  # OpenRouter
    (("reasoning", "enabled"), False),
    (("think",), False),  # Ollama
    (("thinking", "type"), "disabled"),  # DeepSeek, Z.ai
    (("reasoning", "exclude"), True),  # OpenRouter
    (("include_reasoning",), False),  # vLLM, OpenRouter
    (("reasoning_format",), "hidden"),  # Groq
    (("reasoning_format",), "parsed"),
)
"""The keys of a request that switch thinking off, or keep it out of the text, and the values with
which they do."""


def read_inquiry(request: web.BaseRequest, path: str, body: bytes) -> Inquiry:
    """Raises Refusal for a body that is not a JSON object, or that two readers may understand
    differently: then no rule can be chosen with certainty."""
    try:
        value = parse(body).value
    except MalformedJSON as error:
        raise Refusal(
            400, "invalid_json", f"The request body is not valid JSON: {error}."
        ) from None
    if not isinstance(value, dict):
        raise Refusal(400, "invalid_json", "The request body must be a JSON object.")
    tools = [*_listed(value, "tools"), *_listed(value, "functions")]
    model = value.get("model")
    headers: dict[str, list[str]] = {}
    for name, text in request.headers.items():
        headers.setdefault(name.lower(), []).append(text)
    facts = RequestFacts(
        model=model if isinstance(model, str) else "",
        path=path,
        headers=headers,
        tools_declared=bool(tools),
    )
    named = {_tool_name(tool): _function_in(tool).get("parameters") for tool in tools}
    named.pop("", None)
    return Inquiry(facts, named, _is_thinking_off(value), _raw_prompt(value))


def _listed(value: dict[str, Any], key: str) -> list[Any]:
    items = value.get(key)
    return items if isinstance(items, list) else []


def _raw_prompt(value: dict[str, Any]) -> str:
    prompt = value.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    # An echoed prompt is part of the answer, which begins with it.
    return prompt if isinstance(prompt, str) and value.get("echo") is not True else ""


def _is_thinking_off(value: dict[str, Any]) -> bool:
    for path, off in _THINKING_OFF:
        found: Any = value
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if type(found) is type(off) and found == off:
            return True
    return False


def _tool_name(tool: Any) -> str:
    name = _function_in(tool).get("name")
    return name if isinstance(name, str) else ""


def _function_in(tool: Any) -> dict[str, Any]:
    """The object with the name in a tool (``{"type": "function", "function": {"name": …}}``), which
    a legacy function is itself; empty if it has none."""
    return (function_of(tool) or tool) if isinstance(tool, dict) else {}
