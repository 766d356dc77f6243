"""A status as a plain typed object, for hand-written front ends that switch over ``type``."""

from __future__ import annotations

from sidecar.core.jsontext import dump
from sidecar.core.sse import event
from sidecar.core.status import Carrier, Status


def write_typed(status: Status, _: Carrier) -> bytes:
    """``{"type": "status", "content": …}``, with the source if there is one."""
    record: dict[str, object] = {"type": "status", "content": status.text}
    if status.source is not None:
        record["source"] = {"title": status.source.title, "url": status.source.url}
    return event(dump(record, exact=True))
