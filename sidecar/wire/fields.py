"""Tables of known JSON keys, and what each may hold. Anything else is dropped and counted.

A table is data: the wire formats write theirs down in full, so that a reader can see what passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sidecar.core.jsontext import Number

Record = dict[str, Any]

_NULL = type(None)


@dataclass(frozen=True, slots=True)
class Holds:
    """What a key may hold: JSON types, and the table of the objects in it (or in its list)."""

    types: frozenset[type]
    inner: Table | None = None


Table = dict[str, Holds]

TEXT = Holds(frozenset({str, _NULL}))
NUMBER = Holds(frozenset({int, float, Number, _NULL}))
TEXT_OR_NUMBER = Holds(TEXT.types | NUMBER.types)
FLAG = Holds(frozenset({bool, _NULL}))
LIST = Holds(frozenset({list, _NULL}))
OBJECT = Holds(frozenset({dict, _NULL}))
LIST_OR_TEXT = Holds(frozenset({list, str, _NULL}))


def objects(table: Table) -> Holds:
    """An object, or a list of objects, with these keys."""
    return Holds(frozenset({dict, list, _NULL}), table)


def prune(record: Record, table: Table) -> int:
    """Delete from ``record``, in place, what ``table`` does not know. Returns how many keys."""
    unknown = None
    dropped = 0
    for key, value in record.items():
        holds = table.get(key)
        if holds is None or type(value) not in holds.types:
            unknown = [*unknown, key] if unknown else [key]
        elif holds.inner is not None and value:
            dropped += _prune_inner(value, holds.inner)
    if unknown:
        for key in unknown:
            del record[key]
        dropped += len(unknown)
    return dropped


def _prune_inner(value: Any, table: Table) -> int:
    if isinstance(value, dict):
        return prune(value, table)
    known = [item for item in value if isinstance(item, dict)]
    dropped = len(value) - len(known)
    if dropped:
        value[:] = known
    return dropped + sum(prune(item, table) for item in known)
