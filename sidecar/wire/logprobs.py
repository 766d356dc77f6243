"""Log-probabilities repeat the text token by token, so they may stay only with text that stays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.core.jsontext import as_int
from sidecar.wire.fields import NUMBER, NUMBERS, TEXT, Record, Table, objects

_ALTERNATIVE: Table = {"id": NUMBER, "token": TEXT, "logprob": NUMBER, "bytes": NUMBERS}
_TOKEN: Table = _ALTERNATIVE | {"top_logprobs": objects(_ALTERNATIVE)}
LOGPROBS: Table = {"content": objects(_TOKEN), "refusal": objects(_TOKEN)}
"""``choices[].logprobs`` (OpenAI API reference, "Chat completion chunk")."""


def says_only(logprobs: Record, content: str, refusal: str) -> bool:
    """Whether the tokens of ``logprobs`` spell ``content`` and ``refusal``, and nothing else."""
    return _spells(logprobs.get("content"), content) and _spells(logprobs.get("refusal"), refusal)


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
