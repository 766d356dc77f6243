"""The tokens that an upstream says an answer took, in the words of this project: ``input``,
``output``, and of these ``cached`` and ``reasoning``."""

from __future__ import annotations

from typing import Any, Final

from sidecar.core.jsontext import as_int
from sidecar.wire.fields import Record

_Paths = dict[str, tuple[tuple[str, ...], ...]]

_OPENAI: Final[_Paths] = {
    "input": (("prompt_tokens",), ("input_tokens",)),
    "output": (("completion_tokens",), ("output_tokens",)),
    "cached": (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("prompt_cache_hit_tokens",),  # DeepSeek
    ),
    "reasoning": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        ("reasoning_tokens",),  # SGLang
    ),
}
_MESSAGES: Final[_Paths] = {
    "input": (("input_tokens",),),
    "output": (("output_tokens",),),
    "cached": (("cache_read_input_tokens",),),
}
_OLLAMA: Final[_Paths] = {"input": (("prompt_eval_count",),), "output": (("eval_count",),)}


def openai_tokens(usage: Record) -> dict[str, int]:
    """Those of the ``usage`` of chat, completions and Responses."""
    return _tokens(usage, _OPENAI)


def messages_tokens(usage: Record) -> dict[str, int]:
    """Those of the ``usage`` of Messages; what is read from the cache is input, too."""
    tokens = _tokens(usage, _MESSAGES)
    if "input" in tokens:
        written = _number(usage, ("cache_creation_input_tokens",)) or 0
        tokens["input"] += tokens.get("cached", 0) + written
    return tokens


def ollama_tokens(line: Record) -> dict[str, int]:
    """Those of Ollama's last line."""
    return _tokens(line, _OLLAMA)


def _tokens(usage: Record, paths: _Paths) -> dict[str, int]:
    found = {}
    for kind, alternatives in paths.items():
        for path in alternatives:
            number = _number(usage, path)
            if number is not None:
                found[kind] = number
                break
    return found


def _number(record: Any, path: tuple[str, ...]) -> int | None:
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    number = as_int(record)
    return number if number is not None and 0 <= number < 2**53 else None
