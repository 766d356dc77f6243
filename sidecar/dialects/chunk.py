"""A status in an event that the wire format has anyway, and that says nothing of the answer.

Of all forms that carry data it is the one that breaks no known client: what reads the event finds
nothing new in it, and what looks for the key finds the status.
"""

from __future__ import annotations

from sidecar.core.status import Carrier, Status
from sidecar.dialects.comment import write_comment
from sidecar.dialects.payload import payload


def write_chunk(status: Status, carrier: Carrier) -> bytes:
    """An empty chunk (a ping, a keepalive) with a top-level key ``sidecar``; a comment where the
    format can have none yet."""
    carried = carrier.carry({"sidecar": {"status": payload(status)}})
    return carried or write_comment(status, carrier)
