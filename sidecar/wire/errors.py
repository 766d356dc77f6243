"""Errors as a client is told of them: upstream's words, as far as they can be shown, or ours.

Inside, an error is the object of OpenAI's API with all four members. How each wire format writes
one is in :mod:`sidecar.wire.errorshapes`.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any, Final

from sidecar.core.jsontext import dump
from sidecar.core.lane import visible_text
from sidecar.core.policy import Errors
from sidecar.core.stream import Fault
from sidecar.wire.errorclass import classify, sentence
from sidecar.wire.fields import TEXT, TEXT_OR_NUMBER, Holds, Record, Table
from sidecar.wire.ruling import Ruling

ERROR_FIELDS: Table = {
    "message": TEXT,
    "type": TEXT,
    "code": TEXT_OR_NUMBER,
    "param": TEXT,
}
ERROR = Holds(frozenset({dict, str, type(None)}))
"""An ``error`` key may hold an object, or (Ollama) just the message."""

NOTHING_VISIBLE = Fault(
    "empty_answer", "The model ended its answer without any text that may be shown."
)
UNREADABLE_CALL = Fault(
    "malformed_tool_call",
    "The model wrote a tool call that cannot be read as its family writes it.",
)

UPSTREAM_ERROR: Final = "upstream_error"
"""The ``type`` of an error that upstream gave none."""

MAX_ERROR = 65_536
"""Bytes of an upstream error that are read; servers were seen to send a hundred megabytes."""

MAX_MESSAGE = 2048
"""Bytes of UTF-8 of an upstream error message that are passed on. Developers need "context length
exceeded"; some servers send the whole prompt after it."""

_PLAIN = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_PLACE = re.compile(r"[A-Za-z0-9_.:/$\[\]-]{1,128}")
"""A place in the request, such as ``messages[3].content``."""
_REASONS = frozenset(status.phrase for status in HTTPStatus)
"""What vLLM gives as ``type``."""


def error_payload(fault: Fault) -> bytes:
    """Our own error object, for an answer that has begun."""
    return dump(
        {
            "error": {
                "message": fault.message,
                "type": UPSTREAM_ERROR,
                "code": fault.code,
                "param": None,
            }
        },
        exact=False,
    )


def visible_error(error: Any, ruling: Ruling, status: int | None = None) -> tuple[Record, int]:
    """What a client is told of an upstream's ``error``, an object or a message: all four members,
    without what they quote of the model's hidden text. And how many members were dropped.

    ``status`` is the HTTP status that it came with, None in a stream.
    """
    fields = error if isinstance(error, dict) else {"message": error}
    known = {
        key: value
        for key, value in fields.items()
        if key in ERROR_FIELDS
        and type(value) in ERROR_FIELDS[key].types
        and (key == "message" or _is_plain(key, value, ruling))
    }
    record = {"message": None, "type": None, "code": None, "param": None} | known
    shown = "" if ruling.policy.errors is Errors.OWN else _shown(record["message"] or "", ruling)
    if not shown.strip():
        shown = sentence(classify(error, status), record["param"])
    record["message"] = shown
    record["type"] = record["type"] or UPSTREAM_ERROR
    return record, len(fields) - len(known)


def plain(value: Any) -> str | None:
    """``value`` if it is an identifier, which has no room for text; None otherwise."""
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else None


def _is_plain(key: str, value: Any, ruling: Ruling) -> bool:
    """Whether the ``type``, ``code`` or ``param`` of an error is what it should be."""
    if not isinstance(value, str):
        return True
    matched = (_PLACE if key == "param" else _PLAIN).fullmatch(value)
    if matched is None:
        return key == "type" and value in _REASONS
    # A family may write its markers in letters only.
    return visible_text(ruling.vocabulary, value) == value


def _shown(message: str, ruling: Ruling) -> str:
    """What of an error's message may be shown; empty if nothing."""
    if len(message) > MAX_ERROR:
        return ""
    vocabulary = ruling.vocabulary
    shown = ""
    if ruling.start is not None:
        # If the message quotes the answer's beginning, only what follows the reasoning is left.
        shown = visible_text(vocabulary, message, ruling.start)
    shown = shown or visible_text(vocabulary, message)
    # Errors quote what they are about in code spans, where a marker would count as a mention.
    bare = shown.translate(_NO_QUOTES)
    unquoted = visible_text(vocabulary, bare)
    return _cut(shown if unquoted == bare else unquoted)


_NO_QUOTES = str.maketrans("`~", "'-")


def _cut(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return text if len(data) <= MAX_MESSAGE else data[:MAX_MESSAGE].decode("utf-8", "ignore")
