"""What a chat request says that a rule may ask, read from its body once."""

from __future__ import annotations

from typing import Any, NamedTuple

from aiohttp import web

from sidecar.core.jsontext import MalformedJSON, parse
from sidecar.rules.match import RequestFacts
from sidecar.server.replies import Refusal
from sidecar.wire.calls import function_of


class Inquiry(NamedTuple):
    """``declared`` are the names of the tools in the request."""

    facts: RequestFacts
    declared: frozenset[str]


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
    return Inquiry(facts, frozenset(filter(None, map(_tool_name, tools))))


def _listed(value: dict[str, Any], key: str) -> list[Any]:
    items = value.get(key)
    return items if isinstance(items, list) else []


def _tool_name(tool: Any) -> str:
    """The name in a tool (``{"type": "function", "function": {"name": …}}``), or in a legacy
    function (``{"name": …}``)."""
    if not isinstance(tool, dict):
        return ""
    name = (function_of(tool) or tool).get("name")
    return name if isinstance(name, str) else ""
