"""What a request says that a rule may ask, read from its body once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiohttp import web

from sidecar.core.jsonmembers import KeyPath
from sidecar.rules.match import RequestFacts
from sidecar.wire.calls import function_of
from sidecar.wire.fields import Record
from sidecar.wire.ruling import HOSTED


class Inquiry(NamedTuple):
    """``tools`` are those of the request, by their names, with what it says of their parameters (a
    JSON schema, or anything); ``thinking_off``: it asks the model not to think. ``raw_prompt`` is
    a prompt that no template adds to, empty if it is none that one answer continues; None where a
    template applies. ``streams``: it asks for an answer in events. ``other_models`` may answer in
    the stead of the one that it asks for."""

    facts: RequestFacts
    tools: Mapping[str, object]
    thinking_off: bool
    raw_prompt: str | None
    streams: bool
    other_models: frozenset[str]


def headers_of(request: web.BaseRequest) -> dict[str, list[str]]:
    """The request's headers: lower-case name -> its values."""
    headers: dict[str, list[str]] = {}
    for name, text in request.headers.items():
        headers.setdefault(name.lower(), []).append(text)
    return headers


def inquire(
    value: Record, wire_format: str, path: str, headers: Mapping[str, Sequence[str]]
) -> Inquiry:
    """What the request with the body ``value`` says; ``headers`` are as in :func:`headers_of`."""
    reader = _READERS[wire_format]
    declared = [(read, entry) for key, read in reader.declared for entry in _listed(value, key)]
    tools = {
        name: parameters
        for read, entry in declared
        if isinstance(entry, dict)
        for name, parameters in read(entry)
        if isinstance(name, str) and name
    }
    model = value.get("model")
    facts = RequestFacts(
        model=model if type(model) is str else "",
        path=path,
        headers=headers,
        tools_declared=bool(declared),
    )
    switches = (switch for switch in reader.thinking_off if switch[0][0] in value)
    thinking_off = any(_says(value, *switch) for switch in switches)
    stream = value.get("stream")
    streams = reader.streams if stream is None else stream is True
    return Inquiry(
        facts, tools, thinking_off, reader.raw_prompt(value), streams, _other_models(value)
    )


def _listed(value: Record, key: str) -> list[Any]:
    items = value.get(key)
    return items if isinstance(items, list) else []


def _says(value: Record, path: tuple[str, ...], expected: object) -> bool:
    found: Any = value
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return type(found) is type(expected) and found == expected


# --- models -------------------------------------------------------------------------------------

OTHER_MODELS = (
    "models",  # OpenRouter
    "fallbacks",  # LiteLLM
    "context_window_fallbacks",
    "content_policy_fallbacks",
)
"""The keys of lists of models that a gateway asks if the first one fails."""


def _other_models(value: Record) -> frozenset[str]:
    entries = (entry for key in OTHER_MODELS for entry in _listed(value, key))
    return frozenset(name for entry in entries for name in _named(entry))


def _named(entry: object) -> Iterator[str]:
    """By its name, as a request with a ``model`` of its own, or as a list for each first one."""
    if isinstance(entry, dict):
        own = entry.get("model")
        entries = (
            [own] if own is not None else [name for key in entry for name in _listed(entry, key)]
        )
    else:
        entries = [entry]
    # A Number is a str, and no name.
    yield from (name for name in entries if type(name) is str)


# --- tools --------------------------------------------------------------------------------------

_Names = Iterator[tuple[object, object]]
"""What one entry of a list declares: names, which may be anything, with parameters."""


def _function(tool: Record) -> _Names:
    """``{"type": "function", "function": {"name": …}}``, or flat, as a legacy function is."""
    function = function_of(tool) or tool
    yield function.get("name"), function.get("parameters")


def _responses_tool(tool: Record) -> _Names:
    """Flat; what the provider runs itself has a type and no name, and a namespace has functions."""
    kind = tool.get("type")
    if kind == "namespace":
        for inner in _listed(tool, "tools"):
            if isinstance(inner, dict):
                yield from _function(inner)
        return
    yield from _function(tool)
    if isinstance(kind, str) and kind not in ("function", "custom"):
        yield HOSTED + kind, None
    if kind == "mcp":
        yield from _mcp_server(tool.get("server_label"))


