"""A status in a comment, which clients ignore (HTML Standard, 9.2.6) unless they look for it.

One line and no blank one after it: a blank line would make some libraries tell of an empty message.
"""

from __future__ import annotations

from sidecar.core.jsontext import dump
from sidecar.core.status import Carrier, Status
from sidecar.dialects.payload import payload


def write_comment(status: Status, _: Carrier) -> bytes:
    """``: status {…}``."""
    return b": status " + dump(payload(status), exact=True) + b"\n"
