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
    """What a key may hold.

    ``types`` are JSON types. ``inner`` is the table of the object that it is, or of the objects in
    the list that it is; ``items`` are the types of the other things in that list. Without both, a
    list or an object may hold anything.
    """

    types: frozenset[type]
    inner: Table | None = None
    items: frozenset[type] | None = None


Table = dict[str, Holds]

_TEXTS: frozenset[type] = frozenset({str, _NULL})
_NUMBERS: frozenset[type] = frozenset({int, float, Number, _NULL})

TEXT = Holds(_TEXTS)
NUMBER = Holds(_NUMBERS)
TEXT_OR_NUMBER = Holds(_TEXTS | _NUMBERS)
FLAG = Holds(frozenset({bool, _NULL}))
ANY_LIST = Holds(frozenset({list, _NULL}))
ANY_OBJECT = Holds(frozenset({dict, _NULL}))
ANY_OBJECT_OR_TEXT = Holds(ANY_OBJECT.types | _TEXTS)
ANY_LIST_OR_TEXT = Holds(frozenset({list, str, _NULL}))
NUMBERS = Holds(ANY_LIST.types, items=_NUMBERS)
TEXTS = Holds(ANY_LIST.types, items=_TEXTS)
NOTHING = Holds(frozenset({_NULL}))
"""What a key holds that is known to repeat hidden text: dropped, even if unknown keys pass."""


def an_object(table: Table) -> Holds:
    """An object with these keys."""
    return Holds(ANY_OBJECT.types, table)


def text_or_object(table: Table) -> Holds:
    """A text, or an object with these keys."""
    return Holds(ANY_OBJECT.types | _TEXTS, table)


def objects(table: Table, *, or_items: Holds | None = None) -> Holds:
    """A list of objects with these keys, and of what ``or_items`` is."""
    return Holds(ANY_LIST.types, table, or_items.types if or_items else frozenset())


def prune(record: Record, table: Table, *, keep_unknown: bool = False) -> int:
    """Delete from ``record``, in place, what ``table`` does not know, or (``keep_unknown``) only
    what it knows to be something else. Returns how many keys and items."""
    unknown: list[str] = []
    dropped = 0
    for key, value in record.items():
        holds = table.get(key)
        if holds is None:
            if not keep_unknown:
                unknown.append(key)
        elif type(value) not in holds.types:
            unknown.append(key)
        elif value and (holds.inner is not None or holds.items is not None):
            dropped += _prune_inner(value, holds, keep_unknown)
    for key in unknown:
        del record[key]
    return dropped + len(unknown)


def _prune_inner(value: Any, holds: Holds, keep_unknown: bool) -> int:
    table = holds.inner or {}
    if isinstance(value, dict):
        return prune(value, table, keep_unknown=keep_unknown)
    if not isinstance(value, list):
        return 0
    items = holds.items or frozenset()
    known = [
        item
        for item in value
        if type(item) in items or (holds.inner is not None and isinstance(item, dict))
    ]
    dropped = len(value) - len(known)
    if dropped:
        value[:] = known
    return dropped + sum(
        prune(item, table, keep_unknown=keep_unknown) for item in known if isinstance(item, dict)
    )
