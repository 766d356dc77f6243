"""The error object of OpenAI's API, as every SDK raises it: in a stream and as a document."""

from __future__ import annotations

from typing import Any

from sidecar.core.jsontext import dump
from sidecar.core.lane import visible_text
from sidecar.core.stream import Fault
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

MAX_MESSAGE = 2048
"""Characters of an upstream error message that are passed on. Developers need "context length
exceeded"; some servers send the whole prompt after it."""


def error_payload(fault: Fault, kind: str = "upstream_error") -> bytes:
    """Our own error object; ``kind`` is its ``type``."""
    return dump(
        {
            "error": {
                "message": fault.message,
                "type": kind,
                "code": fault.code,
                "param": None,
            }
        },
        exact=False,
    )


def visible_error(error: Any, ruling: Ruling) -> tuple[Record, int]:
    """What a client is told of an upstream's ``error``, an object or a message: all four members,
    without what they quote of the model's hidden text. And how many members were not known."""
    fields = error if isinstance(error, dict) else {"message": error}
    known = {
        key: value
        for key, value in fields.items()
        if key in ERROR_FIELDS and type(value) in ERROR_FIELDS[key].types
    }
    record = {"message": None, "type": None, "code": None, "param": None} | known
    message = record["message"] or "The upstream server reported an error."
    record["message"] = message[:MAX_MESSAGE]
    record["type"] = record["type"] or "upstream_error"
    for key, value in record.items():
        if type(value) is str:
            record[key] = visible_text(ruling.vocabulary, value)
    return record, len(fields) - len(known)
