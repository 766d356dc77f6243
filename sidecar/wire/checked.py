"""Values of upstream's JSON without which an event or a document cannot be read."""

from __future__ import annotations

from typing import Any

from sidecar.core.jsontext import as_int
from sidecar.core.stream import MalformedChunk
from sidecar.wire.fields import Record


def an_object(value: Any, what: str) -> Record:
    """``value``, which must be one. Raises MalformedChunk; ``what`` says of what."""
    if not isinstance(value, dict):
        raise MalformedChunk(f"{what} is an object")
    return value


def an_index(value: Any, bound: int, key: str) -> int:
    """The integer that ``value``, at ``key``, must be. Raises MalformedChunk."""
    index = as_int(value)
    if index is None or not 0 <= index < bound:
        raise MalformedChunk(f"{key} is an integer from 0 to {bound - 1}")
    return index
