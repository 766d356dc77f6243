"""What every wire format has: one answer under one rule, as a stream and as a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sidecar.core.document import DocumentWire
from sidecar.core.lane import Lane
from sidecar.core.stream import Wire


class Answer(Wire, DocumentWire, Protocol):
    """One answer; each wire format has a class of them, made of a ruling."""

    @property
    def lanes(self) -> Mapping[Any, Lane]:
        """The lanes of its texts that are open now, by what the format calls them."""
