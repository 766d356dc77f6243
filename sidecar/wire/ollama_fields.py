"""Every JSON key that an answer of Ollama's own API may carry while a rule hides anything.

The shapes are those of https://docs.ollama.com/api ("Generate a chat message", "Generate a
response").
"""

from __future__ import annotations

from sidecar.wire.chat_fields import REASONING_KEYS, SIDE_DOORS
from sidecar.wire.errors import ERROR
from sidecar.wire.fields import (
    ANY_LIST,
    ANY_OBJECT,
    FLAG,
    NOTHING,
    NUMBER,
    NUMBERS,
    TEXT,
    TEXTS,
    Table,
    objects,
)
from sidecar.wire.logprobs import TOKEN

_OTHERS: Table = SIDE_DOORS | dict.fromkeys(REASONING_KEYS, NOTHING)
"""What says hidden text again, and what servers that copy other APIs call reasoning."""

MESSAGE: Table = _OTHERS | {
    "role": TEXT,
    "content": TEXT,
    "thinking": TEXT,
    "images": TEXTS,
    "tool_calls": ANY_LIST,
    "tool_name": TEXT,
    "tool_call_id": TEXT,
}

_LINE: Table = (
    _OTHERS
    | {
        "model": TEXT,
        "remote_model": TEXT,
        "remote_host": TEXT,
        "created_at": TEXT,
        "done": FLAG,
        "done_reason": TEXT,
        "logprobs": objects(TOKEN),
        "context": NUMBERS,
        "error": ERROR,
    }
    | dict.fromkeys(
        (
            "total_duration",
            "load_duration",
            "prompt_eval_count",
            "prompt_eval_duration",
            "eval_count",
            "eval_duration",
        ),
        NUMBER,
    )
)
CHAT_LINE: Table = (
    _LINE | {"message": ANY_OBJECT} | dict.fromkeys(("response", "tool_calls"), NOTHING)
)
"""A line of ``/api/chat``, or its document."""
GENERATE_LINE: Table = _LINE | {
    "response": TEXT,
    "thinking": TEXT,
    "tool_calls": ANY_LIST,
    "message": NOTHING,
    "image": TEXT,
    "completed": NUMBER,
    "total": NUMBER,
}
"""A line of ``/api/generate``, or its document."""

LOADS = frozenset({"load", "unload"})
"""The reasons of an answer to a request without a prompt."""
DONE_REASONS = LOADS | {"stop", "length"}
