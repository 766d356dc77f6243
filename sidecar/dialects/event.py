"""A status in an event of its own. Only for front ends that ask for it: most SDKs take any event
for one of theirs, and fail."""

from __future__ import annotations

from sidecar.core.jsontext import dump
from sidecar.core.sse import event
from sidecar.core.status import Carrier, Status
from sidecar.dialects.payload import payload


def write_event(status: Status, _: Carrier) -> bytes:
    """``event: status`` with the status as its data."""
    return event(dump(payload(status), exact=True), b"status")
