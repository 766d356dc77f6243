"""A request's body as the rule about it lets it go upstream."""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.core.jsonmembers import KeyPath, without
from sidecar.rules.requestfields import FieldAction, FieldTable
from sidecar.server.replies import Refusal
from sidecar.wire.fields import Record


def governed(body: bytes, record: Record, fields: FieldTable) -> bytes:
    """``body``, whose value is ``record``, without the fields that are dropped: the very same bytes
    if there are none. Raises Refusal for one that is refused."""
    dropped = []
    for path, name, action in _found(record, fields):
        if action is FieldAction.REFUSE:
            raise Refusal(
                400,
                "unsupported_parameter",
                f"The request field '{name}' is not accepted here; leave it out.",
            )
        dropped.append(path)
    return without(body, dropped) if dropped else body


def _found(
    record: Record, fields: FieldTable, at: KeyPath = (), known: KeyPath = ()
) -> Iterator[tuple[KeyPath, str, FieldAction]]:
    """The fields that do not pass: their keys as they are written, what the table calls them, and
    what becomes of them. ``at`` are the keys that lead to ``record``, ``known`` the same as the
    table has them."""
    for key, value in record.items():
        path = (*known, key.casefold())
        action = fields.actions.get(path, FieldAction.PASS)
        if action is not FieldAction.PASS:
            yield (*at, key), ".".join(path), action
        elif path in fields.objects and isinstance(value, dict):
            yield from _found(value, fields, (*at, key), path)
