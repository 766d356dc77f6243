"""What every wire format has: one answer under one rule, as a stream and as a document."""

from __future__ import annotations

from typing import Protocol

from sidecar.core.document import DocumentWire
from sidecar.core.stream import Wire


class Answer(Wire, DocumentWire, Protocol):
    """One answer; each wire format has a class of them, made of a ruling."""
