"""A status as text of the answer, for interfaces that show nothing else."""

from __future__ import annotations

from sidecar.core.status import Carrier, Status


def write_reasoning(status: Status, carrier: Carrier) -> bytes:
    """A line of reasoning, for chat interfaces that show it."""
    return carrier.carry_text("reasoning_content", f"{status.text}\n") if status.text else b""


def write_content(status: Status, carrier: Carrier) -> bytes:
    """A paragraph of the answer."""
    if not status.text:
        return b""
    before = "\n\n" if status.follows else ""
    return carrier.carry_text("content", f"{before}{status.text}\n\n")