def _messages_tool(tool: Record) -> _Names:
    """What the provider knows has a type with a version, and a name all the same."""
    function = function_of(tool) or tool
    yield function.get("name"), function.get("input_schema", function.get("parameters"))
    kind = tool.get("type")
    if isinstance(kind, str) and kind not in ("function", "custom"):
        yield HOSTED + kind, None


def _messages_server(server: Record) -> _Names:
    yield HOSTED + "mcp", None
    yield from _mcp_server(server.get("name"))


def _mcp_server(name: object) -> _Names:
    if isinstance(name, str):
        yield f"{HOSTED}mcp:{name}", None


# --- prompts ------------------------------------------------------------------------------------


def _templated(value: Record) -> None:
    """A chat: the model's template writes the prompt."""


def _completed_prompt(value: Record) -> str:
    prompt = value.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    # An echoed prompt is part of the answer, which begins with it.
    return prompt if isinstance(prompt, str) and value.get("echo") is not True else ""


def _generated_prompt(value: Record) -> str | None:
    if value.get("raw") is not True:
        return None
    prompt = value.get("prompt")
    return prompt if isinstance(prompt, str) else ""


# --- the formats --------------------------------------------------------------------------------

_Switch = tuple[KeyPath, object]

_TEMPLATE_OFF: tuple[_Switch, ...] = (
    (("chat_template_kwargs", "enable_thinking"), False),  # vLLM, SGLang: Qwen, GLM
    (("chat_template_kwargs", "thinking"), False),  # DeepSeek, Kimi
)
_REASONING_OFF: tuple[_Switch, ...] = (
    (("reasoning", "effort"), "none"),  # OpenAI, OpenRouter
    (("reasoning", "enabled"), False),  # OpenRouter
    (("reasoning", "exclude"), True),
)
_THINKING_DISABLED: _Switch = (("thinking", "type"), "disabled")  # Anthropic, DeepSeek, Z.ai
_THINK_OFF: _Switch = (("think",), False)  # Ollama

_CHAT_OFF: tuple[_Switch, ...] = (
    *_TEMPLATE_OFF,
    *_REASONING_OFF,
    _THINKING_DISABLED,
    _THINK_OFF,
    (("enable_thinking",), False),  # DashScope
    (("reasoning_effort",), "none"),
    (("include_reasoning",), False),  # vLLM, OpenRouter
    (("reasoning_format",), "hidden"),  # Groq
    (("reasoning_format",), "parsed"),
)


class _Reader(NamedTuple):
    """How the requests of a wire format say it.

    ``declared`` are the keys of the lists of tools, with what reads the names in one of their
    entries. ``thinking_off`` are the paths of keys that switch thinking off, or keep it out of the
    text, and the values with which they do. ``prompt`` are the keys that ``raw_prompt`` reads.
    ``streams``: they ask for an answer in events if they do not say.
    """

    declared: tuple[tuple[str, Callable[[Record], _Names]], ...]
    thinking_off: tuple[_Switch, ...]
    raw_prompt: Callable[[Record], str | None]
    prompt: tuple[str, ...] = ()
    streams: bool = False

    @property
    def keys(self) -> frozenset[KeyPath]:
        """The paths of all keys that a rule goes by, or what it means does."""
        tops = ("model", "stream", *OTHER_MODELS, *self.prompt, *dict(self.declared))
        return frozenset((*((key,) for key in tops), *(path for path, _ in self.thinking_off)))


_READERS: dict[str, _Reader] = {
    "chat": _Reader((("tools", _function), ("functions", _function)), _CHAT_OFF, _templated),
    # It has no tools, and its prompt alone says where the answer begins.
    "completions": _Reader((), (), _completed_prompt, ("prompt", "echo")),
    "responses": _Reader(
        (("tools", _responses_tool),), (*_TEMPLATE_OFF, *_REASONING_OFF), _templated
    ),
    "messages": _Reader(
        (("tools", _messages_tool), ("mcp_servers", _messages_server)),
        (*_TEMPLATE_OFF, _THINKING_DISABLED),
        _templated,
    ),
    "ollama_chat": _Reader((("tools", _function),), (_THINK_OFF,), _templated, streams=True),
    "ollama_generate": _Reader((), (_THINK_OFF,), _generated_prompt, ("prompt", "raw"), True),
}
"""By the name of the wire format."""

KEYS = {name: reader.keys for name, reader in _READERS.items()}
"""By the name of the wire format, the paths of all keys that a rule goes by: none may be read in
two ways."""
