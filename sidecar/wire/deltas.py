"""Small things done with a delta, or with a message: both are objects with a role and content."""

from __future__ import annotations

from typing import Any

from sidecar.wire.fields import Record

_WHOSE = ("role", "index")
_TEXT_KEYS = ("text", "thinking", "summary", "content", "thinking_blocks")


def speaks(delta: Record) -> bool:
    """Whether a delta says anything besides whose it is."""
    return any(value for key, value in delta.items() if key not in _WHOSE)


def extend(delta: Record, rest: Record) -> None:
    """``delta`` says what ``rest``, texts and lists of calls by key, says too, after its own."""
    for key, more in rest.items():
        said = delta.get(key)
        delta[key] = [*(said or ()), *more] if isinstance(more, list) else joined(said, more)


def joined(content: Any, rest: str) -> Any:
    """``content``, a message's text or its parts, with ``rest`` after it."""
    if not rest:
        return content
    if isinstance(content, list):
        return [*content, {"type": "text", "text": rest}]
    return (content or "") + rest


def plain_text(value: Any) -> str:
    """The text in ``value``: a string, or the strings of a list or object of typed parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(plain_text, value))
    if isinstance(value, dict):
        return "".join(plain_text(value[key]) for key in _TEXT_KEYS if key in value)
    return ""
