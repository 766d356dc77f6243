"""Log-probabilities repeat the text token by token, so they may stay only with text that stays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.core.jsontext import as_int
from sidecar.wire.fields import (
    ANY_LIST,
    NOTHING,
    NUMBER,
    NUMBERS,
    TEXT,
    TEXTS,
    Record,
    Table,
    objects,
)

_ALTERNATIVE: Table = {"id": NUMBER, "token": TEXT, "logprob": NUMBER, "bytes": NUMBERS}
TOKEN: Table = _ALTERNATIVE | {"top_logprobs": objects(_ALTERNATIVE)}
LOGPROBS: Table = {
    "content": objects(TOKEN),
    "refusal": objects(TOKEN),
    "tokens": NOTHING,  # MLX writes a chat's as a legacy completion's, with numbers for tokens.
    "top_logprobs": NOTHING,
}
"""``choices[].logprobs`` (OpenAI API reference, "Chat completion chunk")."""

_SIDE_BY_SIDE: Table = {
    "tokens": TEXTS,
    "token_logprobs": NUMBERS,
    "top_logprobs": ANY_LIST,
    "text_offset": NUMBERS,
}
TEXT_LOGPROBS: Table = LOGPROBS | _SIDE_BY_SIDE
"""Those of a legacy completion: lists side by side (OpenAI API reference, "Completion"), or, from
llama.cpp, what a chat has."""


def says_only(logprobs: Record, content: str, refusal: str) -> bool:
    """Whether the tokens of ``logprobs`` spell ``content`` and ``refusal``, and nothing else.

    The alternatives of a visible token do not matter: they were never generated, so they are no
    part of a hidden text, though one of them may be a marker.
    """
    return _spells(logprobs.get("content"), content) and _spells(logprobs.get("refusal"), refusal)


def text_says_only(logprobs: Record, text: str) -> bool:
    """The same for a legacy completion's, and ``text``."""
    tokens = logprobs.get("tokens") or []
    if not all(len(logprobs.get(key) or tokens) == len(tokens) for key in _SIDE_BY_SIDE):
        return False
    if not all(map(_are_alternatives, logprobs.get("top_logprobs") or ())):
        return False
    spelled = "".join(token or "" for token in tokens)
    return (not tokens or spelled == text != "") and says_only(logprobs, text, "")


def _are_alternatives(value: Any) -> bool:
    """Whether it is the log-probability of each token that might have stood there."""
    if not isinstance(value, dict):
        return value is None
    return all(type(number) in NUMBER.types for number in value.values())


def _spells(tokens: list[Record] | None, text: str) -> bool:
    if not tokens:
        return True
    if not text:
        # A token without text stands where something was left out, beside its alternatives.
        return False
    if not all(map(_agrees, tokens)):
        return False
    if "".join(token.get("token") or "" for token in tokens) == text:
        return True
    # A token may be part of a character: then only the bytes spell the text.
    spelled = b"".join(_bytes(token.get("bytes") or ()) for token in tokens)
    return spelled == text.encode("utf-8", "surrogatepass")


def _agrees(token: Record) -> bool:
    """Whether the token and its bytes say the same, as far as the bytes are text."""
    values = token.get("bytes")
    if values is None:
        return True
    try:
        text = _bytes(values).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        # Part of a character: servers write a replacement for it, or its bytes as escapes.
        return any(sign in (token.get("token") or "") for sign in ("\ufffd", "\\x"))
    except (TypeError, ValueError):
        return False
    return text == token.get("token")


def _bytes(values: Iterable[Any]) -> bytes:
    """Raises TypeError or ValueError if ``values`` are no bytes."""
    return bytes(-1 if (value := as_int(item)) is None else value for item in values)
